"""The verdicts in a row of a preference file, checked; raises RowRefused.

Of a vote, what says how answers were judged is kept; what says how they were shown there is not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from db.content import Judgement
from db.models import CHOICES, FILLING
from studio.services.import_files import RowRefused
from studio.services.vote_form import MAX_ASPECT

SCORED = "scores"  # the pseudo-annotator of verdicts that follow from scores
MERGED = "merged"  # the one pseudo-annotator of a set that comes without its votes
VOTE_FIELDS = {
    "annotator", "choice", "strength", "reasons", "reason", "aspects", "comment", "duration_ms",
}  # fmt: skip
SIDES = ("a", "b")


def votes_of(row: Mapping[str, Any], num_answers: int) -> tuple[tuple[Judgement, ...], set[str]]:
    """The row's `votes` on its two answers, and what of them is not kept."""
    value = row.get("votes")
    if value is None or value == []:
        return (), set()
    if not isinstance(value, list) or not all(isinstance(each, Mapping) for each in value):
        raise RowRefused("'votes' is no list of objects", type(value).__name__)
    if num_answers != 2:
        raise RowRefused("votes on more than two answers", num_answers)
    votes = tuple(_vote(each, f"vote-{number}") for number, each in enumerate(value, start=1))
    return votes, set().union(*(_not_kept(each, "votes") for each in value))


def last_word_of(row: Mapping[str, Any], num_answers: int) -> tuple[Judgement | None, set[str]]:
    """A lead's adjudication, which overrides the votes, and what of it is not kept."""
    value = row.get("adjudication")
    if value is None:
        return None, set()
    if not isinstance(value, Mapping):
        raise RowRefused("'adjudication' is no object", type(value).__name__)
    if num_answers != 2:
        raise RowRefused("an adjudication of more than two answers", num_answers)
    vote = _vote(value, "adjudicator")
    if vote.choice not in FILLING:
        raise RowRefused(f"an adjudication is none of {', '.join(FILLING)}", vote.choice)
    return vote, _not_kept(value, "adjudication")


def _not_kept(vote: Mapping[str, Any], name: str) -> set[str]:
    return {
        f"{name}.{key}"
        for key, value in vote.items()
        if key not in VOTE_FIELDS and value is not None
    }


def _vote(vote: Mapping[str, Any], nobody: str) -> Judgement:
    """The vote; without an annotator's name it is by `nobody`."""
    choice = vote.get("choice")
    if choice not in CHOICES:
        raise RowRefused("a vote has an unknown choice", repr(choice))
    strength = vote.get("strength")
    if strength is not None and (isinstance(strength, bool) or strength not in (1, 2, 3)):
        raise RowRefused("a vote's strength is not 1, 2 or 3", repr(strength))
    reasons = vote.get("reasons") or []
    comment = vote.get("comment") or vote.get("reason") or ""
    if not isinstance(comment, str) or not _is_texts(reasons):
        raise RowRefused("a vote's reasons or comment are no text")
    duration = vote.get("duration_ms")
    if duration is not None and (
        not isinstance(duration, int | float) or not 0 <= duration < 2**53
    ):
        raise RowRefused("a vote's duration_ms is no number of milliseconds", repr(duration))
    annotator = vote.get("annotator")
    return Judgement(
        annotator=nobody if annotator in (None, "") else str(annotator),
        choice=choice,
        strength=None if strength is None else int(strength),
        reasons=tuple(reasons),
        comment=comment,
        duration_ms=None if duration is None else int(duration),
        aspects=_aspects(vote.get("aspects")),
    )


def _aspects(value: Any) -> dict[str, dict[str, int]]:
    """From a list of {"aspect": name, "a": rating, "b": rating}, as votes are exported."""
    if value is None:
        return {}
    if not isinstance(value, list) or not all(
        isinstance(each, Mapping) and isinstance(each.get("aspect"), str) for each in value
    ):
        raise RowRefused("a vote's 'aspects' is no list of ratings", repr(value))
    found: dict[str, dict[str, int]] = {}
    for each in value:
        if each["aspect"] in found:
            raise RowRefused("a vote rates an aspect twice", each["aspect"])
        ratings = {side: each[side] for side in SIDES if each.get(side) is not None}
        for rating in ratings.values():
            if isinstance(rating, bool) or rating not in range(1, MAX_ASPECT + 1):
                raise RowRefused(f"a vote's rating is not 1 to {MAX_ASPECT}", repr(rating))
        if ratings:
            found[each["aspect"]] = {side: int(rating) for side, rating in ratings.items()}
    return found


def annotator_of(row: Mapping[str, Any]) -> str:
    """Who chose, in a row of chosen and rejected."""
    value = row.get("annotator")
    return MERGED if value in (None, "") else str(value)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def scores_of(row: Mapping[str, Any], num_answers: int) -> tuple[float, ...]:
    """A number for each answer, the higher the better; empty where none is given."""
    value = row.get("scores")
    if value is None or value == []:
        return ()
    if not isinstance(value, list) or len(value) != num_answers:
        seen = len(value) if isinstance(value, list) else type(value).__name__
        raise RowRefused("'scores' is no list with a number for each answer", seen)
    for each in value:
        if isinstance(each, bool) or not isinstance(each, int | float) or not math.isfinite(each):
            raise RowRefused("a score is no number", repr(each))
    return tuple(map(float, value))
