"""The Label tab: the vote card of the project, and its guidelines."""

from __future__ import annotations

from typing import Any

import gradio as gr

from studio.components.notice import notice, notice_value
from studio.components.vote_card import vote_card, vote_card_value
from studio.services import projects
from studio.tabs.context import QUICK, TabContext, TabHandle, told


def build(ctx: TabContext) -> TabHandle:
    """Lay the tab out; votes travel by the JSON routes, not through Gradio."""
    with gr.Tab("Label", id="label") as tab:
        with gr.Accordion("Guidelines", open=False, visible=False, elem_id="guidelines") as panel:
            # Plain text: Gradio's Markdown fetches images from wherever the text says.
            guidelines = notice("guidelines-text")
        card = vote_card()
    card.open_train(lambda: gr.Tabs(selected="train"), None, ctx.tabs, **QUICK)
    card.open_projects(lambda: gr.Tabs(selected="projects"), None, ctx.tabs, **QUICK)

    @told
    def refresh(project_id: int | None) -> tuple[Any, ...]:
        if project_id is None:
            return vote_card_value(None), gr.Accordion(visible=False), notice_value()
        text = projects.get(ctx.database, project_id).guidelines.strip()
        return vote_card_value(project_id), gr.Accordion(visible=bool(text)), notice_value(text)

    return TabHandle(tab, refresh, [card, panel, guidelines])
