"""Checks a vote as the page sends it; a wrong field is a UsageError that names field and value."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Any

from studio.services.errors import UsageError

CHOICES = ("left", "right", "tie", "both_bad", "skip", "flag")
MAX_COMMENT = 20_000


def checked_vote(vote: Mapping[str, Any]) -> dict[str, Any]:
    """The vote's fields, in the form in which they are stored."""
    choice = vote.get("choice")
    if choice not in CHOICES:
        raise UsageError(f"choice is {choice!r}; use one of {', '.join(CHOICES)}")
    strength = vote.get("strength")
    if strength is not None:
        _check_int("strength", strength, 1, 3)
        if choice not in ("left", "right"):
            raise UsageError(f"strength is {strength} with {choice!r}; only a side can have one")
    duration_ms = vote.get("duration_ms")
    if duration_ms is not None:
        _check_int("duration_ms", duration_ms, 0, 2**53)
    showing_id = vote.get("showing_id")
    _check_int("showing_id", showing_id, 1, 2**31 - 1)
    reasons = vote.get("reasons") or []
    if not isinstance(reasons, list) or not all(isinstance(each, str) for each in reasons):
        raise UsageError(f"reasons is {reasons!r}; give a list of texts")
    comment = vote.get("comment") or ""
    if not isinstance(comment, str):
        raise UsageError(f"comment is {comment!r}; give a text")
    if len(comment) + sum(map(len, reasons)) > MAX_COMMENT:
        raise UsageError(f"reasons and comment are over {MAX_COMMENT} characters; shorten them")
    return {
        "vote_id": checked_uuid(vote.get("vote_id")),
        "showing_id": showing_id,
        "choice": choice,
        "strength": strength,
        "reasons": [_storable(each) for each in reasons],
        "comment": _storable(comment),
        "duration_ms": duration_ms,
    }


def _check_int(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UsageError(f"{name} is {value!r}; give a whole number from {low} to {high}")


def checked_uuid(value: object) -> str:
    try:
        return str(uuid.UUID(value if isinstance(value, str) else ""))
    except ValueError:
        raise UsageError(f"vote_id is {value!r}; give a UUID made for this vote") from None


def _storable(text: str) -> str:
    """A comment with a character that PostgreSQL cannot keep must not cost the vote."""
    return re.sub("[\x00\ud800-\udfff]", "�", text)
