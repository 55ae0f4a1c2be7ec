"""Showings as the page gets them: nothing in them tells which answer is `response_a`.

Texts are read inside the transaction and rendered outside: rendering takes milliseconds, and
nobody's vote should wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from db import pair_texts
from db.models import FILLING
from studio.services.errors import Conflict
from studio.services.rendering import render_markdown

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.models import Selection


def describe(
    s: Session, project_id: int, shown: Sequence[Selection], lease_until: datetime
) -> list[dict[str, Any]]:
    """The showings with plain texts; `with_html` adds the rest."""
    pairs = pair_texts.get_pairs(s, project_id, [each.pair_id for each in shown])
    described = []
    for each in shown:
        pair = pairs[each.pair_id]
        left, right = pair.response_a, pair.response_b
        if each.left_side == "b":
            left, right = right, left
        described.append(
            {
                "showing_id": each.id,
                "pair_id": each.pair_id,
                "messages": pair.messages,
                "left": {"text": left},
                "right": {"text": right},
                "shown_at": each.created_at.isoformat(),
                "lease_until": lease_until.isoformat(),
            }
        )
    return described


def with_html(described: Mapping[str, Any]) -> dict[str, Any]:
    """The same with every text rendered beside it."""
    return {
        **described,
        "messages": [
            {**message, "html": render_markdown(message["content"])}
            for message in described["messages"]
        ],
        "left": rendered(described["left"]["text"]),
        "right": rendered(described["right"]["text"]),
    }


def rendered(text: str) -> dict[str, str]:
    """A text and its HTML."""
    return {"text": text, "html": render_markdown(text)}


def check_same(showing: Selection, sent: Mapping[str, Any]) -> None:
    """Conflict when this showing is not the one that the page showed.

    A database that was restored from a backup gives the same numbers again, to other pairs.
    """
    same = {"pair_id": showing.pair_id, "shown_at": showing.created_at.isoformat()}
    if any(sent.get(name) not in (None, value) for name, value in same.items()):
        raise Conflict(
            f"what you judged (pair {sent.get('pair_id')}) is not what showing {showing.id} is "
            "now: the database was restored or replaced meanwhile; nothing was stored: reload the "
            "page and judge the pair again when it comes"
        )


def reveal(s: Session, pair_id: int, left_side: str, choice: str) -> dict[str, str | None] | None:
    """Where the answers came from; None before they are judged: a skip or a flag is no verdict."""
    if choice not in FILLING:
        return None
    source_a, source_b = pair_texts.get_sources(s, pair_id)
    if left_side == "a":
        return {"left": source_a, "right": source_b}
    return {"left": source_b, "right": source_a}
