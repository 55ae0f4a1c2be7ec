"""The turns of a prompt to read: roles labelled, long system prompts and old turns folded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from studio.components.assets import script, style

if TYPE_CHECKING:
    import gradio as gr

Message = dict[str, str]


def conversation_value(messages: Sequence[Message]) -> str:
    """The component's value; "" shows nothing."""
    if not messages:
        return ""
    return json.dumps(list(messages), ensure_ascii=False).replace("<", "\\u003c")


def conversation_messages(value: str | None) -> list[Message]:
    """The messages back from the component's value, as a handler's input."""
    return list(json.loads(value)) if value else []


def conversation(elem_id: str) -> gr.HTML:
    import gradio as gr

    return gr.HTML(
        "",
        html_template='<div class="rs-conversation" data-part="turns"></div>',
        css_template=style("rich_text.css") + style("conversation.css"),
        js_on_load=script("dom.js", "rich_text.js", "conversation.js", "conversation_view.js"),
        apply_default_css=False,
        elem_id=elem_id,
    )
