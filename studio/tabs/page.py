"""The page: name and project picker above, the four tabs below.

demo = build_blocks(database, settings)      # studio/app.py mounts it
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import gradio as gr

from studio.components.picker import row_picker
from studio.tabs import label, playground, projects, train
from studio.tabs.context import QUICK, TabContext, told

if TYPE_CHECKING:
    from db.engine import Database
    from studio.settings import Settings

# The choice of project is a preference of the browser, never an identity. `?project=3` wins.
READ_CHOICE = """() => {
  const asked = new URLSearchParams(location.search).get("project");
  let kept = null;
  try { kept = localStorage.getItem("reward-studio/project"); } catch (error) { kept = null; }
  return [asked || kept || ""];
}"""
KEEP_CHOICE = """(id) => {
  try {
    if (id !== null && id !== undefined) localStorage.setItem("reward-studio/project", String(id));
  } catch (error) { console.debug("The choice of project is not kept:", error.message); }
}"""
MARK_READY = """() => { document.documentElement.dataset.ready = "yes"; }"""


def build_blocks(database: Database, settings: Settings) -> gr.Blocks:
    """Assemble the page; nothing is read from the database before a browser asks."""
    with gr.Blocks(
        title="Reward Studio", analytics_enabled=False, delete_cache=(3600, 24 * 3600)
    ) as demo:
        with gr.Row(elem_id="rs-header"):
            gr.HTML("<h1>Reward Studio</h1>", elem_id="rs-name", apply_default_css=False)
            picker = row_picker(
                label="Project",
                show_label=False,
                container=False,
                filterable=False,
                min_width=150,
                elem_id="project-picker",
            )
        with gr.Tabs(elem_id="rs-tabs") as tabs:
            ctx = TabContext(database, settings, picker, tabs)
            handles = [tab.build(ctx) for tab in (label, train, playground, projects)]

        @told
        def choose(kept: str) -> gr.Dropdown:
            wanted = int(kept) if re.fullmatch(r"[0-9]{1,9}", kept or "") else None
            return projects.picker_update(ctx, wanted)

        remembered = gr.Textbox(visible=False)
        picker.change(None, picker, None, js=KEEP_CHOICE, **QUICK)
        for handle in handles:
            picker.change(handle.refresh, picker, handle.outputs, **QUICK)
        loading = demo.load(choose, remembered, picker, js=READ_CHOICE, **QUICK)
        loading.then(None, None, None, js=MARK_READY, **QUICK)
    return demo
