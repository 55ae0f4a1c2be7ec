"""The Checkpoints tab: every head that was trained, how good it is, which one is used, and why."""

from __future__ import annotations

import gradio as gr

from studio.components.checkpoints_panel import checkpoints_panel, checkpoints_value
from studio.tabs.context import QUICK, TabContext, TabHandle, told


def build(ctx: TabContext) -> TabHandle:
    with gr.Tab("Checkpoints", id="checkpoints") as tab:
        panel = checkpoints_panel()

    @told
    def refresh(project_id: int | None, request: gr.Request) -> str:
        if project_id is not None:
            ctx.require(request, project_id, "lead")
        return checkpoints_value(project_id)

    panel.open_train(told(lambda: gr.Tabs(selected="train")), None, ctx.tabs, **QUICK)
    tab.select(refresh, ctx.picker, panel, **QUICK)
    return TabHandle(tab, refresh, [panel])
