"""Showings (table `selection`): which pair was shown to whom, on which sides, and why.

A showing is open until its vote arrives or its lease has gone to someone else. While it is open
the same annotator gets it again, sides and all, after a reload.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import cast

import sqlalchemy as sa
from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from db.models import Pair, Selection, Slot
from db.slots import bound, free

_TABLE = cast(sa.Table, Selection.__table__)
_C = _TABLE.c
# A literal, so that the planners can use the index of these alone.
_IN_ORDER: sa.ColumnElement[str] = sa.literal_column("'in_order'")


def add_showing(
    s: Session, project_id: int, annotator: str, pair_id: int, *, purpose: str = "label",
    slot_id: int | None, position: float, left_side: str, strategy: str,
    acquisition_score: float | None = None, propensity: float | None,
    checkpoint_id: int | None = None, now: datetime,
) -> Selection:  # fmt: skip
    """Record a showing; `slot_id` is None for a gold pair or a repeat."""
    showing = Selection(
        project_id=project_id, pair_id=pair_id, annotator=annotator, purpose=purpose,
        slot_id=slot_id, position=position, left_side=left_side, strategy=strategy,
        acquisition_score=acquisition_score, propensity=propensity, checkpoint_id=checkpoint_id,
        created_at=now,
    )  # fmt: skip
    s.add(showing)
    s.flush()
    return showing


def get_showing(s: Session, showing_id: int) -> Selection | None:
    return s.get(Selection, showing_id)


def open_showings(s: Session, project_id: int, annotator: str) -> list[Selection]:
    """The annotator's open showings that still stand, oldest first.

    One stands while its slot is leased to the annotator, even past the lease's time if nobody else
    has taken the slot. Without a slot stand gold pairs, repeats, and what *undo* gave back when no
    slot was left.
    """
    values = {"b_project": project_id, "b_annotator": annotator}
    return list(s.scalars(_open_statement(), values))


@cache
def _open_statement() -> sa.Select[Selection]:
    held = and_(
        Slot.id.is_not(None),
        Slot.annotator == bound("annotator"),
        Slot.pair_id == Selection.pair_id,
        Slot.vote_id.is_(None),
    )
    return (
        select(Selection)
        .outerjoin(Slot, Slot.id == Selection.slot_id)
        .join(Pair, Pair.id == Selection.pair_id)
        .where(
            Selection.project_id == bound("project"),
            Selection.annotator == bound("annotator"),
            Selection.closed_at.is_(None),
            Pair.status == "open",
            or_(Selection.slot_id.is_(None), held),
        )
        .order_by(Selection.id)
    )


def close_lapsed(
    s: Session, project_id: int, annotator: str, standing: Sequence[int], now: datetime
) -> None:
    """Close the annotator's open showings that are not among those still standing.

    What is still leased for one of them (its pair was paused) goes back to the queue.
    """
    lapsed = s.execute(
        sa.update(_TABLE)
        .where(
            _C.project_id == project_id,
            _C.annotator == annotator,
            _C.closed_at.is_(None),
            _C.id.not_in(standing),
        )
        .values(closed_at=now)
        .returning(_C.pair_id),
    )
    for pair_id in sorted(lapsed.scalars()):  # in one order: each is locked
        free(s, pair_id, annotator, now)


def close_for_pair(s: Session, pair_id: int, annotator: str, now: datetime) -> None:
    """Close every open showing of the pair to the annotator: the vote is in."""
    s.execute(
        sa.update(_TABLE)
        .where(
            _C.pair_id == pair_id,
            _C.annotator == annotator,
            _C.closed_at.is_(None),
        )
        .values(closed_at=now),
    )


def reopen(s: Session, showing_id: int, slot_id: int | None) -> Selection:
    """Open a showing again on the same sides, with a slot if one was left."""
    showing = s.get_one(Selection, showing_id)
    showing.closed_at = None
    showing.slot_id = slot_id
    s.flush()
    return showing


def last_position(s: Session, project_id: int, annotator: str) -> float:
    """The queue position of the annotator's newest showing; before all others if none."""
    found = s.scalar(
        select(Selection.position)
        .where(Selection.project_id == project_id, Selection.annotator == annotator)
        .order_by(sa.desc(Selection.id))
        .limit(1)
    )
    return -1.0 if found is None else found


def last_in_order(s: Session, project_id: int, annotator: str) -> int:
    """The pair that the annotator was shown last by order of import; 0 if none."""
    found = s.scalar(
        select(Selection.pair_id)
        .where(
            Selection.project_id == project_id,
            Selection.annotator == annotator,
            Selection.strategy == _IN_ORDER,
        )
        .order_by(sa.desc(Selection.id))
        .limit(1)
    )
    return 0 if found is None else found
