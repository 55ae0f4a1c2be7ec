"""Which pairs people will see next: what is worth preparing before anything else.

    upcoming.pair_ids(s, project_id, limit=200)

In order: what is on somebody's screen, then what the queue holds ready for those who work now. It
is a guess, made from the queue's rows and without claiming anything: a gold item, a random draw or
another annotator's claim can always come in between.
"""

from __future__ import annotations

from itertools import chain, zip_longest
from typing import Any

import sqlalchemy as sa
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.models import Pair, Project, Selection, Slot

# Whoever was shown a pair most recently is who labels now.
MAX_ANNOTATORS = 20


def pair_ids(s: Session, project_id: int, limit: int) -> list[int]:
    """At most `limit` ids, the soonest first, each once."""
    shown = s.scalars(
        select(Selection.pair_id)
        .where(Selection.project_id == project_id, Selection.closed_at.is_(None))
        .order_by(Selection.id.desc())
        .limit(limit)
    )
    queue = _first_slots(s, project_id, limit)
    walks = [
        s.scalars(
            _open_slots(project_id)
            .where(Slot.position > position)
            .order_by(Slot.position, Slot.id)
            .limit(limit)
        ).all()
        for position in _positions(s, project_id)
    ]
    ahead = chain.from_iterable(zip_longest(queue, *walks))
    found = dict.fromkeys(i for i in chain(shown.all(), ahead) if i is not None)
    return list(found)[:limit]


def _first_slots(s: Session, project_id: int, limit: int) -> list[int]:
    """What the project's strategy puts first; with a random queue, the queue's beginning."""
    strategy = s.scalar(select(Project.queue_strategy).where(Project.id == project_id))
    slots = _open_slots(project_id)
    if strategy == "in_order":
        slots = slots.where(Pair.split == "train").order_by(Slot.pair_id, Slot.id)
    elif strategy == "random":
        slots = slots.order_by(Slot.position, Slot.id)
    else:
        slots = slots.where(Slot.priority.is_not(None)).order_by(Slot.priority, Slot.id)
    return list(s.scalars(slots.limit(limit)))


def _open_slots(project_id: int) -> sa.Select[Any]:
    return (
        select(Slot.pair_id)
        .join(Pair, Pair.id == Slot.pair_id)
        .where(Slot.project_id == project_id, Slot.vote_id.is_(None), Pair.status == "open")
    )


def _positions(s: Session, project_id: int) -> list[float]:
    """Where in the queue each of the newest annotators is."""
    newest = (
        select(func.max(Selection.id).label("id"))
        .where(Selection.project_id == project_id)
        .group_by(Selection.annotator)
        .order_by(sa.desc("id"))
        .limit(MAX_ANNOTATORS)
        .subquery()
    )
    return list(s.scalars(select(Selection.position).join(newest, newest.c.id == Selection.id)))
