"""Slots: one row per wanted vote of a pair, and the lease that stands on that row.

The lease must be on the row that is locked. PostgreSQL re-checks, after waiting for a lock, only
the locked row itself: a claim that looks for "no live lease" in another table hands a pair to two
people. Here the claim is one UPDATE of one slot, so no more votes than wanted are ever handed out.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import func, literal_column, or_, select, update
from sqlalchemy.orm import Session, aliased

from db.models import Pair, Slot, Vote

LABEL: sa.ColumnElement[str] = literal_column(
    "'label'"
)  # a literal, so that SQLite can use the partial index


@dataclass(frozen=True)
class ClaimedSlot:
    slot_id: int
    pair_id: int
    position: float


def lock_annotator(s: Session, project_id: int, annotator: str) -> None:
    """Let one request at a time of the same annotator through, until the transaction ends.

    SQLite needs none: a writer there is alone.
    """
    if s.get_bind().dialect.name == "postgresql":
        key = zlib.crc32(annotator.encode()) - 2**31
        s.execute(
            select(
                func.pg_advisory_xact_lock(
                    sa.cast(project_id, sa.Integer), sa.cast(key, sa.Integer)
                )
            )
        )


def add_slots(
    s: Session, project_id: int, places: Sequence[tuple[int, float]], wanted_votes: int
) -> None:
    """Open `wanted_votes` slots for each (pair id, queue position)."""
    rows = [
        {"project_id": project_id, "pair_id": pair_id, "n": n, "position": position}
        for pair_id, position in places
        for n in range(1, wanted_votes + 1)
    ]
    if rows:
        s.connection().execute(sa.insert(Slot.__table__), rows)  # type: ignore[arg-type]


def close_open(s: Session, pair_ids: Sequence[int]) -> None:
    """Take the unfilled slots of these pairs away; a vote still on its way becomes surplus."""
    if pair_ids:
        s.execute(
            sa.delete(Slot).where(Slot.pair_id.in_(pair_ids), Slot.vote_id.is_(None)),
            execution_options={"synchronize_session": False},
        )


def _is_free(slot: type[Slot], now: datetime) -> sa.ColumnElement[bool]:
    return or_(slot.annotator.is_(None), slot.lease_until < now)


def _voted_by(slot: type[Slot], annotator: str) -> sa.ColumnElement[bool]:
    """The annotator has a standing vote (a skip or flag too) on the slot's pair."""
    return (
        select(Vote.id)
        .where(
            Vote.pair_id == slot.pair_id,
            Vote.annotator == annotator,
            Vote.retracted_at.is_(None),
            Vote.purpose == LABEL,
        )
        .exists()
    )


def claim(
    s: Session, project_id: int, annotator: str, *, now: datetime, lease_until: datetime,
    after: float,
) -> ClaimedSlot | None:  # fmt: skip
    """Lease the next slot in the queue that this annotator may have, or None if there is none.

    Looks behind `after` first, where the annotator was last, then from the start of the queue:
    so a claim does not walk again over all that the annotator has judged already.
    """
    return _claim(s, project_id, annotator, now, lease_until, after, True) or _claim(
        s, project_id, annotator, now, lease_until, after, False
    )


def _claim(
    s: Session, project_id: int, annotator: str, now: datetime, lease_until: datetime,
    after: float, ahead: bool,
) -> ClaimedSlot | None:  # fmt: skip
    slot, other = aliased(Slot), aliased(Slot)
    has_another = (
        select(other.id)
        .where(other.pair_id == slot.pair_id, other.annotator == annotator, other.id != slot.id)
        .exists()
    )
    candidate = (
        select(slot.id)
        .join(Pair, Pair.id == slot.pair_id)
        .where(
            slot.project_id == project_id, slot.vote_id.is_(None), _is_free(slot, now),
            slot.position > after if ahead else slot.position <= after,
            Pair.status == "open", ~_voted_by(slot, annotator), ~has_another,
        )
        .order_by(slot.position, slot.id)
        .limit(1)
        .with_for_update(skip_locked=True, of=slot)
        .scalar_subquery()
    )  # fmt: skip
    return _lease(s, candidate, annotator, now, lease_until)


def _lease(
    s: Session, candidate: Any, annotator: str, now: datetime, lease_until: datetime
) -> ClaimedSlot | None:
    row = s.execute(
        update(Slot)
        .where(Slot.id == candidate, Slot.vote_id.is_(None), _is_free(Slot, now))
        .values(annotator=annotator, lease_until=lease_until)
        .returning(Slot.id, Slot.pair_id, Slot.position),
        execution_options={"synchronize_session": False},
    ).first()
    return None if row is None else ClaimedSlot(row[0], row[1], row[2])


def take(
    s: Session, pair_id: int, annotator: str, *, now: datetime, lease_until: datetime
) -> ClaimedSlot | None:
    """Lease a free slot of this very pair, if there is one."""
    slot = aliased(Slot)
    candidate = (
        select(slot.id)
        .where(slot.pair_id == pair_id, slot.vote_id.is_(None), _is_free(slot, now))
        .order_by((slot.annotator == annotator).desc().nulls_last(), slot.n)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    return _lease(s, candidate, annotator, now, lease_until)


def renew(s: Session, slot_ids: Sequence[int], annotator: str, lease_until: datetime) -> set[int]:
    """Prolong the annotator's own leases; the ids of the slots that are still theirs."""
    if not slot_ids:
        return set()
    rows = s.execute(
        update(Slot)
        .where(Slot.id.in_(slot_ids), Slot.annotator == annotator, Slot.vote_id.is_(None))
        .values(lease_until=lease_until)
        .returning(Slot.id),
        execution_options={"synchronize_session": False},
    )
    return set(rows.scalars())


def fill(s: Session, pair_id: int, annotator: str, vote_id: str, now: datetime) -> bool:
    """Fill the annotator's slot of the pair, or any free one; False when none is left."""
    filled = s.execute(
        update(Slot)
        .where(Slot.pair_id == pair_id, Slot.annotator == annotator, Slot.vote_id.is_(None))
        .values(vote_id=vote_id, lease_until=None)
        .returning(Slot.id),
        execution_options={"synchronize_session": False},
    ).first()
    if filled is None:
        taken = take(s, pair_id, annotator, now=now, lease_until=now)
        if taken is None:
            return False
        s.execute(
            update(Slot).where(Slot.id == taken.slot_id).values(vote_id=vote_id, lease_until=None),
            execution_options={"synchronize_session": False},
        )
    return True


def free(s: Session, pair_id: int, annotator: str) -> None:
    """Give the annotator's unfilled slot of the pair back to the queue."""
    s.execute(
        update(Slot)
        .where(Slot.pair_id == pair_id, Slot.annotator == annotator, Slot.vote_id.is_(None))
        .values(annotator=None, lease_until=None),
        execution_options={"synchronize_session": False},
    )


def unfill(s: Session, vote_id: str, lease_until: datetime) -> int | None:
    """Turn the slot that the vote filled into its annotator's lease; None if it filled none."""
    return s.scalar(
        update(Slot)
        .where(Slot.vote_id == vote_id)
        .values(vote_id=None, lease_until=lease_until)
        .returning(Slot.id),
        execution_options={"synchronize_session": False},
    )


def count_unfilled(s: Session, project_id: int) -> int:
    """Pairs with at least one slot that no vote has filled."""
    pairs = select(Slot.pair_id).where(Slot.project_id == project_id, Slot.vote_id.is_(None))
    return s.scalar(select(func.count()).select_from(pairs.distinct().subquery())) or 0


def count_open_for(s: Session, project_id: int, annotator: str, now: datetime) -> int:
    """Pairs that this annotator can still be shown, those on their screen included.

    Counted as all unfilled pairs less the exceptions, which are few and each found by an index.
    """
    voted = select(Vote.pair_id).where(
        Vote.project_id == project_id,
        Vote.annotator == annotator,
        Vote.retracted_at.is_(None),
        Vote.purpose == LABEL,
    )
    paused = select(Pair.id).where(Pair.project_id == project_id, Pair.status == "paused")
    closed = voted.union(paused).subquery()
    closed_pair = closed.c.pair_id
    unfilled = select(Slot.id).where(Slot.pair_id == closed_pair, Slot.vote_id.is_(None)).exists()
    num_closed = s.scalar(select(func.count()).select_from(closed).where(unfilled)) or 0
    return (
        count_unfilled(s, project_id)
        - num_closed
        - _count_leased_away(s, project_id, annotator, now)
    )


def _count_leased_away(s: Session, project_id: int, annotator: str, now: datetime) -> int:
    """Open pairs, not voted on by the annotator, of which others hold every unfilled slot."""
    reachable = aliased(Slot)
    return (
        s.scalar(
            select(func.count(Slot.pair_id.distinct()))
            .join(Pair, Pair.id == Slot.pair_id)
            .where(
                Slot.project_id == project_id,
                Slot.lease_until >= now,
                Slot.vote_id.is_(None),
                Slot.annotator != annotator,
                Pair.status == "open",
                ~_voted_by(Slot, annotator),
                ~select(reachable.id)
                .where(
                    reachable.pair_id == Slot.pair_id,
                    reachable.vote_id.is_(None),
                    or_(_is_free(reachable, now), reachable.annotator == annotator),
                )
                .exists(),
            )
        )
        or 0
    )
