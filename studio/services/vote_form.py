"""Checks a vote as the page sends it; a wrong field is a UsageError that names field and value."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from studio.services.errors import UsageError

CHOICES = ("left", "right", "tie", "both_bad", "skip", "flag")
SKIP_REASONS = (
    "I do not know enough to judge",
    "Cannot be read or is broken",
    "Upsetting or harmful",
    "Something else",
)
MAX_COMMENT = 20_000
MAX_ASPECT = 5


@dataclass(frozen=True)
class Offer:
    """What a project offers beside the verdict."""

    reasons: Sequence[str]
    aspects: Sequence[str]


def checked_vote(vote: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a vote on a showing, in the form in which they are stored."""
    showing_id = vote.get("showing_id")
    _check_int("showing_id", showing_id, 1, 2**31 - 1)
    return checked_verdict(vote) | {"showing_id": showing_id}


def checked_verdict(vote: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a verdict, whatever it is about."""
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
        "choice": choice,
        "strength": strength,
        "reasons": [storable(each) for each in reasons],
        "skip_reason": _checked_skip_reason(vote.get("skip_reason"), choice),
        "aspects": _checked_aspects(vote.get("aspects")),
        "comment": storable(comment),
        "duration_ms": duration_ms,
        "guidelines_version": checked_version(vote),
    }


def checked_version(vote: Mapping[str, Any]) -> int | None:
    """The version of the guidelines that the page showed; None where it says nothing of it."""
    version: int | None = vote.get("guidelines_version")
    if version is not None:
        _check_int("guidelines_version", version, 1, 2**31 - 1)
    return version


def version_shown(sent: int | None, newest: int) -> int:
    """The version under which a vote was given: what its page showed, if there is such a one."""
    return newest if sent is None else min(sent, newest)


def _checked_skip_reason(reason: object, choice: str) -> str | None:
    if reason is None:
        return None
    if not isinstance(reason, str):
        raise UsageError(f"skip_reason is {reason!r}; give a text")
    if choice != "skip":
        raise UsageError(f"skip_reason is {reason!r} with {choice!r}; only a skip can have one")
    return storable(reason)


def _checked_aspects(aspects: object) -> dict[str, dict[str, int]]:
    if aspects is None:
        return {}
    if not isinstance(aspects, dict):
        raise UsageError(f"aspects is {aspects!r}; give an object of ratings by aspect")
    for name, sides in aspects.items():
        if not isinstance(sides, dict) or not sides or not sides.keys() <= {"left", "right"}:
            raise UsageError(
                f"aspects[{name!r}] is {sides!r}; give ratings of the left and the right answer"
            )
        for side, rating in sides.items():
            _check_int(f"aspects[{name!r}][{side!r}]", rating, 1, MAX_ASPECT)
    return {storable(str(name)): dict(sides) for name, sides in aspects.items()}


def taken(
    given: Mapping[str, Any], offer: Offer, left_side: str
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Reasons and aspects as stored, by `a` and `b`; and what the project does not offer.

    A page may have been open while the lead took a reason away. That must not cost the vote, so
    what is unknown is set aside, and told.
    """
    aspects = {
        name: {_stored_side(side, left_side): rating for side, rating in sides.items()}
        for name, sides in given["aspects"].items()
        if name in offer.aspects
    }
    wanted = list(dict.fromkeys(given["reasons"]))
    reasons = [each for each in wanted if each in offer.reasons]
    unknown = [each for each in wanted if each not in offer.reasons]
    skip_reason = given["skip_reason"]
    if skip_reason in SKIP_REASONS:
        reasons.insert(0, skip_reason)
    elif skip_reason is not None:
        unknown.insert(0, skip_reason)
    set_aside = {
        "reasons": unknown,
        "aspects": [name for name in given["aspects"] if name not in offer.aspects],
    }
    return {"reasons": reasons, "aspects": aspects}, set_aside


def stored_choice(choice: str, left_side: str) -> str:
    """The choice by `a` and `b` where it is a side."""
    return _stored_side(choice, left_side) if choice in ("left", "right") else choice


def _stored_side(side: str, left_side: str) -> str:
    return left_side if side == "left" else {"a": "b", "b": "a"}[left_side]


def shown_choice(choice: str, left_side: str) -> str:
    """The choice by `left` and `right`, as the annotator saw it."""
    if choice not in ("a", "b"):
        return choice
    return "left" if choice == left_side else "right"


def shown_aspects(aspects: Mapping[str, Any], left_side: str) -> dict[str, dict[str, int]]:
    """Ratings by `left` and `right`."""
    return {
        name: {shown_choice(side, left_side): rating for side, rating in sides.items()}
        for name, sides in aspects.items()
    }


def _check_int(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UsageError(f"{name} is {value!r}; give a whole number from {low} to {high}")


def checked_uuid(value: object, name: str = "vote_id") -> str:
    """The UUID in its usual spelling."""
    try:
        return str(uuid.UUID(value if isinstance(value, str) else ""))
    except ValueError:
        raise UsageError(f"{name} is {value!r}; give a UUID made for this vote") from None


def storable(text: str) -> str:
    """A comment with a character that PostgreSQL cannot keep must not cost the vote."""
    return re.sub("[\x00\ud800-\udfff]", "�", text)
