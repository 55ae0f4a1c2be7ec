"""Who is signed in, at the right of the header: name, change password, sign out.

Nothing is shown where there are no accounts. The component also takes the tabs away that are not
for this person (Gradio ignores a change of `visible` of a tab that was not opened yet), and watches
the page's own requests: when a session has ended, it says so and offers to sign in again, where
Gradio would show an error.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from studio.components.assets import script, style

if TYPE_CHECKING:
    import gradio as gr


def who_value(
    name: str = "", *, about: str = "", hidden: Sequence[tuple[int, str]] = (), num_shown: int = 0
) -> str:
    """The component's value.

    Args:
        name: of whoever is signed in; empty where there are no accounts.
        about: what they may do, in words.
        hidden: position (from 1) and id of each tab that is not for them.
        num_shown: how many tabs are.
    """
    tabs = [{"position": position, "id": tab_id} for position, tab_id in hidden]
    value = {"name": name, "about": about, "hidden": tabs, "num_shown": num_shown}
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
