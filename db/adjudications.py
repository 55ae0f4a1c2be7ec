"""Adjudications: the last word on a pair, given by a lead; and pairs that annotators flagged."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.models import Pair, Vote

ADJUDICATION = "adjudication"


@dataclass(frozen=True)
class FlaggedPair:
    """A pair with a standing flag: who flagged it last, when and why, and whether it is paused."""

    pair_id: int
    is_paused: bool
    num_flags: int
    annotator: str
    comment: str
    reasons: list[str]
    created_at: datetime


def lock_pair(s: Session, project_id: int, pair_id: int) -> Pair | None:
    """The pair's row, held until the transaction ends: one lead at a time has the last word."""
    return s.scalar(
        select(Pair).where(Pair.id == pair_id, Pair.project_id == project_id).with_for_update()
    )


def standing(s: Session, pair_id: int) -> Vote | None:
    """The pair's adjudication, if it has one."""
    return s.scalar(
        select(Vote).where(
            Vote.pair_id == pair_id,
            Vote.purpose == ADJUDICATION,
            Vote.retracted_at.is_(None),
        )
    )


def votes_on(s: Session, pair_id: int) -> list[Vote]:
    """Every standing vote on the pair, of whatever purpose, oldest first."""
    statement = select(Vote).where(Vote.pair_id == pair_id, Vote.retracted_at.is_(None))
    return list(s.scalars(statement.order_by(Vote.created_at, Vote.id)))


def list_adjudicated(s: Session, project_id: int, limit: int) -> list[Vote]:
    """The newest standing adjudications."""
    return list(
        s.scalars(
            select(Vote)
            .where(
                Vote.project_id == project_id,
                Vote.purpose == ADJUDICATION,
                Vote.retracted_at.is_(None),
            )
            .order_by(Vote.created_at.desc(), Vote.id)
            .limit(limit)
        )
    )


def list_flagged(s: Session, project_id: int, limit: int) -> list[FlaggedPair]:
    """Flagged pairs: those still paused first, then the newest flags."""
    rows = s.execute(
        select(Vote, Pair.status)
        .join(Pair, Pair.id == Vote.pair_id)
        .where(
            Vote.project_id == project_id,
            Vote.choice == "flag",
            Vote.retracted_at.is_(None),
        )
        .order_by((Pair.status == "paused").desc(), Vote.created_at.desc(), Vote.id)
    )
    found: dict[int, FlaggedPair] = {}
    counts: dict[int, int] = {}
    for vote, status in rows:
        counts[vote.pair_id] = counts.get(vote.pair_id, 0) + 1
        if vote.pair_id not in found and len(found) < limit:
            found[vote.pair_id] = FlaggedPair(
                vote.pair_id, status == "paused", 1, vote.annotator, vote.comment,
                [str(each) for each in vote.reasons], vote.created_at,
            )  # fmt: skip
    return [
        FlaggedPair(**{**vars(each), "num_flags": counts[each.pair_id]}) for each in found.values()
    ]


def count_flagged(s: Session, project_id: int) -> int:
    """Pairs with a standing flag."""
    flagged = select(func.count(Vote.pair_id.distinct())).where(
        Vote.project_id == project_id, Vote.choice == "flag", Vote.retracted_at.is_(None)
    )
    return s.scalar(flagged) or 0


def count_paused(s: Session, project_id: int) -> int:
    """Pairs that are shown to nobody until somebody reopens them."""
    paused = select(func.count()).where(Pair.project_id == project_id, Pair.status == "paused")
    return s.scalar(paused) or 0
