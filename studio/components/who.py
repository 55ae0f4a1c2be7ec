"""Who is signed in, at the right of the header: name, change password, sign out.

Nothing is shown where there are no accounts. The component also watches the page's own requests:
when a session has ended, it says so and offers to sign in again, where Gradio would show an error.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from studio.components.assets import script, style

if TYPE_CHECKING:
    import gradio as gr


def who_value(name: str, *, has_account: bool, about: str = "") -> str:
    """The component's value; `about` says in words what the person may do."""
    if not has_account:
        return ""
    value = {"name": name, "about": about}
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")


def who() -> gr.HTML:
    import gradio as gr

    return gr.HTML(
        "",
        html_template='<div class="rs-who" data-part="who"></div>',
        css_template=style("who.css"),
        js_on_load=script("dom.js", "who.js"),
        apply_default_css=False,
        elem_id="who",
    )
