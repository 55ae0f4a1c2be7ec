"""Guidelines to read: the little Markdown that people write in them, made of text nodes.

Headings, paragraphs, lists, **bold**, *italic* and `code`. Nothing else is markup: a link or an
image stays the text that it is, so that nothing is ever fetched (Gradio's own Markdown would).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from studio.components.assets import script, style

if TYPE_CHECKING:
    import gradio as gr


def prose_value(text: str) -> str:
    """The component's value; "" shows nothing."""
    return json.dumps({"text": text}).replace("<", "\\u003c") if text.strip() else ""


def prose(elem_id: str) -> gr.HTML:
    import gradio as gr

    return gr.HTML(
        "",
        html_template='<div class="rs-prose" data-part="prose" dir="auto"></div>',
        css_template=style("prose.css"),
        js_on_load=script("dom.js", "prose.js"),
        apply_default_css=False,
        elem_id=elem_id,
    )
