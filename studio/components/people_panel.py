"""People and invitations of a project: tables with their buttons, and the link just made.

The component triggers `act` with what was asked for; studio/tabs/people.py does it and gives the
next value. A link or a password just made is in the value once and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from studio.components.assets import script, style

if TYPE_CHECKING:
    import gradio as gr


def people_value(panel: Mapping[str, Any]) -> str:
    """The component's value, as studio/tabs/people.py assembles it."""
    return json.dumps(panel, ensure_ascii=False).replace("<", "\\u003c")


def people_panel() -> gr.HTML:
    import gradio as gr

    return gr.HTML(
        "",
        html_template='<div class="rs-people" data-part="people"></div>',
        css_template=style("people_panel.css"),
        js_on_load=script("dom.js", "people_panel.js"),
        apply_default_css=False,
        elem_id="people-panel",
    )
