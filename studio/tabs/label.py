"""The Label tab: the vote card. Guidelines, pairs and votes travel by JSON routes."""

from __future__ import annotations

import gradio as gr

from studio.components.vote_card import vote_card, vote_card_value
from studio.services.label_scope import scope_of
from studio.tabs.context import QUICK, TabContext, TabHandle, told


def build(ctx: TabContext) -> TabHandle:
    """Lay the tab out."""
    with gr.Tab("Label", id="label") as tab:
        card = vote_card()
    card.open_train(told(lambda: gr.Tabs(selected="train")), None, ctx.tabs, **QUICK)
    card.open_data(told(lambda: gr.Tabs(selected="data")), None, ctx.tabs, **QUICK)
    card.open_projects(told(lambda: gr.Tabs(selected="projects")), None, ctx.tabs, **QUICK)

    @told
    def refresh(project_id: int | None, request: gr.Request) -> str:
        if project_id is None:
            return vote_card_value(None)
        person = ctx.require(request, project_id, "annotator")
        scope = scope_of(ctx.database, project_id, person.name)
        return vote_card_value(project_id, scope, is_lead=person.may(project_id, "lead"))

    return TabHandle(tab, refresh, [card])
