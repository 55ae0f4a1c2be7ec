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
    score: float | None  # what the newest ranking gave the pair


@dataclass(frozen=True)
class Candidate:
    """A pair that would be next, not leased."""

    pair_id: int
    position: float
    split: str


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


def is_free(slot: type[Slot], now: datetime) -> sa.ColumnElement[bool]:
    return or_(slot.annotator.is_(None), slot.lease_until < now)


def voted_by(slot: type[Slot], annotator: str) -> sa.ColumnElement[bool]:
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
    for ahead in (True, False):
        slot = aliased(Slot)
        place = slot.position > after if ahead else slot.position <= after
        candidate = _free_for(slot, slot.id, project_id, annotator, now).where(place)
        claimed = _claim(s, candidate.order_by(slot.position, slot.id), slot, annotator, now,
                         lease_until)  # fmt: skip
        if claimed is not None:
            return claimed
    return None


def peek(
    s: Session, project_id: int, annotator: str, *, now: datetime, after: float
) -> Candidate | None:
    """What `claim` would lease, without leasing it."""
    for ahead in (True, False):
        slot = aliased(Slot)
        place = slot.position > after if ahead else slot.position <= after
        row = s.execute(
            _free_for(slot, slot.pair_id, project_id, annotator, now)
            .add_columns(slot.position, Pair.split)
            .where(place)
            .order_by(slot.position, slot.id)
            .limit(1)
        ).first()
        if row is not None:
            return Candidate(*row)
    return None


def claim_ranked(
    s: Session, project_id: int, annotator: str, *, now: datetime, lease_until: datetime
) -> ClaimedSlot | None:
    """Lease a slot of the training pair that the newest ranking puts first among the free ones."""
    slot = aliased(Slot)
    candidate = _ranked(slot, slot.id, project_id, annotator, now)
    return _claim(s, candidate, slot, annotator, now, lease_until)


def peek_ranked(s: Session, project_id: int, annotator: str, *, now: datetime) -> int | None:
    """The pair that `claim_ranked` would lease."""
    slot = aliased(Slot)
    return s.scalar(_ranked(slot, slot.pair_id, project_id, annotator, now).limit(1))


def claim_in_order(
    s: Session, project_id: int, annotator: str, *, now: datetime, lease_until: datetime,
    after_pair: int,
) -> ClaimedSlot | None:  # fmt: skip
    """Lease a slot of the training pair that was imported first, behind `after_pair` if any is."""
    for ahead in (True, False):
        slot = aliased(Slot)
        candidate = _in_order(slot, slot.id, project_id, annotator, now, after_pair, ahead)
        claimed = _claim(s, candidate, slot, annotator, now, lease_until)
        if claimed is not None:
            return claimed
    return None


def peek_in_order(
    s: Session, project_id: int, annotator: str, *, now: datetime, after_pair: int
) -> int | None:
    """The pair that `claim_in_order` would lease."""
    for ahead in (True, False):
        slot = aliased(Slot)
        statement = _in_order(slot, slot.pair_id, project_id, annotator, now, after_pair, ahead)
        pair_id: int | None = s.scalar(statement.limit(1))
        if pair_id is not None:
            return pair_id
    return None


def _ranked(
    slot: type[Slot], column: Any, project_id: int, annotator: str, now: datetime
) -> sa.Select[Any]:
    free = _free_for(slot, column, project_id, annotator, now)
    ranked = free.where(slot.priority.is_not(None), Pair.split == "train")
    return ranked.order_by(slot.priority, slot.id)


def _in_order(
    slot: type[Slot], column: Any, project_id: int, annotator: str, now: datetime,
    after_pair: int, ahead: bool,
) -> sa.Select[Any]:  # fmt: skip
    place = slot.pair_id > after_pair if ahead else slot.pair_id <= after_pair
    free = _free_for(slot, column, project_id, annotator, now)
    return free.where(place, Pair.split == "train").order_by(slot.pair_id, slot.id)


def _free_for(
    slot: type[Slot], column: Any, project_id: int, annotator: str, now: datetime
) -> sa.Select[Any]:
    """Selects a column of the slots that may be leased to the annotator."""
    other = aliased(Slot)
    has_another = (
        select(other.id)
        .where(other.pair_id == slot.pair_id, other.annotator == annotator, other.id != slot.id)
        .exists()
    )
    return (
        select(column)
        .join(Pair, Pair.id == slot.pair_id)
        .where(
            slot.project_id == project_id, slot.vote_id.is_(None), is_free(slot, now),
            Pair.status == "open", ~voted_by(slot, annotator), ~has_another,
        )
    )  # fmt: skip


def _claim(
    s: Session, candidate: sa.Select[Any], slot: type[Slot], annotator: str, now: datetime,
    lease_until: datetime,
) -> ClaimedSlot | None:  # fmt: skip
    locked = candidate.limit(1).with_for_update(skip_locked=True, of=slot)
    return _lease(s, locked.scalar_subquery(), annotator, now, lease_until)


def _lease(
    s: Session, candidate: Any, annotator: str, now: datetime, lease_until: datetime
) -> ClaimedSlot | None:
    row = s.execute(
        update(Slot)
        .where(Slot.id == candidate, Slot.vote_id.is_(None), is_free(Slot, now))
        .values(annotator=annotator, lease_until=lease_until)
        .returning(Slot.id, Slot.pair_id, Slot.position, Slot.acquisition_score),
        execution_options={"synchronize_session": False},
    ).first()
    return None if row is None else ClaimedSlot(*row)


def take(
    s: Session, pair_id: int, annotator: str, *, now: datetime, lease_until: datetime
) -> ClaimedSlot | None:
    """Lease a free slot of this very pair, if there is one."""
    slot = aliased(Slot)
    candidate = (
        select(slot.id)
        .where(slot.pair_id == pair_id, slot.vote_id.is_(None), is_free(slot, now))
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


def hand_over(s: Session, old_vote_id: str, new_vote_id: str) -> bool:
    """Let a revision fill the slot of the vote that it replaces; False if that one filled none."""
    row = s.execute(
        update(Slot)
        .where(Slot.vote_id == old_vote_id)
        .values(vote_id=new_vote_id)
        .returning(Slot.id),
        execution_options={"synchronize_session": False},
    ).first()
    return row is not None


def vacate(s: Session, vote_id: str) -> None:
    """Give the slot that the vote filled back to the queue."""
    s.execute(
        update(Slot)
        .where(Slot.vote_id == vote_id)
        .values(vote_id=None, annotator=None, lease_until=None),
        execution_options={"synchronize_session": False},
    )


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
