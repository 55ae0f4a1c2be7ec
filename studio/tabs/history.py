"""The History tab: everybody's own past votes. The list travels by the label page's JSON routes."""

from __future__ import annotations

import gradio as gr

from studio.components.history import history
from studio.components.vote_card import vote_card_value
from studio.services.label_scope import scope_of
from studio.tabs.context import TabContext, TabHandle, told


def build(ctx: TabContext) -> TabHandle:
    """Lay the tab out."""
    with gr.Tab("History", id="history") as tab:
        votes = history()

    @told
    def refresh(project_id: int | None, request: gr.Request) -> str:
        if project_id is None:
            return vote_card_value(None)
        name = ctx.require(request, project_id, "annotator").name
        return vote_card_value(project_id, scope_of(ctx.database, project_id, name))

    return TabHandle(tab, refresh, [votes])
