"""The Label tab: the vote card of the project, and its guidelines."""

from __future__ import annotations

from typing import Any

import gradio as gr

from studio.components.prose import prose, prose_value
from studio.components.vote_card import vote_card, vote_card_value
from studio.services import projects
from studio.tabs.context import QUICK, TabContext, TabHandle, told


def build(ctx: TabContext) -> TabHandle:
    """Lay the tab out; votes travel by the JSON routes, not through Gradio."""
    with gr.Tab("Label", id="label") as tab:
        with gr.Accordion("Guidelines", open=False, visible=False, elem_id="guidelines") as panel:
            guidelines = prose("guidelines-text")
        card = vote_card()
    card.open_train(told(lambda: gr.Tabs(selected="train")), None, ctx.tabs, **QUICK)
    card.open_projects(told(lambda: gr.Tabs(selected="projects")), None, ctx.tabs, **QUICK)

    @told
    def show_guidelines(project_id: int | None) -> tuple[Any, ...]:
        text = ""
        if project_id is not None:
            text = projects.get(ctx.database, project_id).guidelines.strip()
        return gr.Accordion(visible=bool(text)), prose_value(text)

    @told
    def refresh(project_id: int | None) -> tuple[Any, ...]:
        return vote_card_value(project_id), *show_guidelines(project_id)

    # They may have been edited on the Projects tab.
    tab.select(show_guidelines, ctx.picker, [panel, guidelines], **QUICK)
    return TabHandle(tab, refresh, [card, panel, guidelines])
