"""The Playground tab: one component that talks to the routes of studio/playground_routes.py."""

from __future__ import annotations

import gradio as gr

from studio.components.playground import playground, playground_value
from studio.tabs.context import QUICK, TabContext, TabHandle, told


def build(ctx: TabContext) -> TabHandle:
    with gr.Tab("Playground", id="playground") as tab:
        page = playground()

    @told
    def refresh(project_id: int | None, request: gr.Request) -> str:
        if project_id is not None:
            ctx.require(request, project_id, "annotator")
        return playground_value(project_id)

    # A checkpoint may have been trained since.
    tab.select(refresh, ctx.picker, page, **QUICK)
    return TabHandle(tab, refresh, [page])
