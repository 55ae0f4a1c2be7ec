"""A line of text in the page: an error, a warning, a result. Nothing is shown when it is empty."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

from studio.components.assets import script, style

if TYPE_CHECKING:
    import gradio as gr

Kind = Literal["error", "warning", "good", "info"]


def notice_value(text: str = "", kind: Kind = "info") -> str:
    """The component's value; the text is plain text, line breaks kept."""
    if not text:
        return ""
    return json.dumps({"text": text, "kind": kind}).replace("<", "\\u003c")


def notice(elem_id: str) -> gr.HTML:
    import gradio as gr

    return gr.HTML(
        "",
        html_template='<div class="rs-notice" data-part="notice" role="status" hidden></div>',
        css_template=style("notice.css"),
        js_on_load=script("dom.js", "notice.js"),
        apply_default_css=False,
        elem_id=elem_id,
    )
