"""A list of files to download: a name and a line about each. Texts are text nodes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from studio.components.assets import script, style

if TYPE_CHECKING:
    import gradio as gr


def links_value(links: Sequence[dict[str, str]]) -> str:
    """The component's value; each link has href (a path of this server), label and detail."""
    return json.dumps(list(links), ensure_ascii=False).replace("<", "\\u003c") if links else ""


def download_links(elem_id: str) -> gr.HTML:
    import gradio as gr

    return gr.HTML(
        "",
        html_template='<ul class="rs-downloads" data-part="links"></ul>',
        css_template=style("download_links.css"),
        js_on_load=script("dom.js", "download_links.js"),
        apply_default_css=False,
        elem_id=elem_id,
    )
