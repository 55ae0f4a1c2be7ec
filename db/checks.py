"""Checks of quality among the pairs: gold pairs, whose verdict is known, and own pairs repeated.

They use no slot and train nothing. An annotator sees a gold pair once, and an own earlier pair a
second time at most, with sides swapped.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from db.models import FILLING, Pair, Selection, Vote
from db.slots import LABEL

REPEAT_AFTER = 20  # votes of the annotator between a pair and its repeat, at least
REPEAT_AMONG = 1000  # repeats come from the newest own votes before those


@dataclass(frozen=True)
class Check:
    """A pair drawn to check on its annotator.

    Attributes:
        purpose: `gold` or `repeat`.
        left_side: the side that must stand left, for a repeat; None where it is drawn.
        num_candidates: among how many pairs it was drawn, each as likely.
    """

    pair_id: int
    purpose: str
    left_side: str | None
    num_candidates: int


def count_gold(s: Session, project_id: int) -> int:
    """The project's gold pairs."""
    gold = (Pair.project_id == project_id, Pair.gold_choice.is_not(None))
    return s.scalar(select(func.count()).where(*gold)) or 0


def draw_gold(s: Session, project_id: int, annotator: str, chance: random.Random) -> Check | None:
    """A gold pair that the annotator was never shown, or None."""
    seen = (
        select(Selection.id)
        .where(Selection.pair_id == Pair.id, Selection.annotator == annotator)
        .exists()
    )
    unseen = (
        Pair.project_id == project_id,
        Pair.gold_choice.is_not(None),
        Pair.status == "open",
        ~seen,
    )
    number = s.scalar(select(func.count()).where(*unseen)) or 0
    if not number:
        return None
    drawn = select(Pair.id).where(*unseen).order_by(Pair.id).offset(chance.randrange(number))
    return Check(s.scalars(drawn.limit(1)).one(), "gold", None, number)


def draw_repeat(s: Session, project_id: int, annotator: str, chance: random.Random) -> Check | None:
    """One of the annotator's own judged pairs of some time ago, sides swapped, or None."""
    own = (
        select(Vote.pair_id, Vote.left_side, Vote.choice)
        .where(
            Vote.project_id == project_id,
            Vote.annotator == annotator,
            Vote.retracted_at.is_(None),
            Vote.purpose == LABEL,
            Vote.left_side.is_not(None),
        )
        .order_by(Vote.created_at.desc(), Vote.showing_id.desc())
        .offset(REPEAT_AFTER)
        .limit(REPEAT_AMONG)
        .subquery()
    )
    repeat = aliased(Selection)
    repeated = select(repeat.id).where(
        repeat.pair_id == own.c.pair_id,
        repeat.annotator == annotator,
        repeat.purpose == "repeat",
    )
    rows = s.execute(
        select(own.c.pair_id, own.c.left_side)
        .join(Pair, Pair.id == own.c.pair_id)
        .where(own.c.choice.in_(FILLING), Pair.status == "open", ~repeated.exists())
        .order_by(own.c.pair_id)
    ).all()
    if not rows:
        return None
    pair_id, left_side = chance.choice(rows)
    return Check(pair_id, "repeat", "b" if left_side == "a" else "a", len(rows))
