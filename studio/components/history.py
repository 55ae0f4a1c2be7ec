"""The History component: one's own past votes, found again, opened as judged, and revised.

The browser asks `GET /api/projects/<id>/label/history` and sends `POST .../revise`; a revision that
cannot be sent waits in the browser like any vote (outbox.js). The value is the vote card's:
`vote_card_value(project_id, scope)`.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from studio.components.assets import asset, script, style
from studio.components.vote_card import VERDICTS

if TYPE_CHECKING:
    import gradio as gr

FILTERS = (
    ("", "All"),
    ("left", "Left"),
    ("right", "Right"),
    ("tie", "Tie"),
    ("both_bad", "Both bad"),
    ("skip", "Skipped"),
    ("flag", "Flagged"),
)
SCRIPTS = (
    "dom.js", "rich_text.js", "conversation.js", "outbox.js", "vote_extras.js",
    "history_revision.js", "history.js",
)  # fmt: skip
STYLES = ("rich_text.css", "conversation.css", "ratings.css", "history.css")


def history(value: str = "") -> gr.HTML:
    """The component."""
    import gradio as gr

    return gr.HTML(
        value,
        html_template=asset("history.html"),
        css_template="".join(map(style, STYLES)),
        js_on_load=script(*SCRIPTS),
        apply_default_css=False,
        elem_id="history",
        verdicts=[asdict(verdict) for verdict in VERDICTS],
        filters=[{"choice": choice, "label": label} for choice, label in FILTERS],
    )
