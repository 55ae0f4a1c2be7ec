"""The Checkpoints tab's body: the table, and one checkpoint in detail.

The value names the project; everything else travels by the routes of studio/checkpoint_routes.py,
asked again every few seconds while somebody looks, so that every browser shows the same.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from studio.components.assets import script, style

if TYPE_CHECKING:
    import gradio as gr

SCRIPTS = (
    "dom.js",
    "plot.js",
    "run_log.js",
    "length_lean.js",
    "head_alone.js",
    "checkpoint_figures.js",
    "checkpoint_table.js",
    "checkpoint_slices.js",
    "checkpoint_flips.js",
    "checkpoint_curve.js",
    "checkpoint_lineage.js",
    "checkpoints_panel.js",
)


def checkpoints_value(project_id: int | None) -> str:
    """The component's value."""
    return json.dumps({"project_id": project_id}) if project_id is not None else ""


def checkpoints_panel() -> gr.HTML:
    import gradio as gr

    return gr.HTML(
        "",
        html_template='<div class="rs-ckpts" data-part="checkpoints"></div>',
        css_template=style("checkpoints_panel.css"),
        js_on_load=script(*SCRIPTS),
        apply_default_css=False,
        elem_id="checkpoints-panel",
    )
