"""Rankings: which training pairs a head would have judged next, kept on the slots.

A ranking is replaced as a whole, in one transaction with what the project says of it: nobody is
given a pair by one head and told that it was another's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.models import Pair, Project, Selection, Slot, Vote
from db.slots import LABEL


@dataclass(frozen=True)
class Ranked:
    """A pair and the score it was ranked by."""

    pair_id: int
    score: float


def count_candidates(s: Session, project_id: int) -> int:
    """Open training pairs that want a vote."""
    return s.scalar(select(func.count()).select_from(_candidates(project_id).subquery())) or 0


def candidates(s: Session, project_id: int, start: float, limit: int) -> list[int]:
    """At most `limit` of them, from a place in the random order of the queue onwards."""
    ids: list[int] = []
    for place in (Slot.position >= start, Slot.position < start):
        some = _candidates(project_id).where(place).limit(limit - len(ids))
        ids += s.scalars(some.order_by(func.min(Slot.position), Slot.pair_id))
    return ids


def _candidates(project_id: int) -> sa.Select[Any]:
    return (
        select(Slot.pair_id)
        .join(Pair, Pair.id == Slot.pair_id)
        .where(
            Slot.project_id == project_id,
            Slot.vote_id.is_(None),
            Pair.status == "open",
            Pair.split == "train",
        )
        .group_by(Slot.pair_id)
    )


def pending(s: Session, project_id: int, pair_ids: Sequence[int]) -> set[int]:
    """Those of the pairs that somebody has on the screen."""
    rows = s.scalars(
        select(Slot.pair_id).where(
            Slot.project_id == project_id,
            Slot.lease_until.is_not(None),
            Slot.vote_id.is_(None),
        )
    )
    return set(rows) & set(pair_ids)


def count_left(s: Session, project_id: int) -> int:
    """Ranked pairs that still want a vote."""
    left = select(Slot.pair_id).where(
        Slot.project_id == project_id, Slot.vote_id.is_(None), Slot.priority.is_not(None)
    )
    return s.scalar(select(func.count()).select_from(left.distinct().subquery())) or 0


def replace(
    s: Session, project_id: int, ranked: Sequence[Ranked], ranking: Mapping[str, Any]
) -> None:
    """Put a new ranking in the place of the old; `ranking` says what it came from."""
    table = Slot.__table__
    connection = s.connection()
    connection.execute(
        sa.update(table)  # type: ignore[arg-type]
        .where(table.c.project_id == project_id, table.c.priority.is_not(None))
        .values(priority=None, acquisition_score=None)
    )
    if ranked:
        connection.execute(
            sa.update(table)  # type: ignore[arg-type]
            .where(table.c.pair_id == sa.bindparam("b_pair"), table.c.vote_id.is_(None))
            .values(priority=sa.bindparam("b_place"), acquisition_score=sa.bindparam("b_score")),
            [
                {"b_pair": each.pair_id, "b_place": place, "b_score": each.score}
                for place, each in enumerate(ranked)
            ],
        )
    s.execute(
        sa.update(Project).where(Project.id == project_id).values(ranking=dict(ranking)),
        execution_options={"synchronize_session": False},
    )


def arms(s: Session, project_id: int) -> dict[str, list[int]]:
    """Training pairs labelled by people, by the strategy that brought each first, oldest first."""
    rows = s.execute(
        select(Selection.pair_id, Selection.strategy)
        .join(Vote, Vote.showing_id == Selection.id)
        .join(Pair, Pair.id == Selection.pair_id)
        .where(
            Selection.project_id == project_id,
            Vote.retracted_at.is_(None),
            Vote.purpose == LABEL,
            Pair.split == "train",
        )
        .order_by(Selection.id)
    )
    found: dict[str, list[int]] = {}
    seen: set[int] = set()
    for pair_id, strategy in rows:
        if pair_id not in seen:
            seen.add(pair_id)
            found.setdefault(strategy, []).append(pair_id)
    return found
