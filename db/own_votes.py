"""An annotator's own votes, of every purpose: to undo, to revise, and to find again.

To the annotator gold pairs and repeats are pairs like any other, so all of this treats them alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session, aliased

from db.models import FILLING, Pair, Prompt, Response, Selection, Vote
from db.slots import LABEL

OWN_PURPOSES = ("label", "gold", "repeat")


@dataclass(frozen=True)
class OwnVote:
    """A vote with what it was about; `left_side` is `a` for a vote that was given on no showing."""

    vote: Vote
    messages: list[dict[str, str]]
    response_a: str
    response_b: str
    source_a: str | None
    source_b: str | None

    @property
    def left_side(self) -> str:
        return self.vote.left_side or "a"


def standing_on(s: Session, showing: Selection) -> Vote | None:
    """The standing vote that forbids another on this showing.

    A label is given once a pair; a gold pair or a repeat is judged once a showing.
    """
    about = (
        and_(Vote.pair_id == showing.pair_id, Vote.purpose == LABEL)
        if showing.purpose == "label"
        else Vote.showing_id == showing.id
    )
    return s.scalar(
        select(Vote).where(about, Vote.annotator == showing.annotator, Vote.retracted_at.is_(None))
    )


def withdrawn_on(s: Session, showing: Selection) -> Vote | None:
    """The newest vote on this showing that was taken back: the next one revises it."""
    about = (
        and_(Vote.pair_id == showing.pair_id, Vote.purpose == LABEL)
        if showing.purpose == "label"
        else Vote.showing_id == showing.id
    )
    return s.scalar(
        select(Vote)
        .where(about, Vote.annotator == showing.annotator, Vote.retracted_at.is_not(None))
        .order_by(Vote.created_at.desc(), Vote.showing_id.desc())
        .limit(1)
    )


def last_own(s: Session, project_id: int, annotator: str) -> Vote | None:
    """The annotator's newest standing vote."""
    return s.scalar(
        select(Vote)
        .where(
            Vote.project_id == project_id,
            Vote.annotator == annotator,
            Vote.retracted_at.is_(None),
            Vote.purpose.in_(OWN_PURPOSES),
        )
        .order_by(Vote.created_at.desc(), Vote.showing_id.desc())
        .limit(1)
    )


def own_votes_before(
    s: Session, project_id: int, annotator: str, before: Vote | None, limit: int,
    choices: Sequence[str] | None = None,
) -> list[OwnVote]:  # fmt: skip
    """The annotator's standing votes older than `before`, newest first, with their texts."""
    a, b = aliased(Response), aliased(Response)
    statement = (
        select(Vote, Prompt.messages, a.text, b.text, a.source, b.source)
        .join(Pair, Pair.id == Vote.pair_id)
        .join(Prompt, Prompt.id == Pair.prompt_id)
        .join(a, a.id == Pair.response_a_id)
        .join(b, b.id == Pair.response_b_id)
        .where(
            Vote.project_id == project_id,
            Vote.annotator == annotator,
            Vote.retracted_at.is_(None),
            Vote.purpose.in_(OWN_PURPOSES),
        )
        .order_by(Vote.created_at.desc(), Vote.id.desc())
        .limit(limit)
    )
    if choices is not None:
        statement = statement.where(Vote.choice.in_(choices))
    if before is not None:
        statement = statement.where(
            or_(
                Vote.created_at < before.created_at,
                and_(Vote.created_at == before.created_at, Vote.id < before.id),
            )
        )
    return [OwnVote(*row) for row in s.execute(statement)]


def _verdicts(project_id: int, annotator: str) -> tuple[ColumnElement[bool], ...]:
    return (
        Vote.project_id == project_id,
        Vote.annotator == annotator,
        Vote.purpose.in_(OWN_PURPOSES),
        Vote.choice.in_(FILLING),
        Vote.retracted_at.is_(None),
    )


def verdict_on(s: Session, project_id: int, pair_id: int, annotator: str) -> str | None:
    """The annotator's newest standing verdict on the pair, whatever it was shown for."""
    return s.scalar(
        select(Vote.choice)
        .where(*_verdicts(project_id, annotator), Vote.pair_id == pair_id)
        .order_by(Vote.created_at.desc())
        .limit(1)
    )


def random_judged(s: Session, project_id: int, annotator: str, at: float) -> int | None:
    """One of the pairs that the annotator has judged; `at`, in [0, 1), says where to look."""
    mine = _verdicts(project_id, annotator)
    number = s.scalar(select(func.count()).where(*mine)) or 0
    return s.scalar(
        select(Vote.pair_id).where(*mine).order_by(Vote.id).offset(int(at * number)).limit(1)
    )
