"""The vote card: a prompt, two answers side by side, and a verdict by key, click or touch.

The browser does the work: vote_queue.js keeps pairs ahead, outbox.js keeps verdicts safe,
pair_view.js draws a pair, vote_extras.js asks for what goes with a verdict, vote_saving.js says
what is saved, vote_card.js listens.
The server's part is the JSON routes under `/api/projects/<id>/label/`. The value of the component
only says which project: see `vote_card_value`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from studio.components.assets import asset, script, style

if TYPE_CHECKING:
    import gradio as gr


@dataclass(frozen=True)
class Verdict:
    """One button of the verdict bar and its key; `strength` is None where there is no winner."""

    key: str
    choice: Literal["left", "right", "tie", "both_bad"]
    strength: int | None
    group: Literal["left", "middle", "right"]
    label: str
    name: str


@dataclass(frozen=True)
class Action:
    """A button below the verdicts, or above the pair, and its key; "" has none."""

    key: str
    action: str
    label: str
    name: str


VERDICTS = (
    Verdict("1", "left", 3, "left", "Much better", "Left is much better"),
    Verdict("2", "left", 2, "left", "Clearly", "Left is clearly better"),
    Verdict("3", "left", 1, "left", "Slightly", "Left is slightly better"),
    Verdict("4", "tie", None, "middle", "Tie", "Tie: equally good"),
    Verdict("x", "both_bad", None, "middle", "Both bad", "Both bad: neither is acceptable"),
    Verdict("5", "right", 1, "right", "Slightly", "Right is slightly better"),
    Verdict("6", "right", 2, "right", "Clearly", "Right is clearly better"),
    Verdict("7", "right", 3, "right", "Much better", "Right is much better"),
)
ACTIONS = (
    Action("s", "skip", "Skip", "Skip: leave this pair to others"),
    Action("f", "flag", "Flag", "Flag: something is wrong with this pair"),
    Action("c", "comment", "Comment", "Comment: a note that goes with your verdict"),
    Action("e", "edit", "Edit", "Edit: write a better answer"),
    Action("u", "undo", "Undo", "Undo your last verdict"),
    Action("?", "keys", "Keys", "Keys: show the key map"),
)
VIEWS = (
    Action("g", "guide", "Guidelines", "Guidelines: open or close them"),
    Action("d", "diff", "Difference", "Difference: mark the words that only one answer has"),
    Action("t", "plain", "Plain text", "Plain text: without Markdown, code colours and formulas"),
    Action("", "together", "Scroll together", "Scroll together: both answers move as one"),
)
SCRIPTS = (
    "dom.js",
    "preferences.js",
    "rich_text.js",
    "conversation.js",
    "word_diff.js",
    "pair_view.js",
    "guidelines_panel.js",
    "outbox.js",
    "vote_queue.js",
    "vote_extras.js",
    "vote_saving.js",
    "vote_keys.js",
    "vote_card.js",
)
STYLES = ("rich_text.css", "conversation.css", "ratings.css", "vote_card.css")


def vote_card_value(project_id: int | None, scope: str = "", *, is_lead: bool = True) -> str:
    """What the card needs to know: the project's routes, and whose unsent votes are kept where.

    `scope` is that of services/label_scope.py; the card says it with every request.
    `is_lead` says whether an empty queue leads on to the tabs that are for leads.
    """
    if project_id is None:
        return ""
    return json.dumps(
        {
            "base": f"/api/projects/{project_id}/label",
            "scope": scope,
            "is_lead": is_lead,
        }
    )


def vote_card(value: str = "") -> gr.HTML:
    """The component. Its empty states trigger `open_train`, `open_data` and `open_projects`."""
    import gradio as gr

    return gr.HTML(
        value,
        html_template=asset("vote_card.html"),
        css_template="".join(map(style, STYLES)),
        js_on_load=script(*SCRIPTS),
        apply_default_css=False,
        elem_id="vote-card",
        verdicts=[asdict(verdict) for verdict in VERDICTS],
        actions=[asdict(action) for action in ACTIONS],
        views=[asdict(action) for action in VIEWS],
    )
