"""The playground: prompt, two to eight answers, their rewards, and the heatmaps that explain them.

Everything in it goes through the JSON routes of studio/playground_routes.py, so that an edited
answer is scored again without Gradio in between. The heatmaps are those of token_heatmap.py.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from studio.components.assets import asset, script, style
from studio.components.token_heatmap import SCRIPTS, heat_props, heat_style

if TYPE_CHECKING:
    import gradio as gr


PLAYGROUND_SCRIPTS = ("playground_texts.js", "playground.js", "playground_panels.js")


def playground_value(project_id: int | None) -> str:
    """The component's value: it asks for the project's checkpoints again whenever it changes."""
    return json.dumps({"project_id": project_id, "at": time.time()})


def playground() -> gr.HTML:
    """The component; nothing can be scored before it has a value."""
    import gradio as gr

    return gr.HTML(
        "",
        html_template=asset("playground.html") + asset("token_heatmap.html"),
        css_template=style("playground.css") + heat_style(),
        js_on_load=script(*SCRIPTS, *PLAYGROUND_SCRIPTS),
        apply_default_css=False,
        elem_id="playground",
        **heat_props(),
    )
