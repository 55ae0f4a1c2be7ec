"""The Quality page's parts: figures and annotators, pairs to look at, and the aggregation settings.

Each triggers `act` with what was asked for; studio/tabs/quality.py does it and gives the next
values. The figures are asked for by the component itself when it comes into view, since they cost
a second in a large project and most visits never open the tab.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from studio.components.assets import script, style

if TYPE_CHECKING:
    import gradio as gr


def quality_value(panel: Mapping[str, Any]) -> str:
    """A part's value, as studio/tabs/quality.py assembles it; {} shows nothing."""
    return json.dumps(panel, ensure_ascii=False).replace("<", "\\u003c") if panel else ""


def quality_figures() -> gr.HTML:
    """Tiles, and the table of annotators."""
    return _panel("quality-figures", "quality_figures.css", "quality_figures.js")


def quality_pairs() -> gr.HTML:
    """Lists of pairs to look at, and one of them opened to be adjudicated."""
    return _panel("quality-pairs", "quality_pairs.css", "rich_text.js", "conversation.js",
                  "quality_pairs.js")  # fmt: skip


def quality_rules() -> gr.HTML:
    """How votes become targets: the settings and what others would change."""
    return _panel("quality-rules", "quality_rules.css", "quality_rules.js")


def _panel(elem_id: str, own_style: str, *scripts: str) -> gr.HTML:
    import gradio as gr

    styles = [style("quality.css"), style(own_style)]
    if "rich_text.js" in scripts:
        styles[:0] = [style("rich_text.css"), style("conversation.css")]
    return gr.HTML(
        "",
        html_template='<div class="rs-quality" data-part="quality"></div>',
        css_template="".join(styles),
        js_on_load=script("dom.js", "quality_shared.js", *scripts),
        apply_default_css=False,
        elem_id=elem_id,
    )
