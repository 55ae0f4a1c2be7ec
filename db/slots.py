"""Slots: one row per wanted vote of a pair, and the lease that stands on that row.

The lease must be on the row that is locked. PostgreSQL re-checks, after waiting for a lock, only
the locked row itself: a claim that looks for "no live lease" in another table hands a pair to two
people. Here the claim is one UPDATE of one slot, so no more votes than wanted are ever handed out.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Literal, cast

import sqlalchemy as sa
from sqlalchemy import func, literal_column, or_, select
from sqlalchemy.orm import Session

from db.models import Pair, Project, Slot, Vote

LABEL: sa.ColumnElement[str] = literal_column(
    "'label'"
)  # a literal, so that SQLite can use the partial index

# Statements are made of the tables, past the ORM: one of the ORM takes longer to prepare, and
# threads that prepare their first one at once can lose its cache for good.
_TABLE = cast(sa.Table, Slot.__table__)
_C = _TABLE.c
_PROJECT = cast(sa.Table, Project.__table__).c
_VOTE = cast(sa.Table, Vote.__table__).c
_PAIRS = cast(sa.Table, Pair.__table__)
_Columns = Any  # of one row of slots: an alias of the class, or an alias' columns


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
        s.connection().execute(sa.insert(_TABLE), rows)


def resize(
    s: Session, project_id: int, wanted_votes: int, after_pair: int, num_pairs: int, now: datetime
) -> int | None:
    """Give the next pairs of the queue as many slots as votes are wanted.

    Filled slots and those that somebody holds stay, and a pair that never had a slot gets none.
    Returns the last pair looked at, or None when there was none left.
    """
    rows = s.execute(
        select(Slot.pair_id, func.count(), func.max(Slot.n), func.max(Slot.position))
        .where(Slot.project_id == project_id, Slot.pair_id > after_pair)
        .group_by(Slot.pair_id)
        .order_by(Slot.pair_id)
        .limit(num_pairs)
    ).all()
    new = [
        {"project_id": project_id, "pair_id": pair_id, "n": last + extra, "position": position}
        for pair_id, number, last, position in rows
        for extra in range(1, wanted_votes - number + 1)
    ]
    if new:
        s.connection().execute(sa.insert(_TABLE), new)
    if any(number > wanted_votes for _, number, _, _ in rows):
        values = {"b_after": after_pair, "b_last": rows[-1][0]}
        _drop_surplus(s, "range", project_id, now, values)
    return rows[-1][0] if rows else None


def drop_lapsed(s: Session, project_id: int, now: datetime) -> None:
    """Take slots away whose lease has lapsed where their pair has enough others.

    Somebody held them when fewer votes came to be wanted.
    """
    _drop_surplus(s, "lapsed", project_id, now, {})


def _drop_surplus(
    s: Session, which: str, project_id: int, now: datetime, values: Mapping[str, Any]
) -> None:
    s.execute(_drop_statement(which), {"b_project": project_id, "b_now": now, **values})


@cache
def _drop_statement(which: str) -> sa.Executable:
    table, chosen = _TABLE.alias(), _C
    slot = table.c
    among = {
        "range": slot.pair_id.between(bound("after") + 1, bound("last")),
        "lapsed": slot.lease_until < bound("now"),
        "pair": slot.pair_id == bound("pair"),
    }[which]
    surplus = select(slot.id).where(
        slot.project_id == bound("project"), among, slot.vote_id.is_(None),
        is_free(slot, bound("now")), _has_enough_others(slot),
    )  # fmt: skip
    locked = surplus.with_for_update(skip_locked=True, of=table)
    return sa.delete(_TABLE).where(
        chosen.id.in_(locked),
        chosen.vote_id.is_(None),
        is_free(chosen, bound("now")),
    )


def _has_enough_others(slot: _Columns) -> sa.ColumnElement[bool]:
    """The pair has all the slots it wants without this one: filled, held, or before it."""
    other = _TABLE.alias().c
    others = select(func.count()).where(
        other.pair_id == slot.pair_id, other.id != slot.id,
        or_(other.vote_id.is_not(None), other.lease_until >= bound("now"), other.id < slot.id),
    )  # fmt: skip
    wanted = select(_PROJECT.wanted_votes).where(_PROJECT.id == slot.project_id)
    return others.scalar_subquery() >= wanted.scalar_subquery()


def close_open(s: Session, pair_ids: Sequence[int]) -> None:
    """Take the unfilled slots of these pairs away; a vote still on its way becomes surplus."""
    if pair_ids:
        s.execute(
            sa.delete(Slot).where(Slot.pair_id.in_(pair_ids), Slot.vote_id.is_(None)),
            execution_options={"synchronize_session": False},
        )


def bound(name: str) -> sa.BindParameter[Any]:
    """A parameter of a statement that is built once: building one takes longer than running it."""
    return sa.bindparam(f"b_{name}")


def is_free(slot: _Columns, now: Any) -> sa.ColumnElement[bool]:
    return or_(slot.annotator.is_(None), slot.lease_until < now)


def voted_by(slot: _Columns, annotator: Any) -> sa.ColumnElement[bool]:
    """The annotator has a standing vote (a skip or flag too) on the slot's pair."""
    return (
        select(_VOTE.id)
        .where(
            _VOTE.pair_id == slot.pair_id,
            _VOTE.annotator == annotator,
            _VOTE.retracted_at.is_(None),
            _VOTE.purpose == LABEL,
        )
        .exists()
    )


# Orders in which a queue can be gone through: all pairs at random, or training pairs as they were
# imported or as they were ranked.
Order = Literal["walk", "import", "rank"]


def claim(
    s: Session, project_id: int, annotator: str, *, now: datetime, lease_until: datetime,
    order: Order = "walk", after: float,
) -> ClaimedSlot | None:  # fmt: skip
    """Lease the next slot in the queue that this annotator may have, or None if there is none.

    Looks behind `after` first, where the annotator was last, then from the start of the queue:
    so a claim does not walk again over all that the annotator has judged already. `after` is a
    position in the walk, a pair's id in the order of import; a ranking is looked at from the top.
    """
    values = {
        "b_project": project_id, "b_annotator": annotator, "b_now": now, "b_until": lease_until,
        "b_after": after,
    }  # fmt: skip
    for ahead in (True, False):
        row = s.execute(_claim_statement(order, ahead), values).first()
        if row is not None:
            return ClaimedSlot(*row)
        if order == "rank":
            break
    return None


def peek(
    s: Session, project_id: int, annotator: str, *, now: datetime, order: Order = "walk",
    after: float,
) -> Candidate | None:  # fmt: skip
    """What `claim` would lease, without leasing it."""
    values = {"b_project": project_id, "b_annotator": annotator, "b_now": now, "b_after": after}
    for ahead in (True, False):
        row = s.execute(_peek_statement(order, ahead), values).first()
        if row is not None:
            return Candidate(*row)
        if order == "rank":
            break
    return None


@cache
def _claim_statement(order: Order, ahead: bool) -> sa.Executable:
    table, chosen = _TABLE.alias(), _C
    candidate = _candidates(table, order, ahead).with_only_columns(table.c.id)
    locked = candidate.with_for_update(skip_locked=True, of=table).scalar_subquery()
    return (
        sa.update(_TABLE)
        .where(chosen.id == locked, chosen.vote_id.is_(None), is_free(chosen, bound("now")))
        .values(annotator=bound("annotator"), lease_until=bound("until"))
        .returning(chosen.id, chosen.pair_id, chosen.position, chosen.acquisition_score)
    )


@cache
def _peek_statement(order: Order, ahead: bool) -> sa.Executable:
    table = _TABLE.alias()
    candidates = _candidates(table, order, ahead)
    return candidates.with_only_columns(table.c.pair_id, table.c.position, _PAIRS.c.split)


def _candidates(table: sa.FromClause, order: Order, ahead: bool) -> sa.Select[Any]:
    """The first slot in this order that may be leased to the annotator."""
    slot, other, pair = table.c, _TABLE.alias().c, _PAIRS.c
    has_another = (
        select(other.id)
        .where(
            other.pair_id == slot.pair_id, other.annotator == bound("annotator"),
            other.id != slot.id,
        )
        .exists()
    )  # fmt: skip
    column = {"walk": slot.position, "import": slot.pair_id, "rank": slot.priority}[order]
    statement = (
        select(slot.id)
        .select_from(table.join(_PAIRS, pair.id == slot.pair_id))
        .where(
            slot.project_id == bound("project"), slot.vote_id.is_(None),
            is_free(slot, bound("now")), pair.status == "open",
            ~voted_by(slot, bound("annotator")), ~has_another,
        )
        .order_by(column, slot.id)
        .limit(1)
    )  # fmt: skip
    if order == "rank":
        statement = statement.where(slot.priority.is_not(None))
    else:
        after = sa.bindparam("b_after", type_=column.type)
        statement = statement.where(column > after if ahead else column <= after)
    return statement if order == "walk" else statement.where(pair.split == "train")


def take(
    s: Session, pair_id: int, annotator: str, *, now: datetime, lease_until: datetime
) -> int | None:
    """Lease a free slot of this very pair, if there is one; its id."""
    values = {"b_pair": pair_id, "b_annotator": annotator, "b_now": now, "b_until": lease_until}
    return s.scalar(_take_statement(), values)


@cache
def _take_statement() -> sa.Executable:
    table, chosen = _TABLE.alias(), _C
    slot = table.c
    candidate = (
        select(slot.id)
        .where(
            slot.pair_id == bound("pair"),
            slot.vote_id.is_(None),
            is_free(slot, bound("now")),
            ~_has_enough_others(slot),
        )
        .order_by((slot.annotator == bound("annotator")).desc().nulls_last(), slot.n)
        .limit(1)
        .with_for_update(skip_locked=True, of=table)
        .scalar_subquery()
    )
    return (
        sa.update(_TABLE)
        .where(chosen.id == candidate, chosen.vote_id.is_(None), is_free(chosen, bound("now")))
        .values(annotator=bound("annotator"), lease_until=bound("until"))
        .returning(chosen.id)
    )


def renew(s: Session, slot_ids: Sequence[int], annotator: str, lease_until: datetime) -> set[int]:
    """Prolong the annotator's own leases; the ids of the slots that are still theirs."""
    if not slot_ids:
        return set()
    rows = s.execute(
        sa.update(_TABLE)
        .where(_C.id.in_(slot_ids), _C.annotator == annotator, _C.vote_id.is_(None))
        .values(lease_until=lease_until)
        .returning(_C.id),
    )
    return set(rows.scalars())


def fill(s: Session, pair_id: int, annotator: str, vote_id: str, now: datetime) -> bool:
    """Fill the annotator's slot of the pair, or any free one; False when none is left."""
    filled = s.execute(
        sa.update(_TABLE)
        .where(_C.pair_id == pair_id, _C.annotator == annotator, _C.vote_id.is_(None))
        .values(vote_id=vote_id, lease_until=None)
        .returning(_C.id),
    ).first()
    if filled is None:
        taken = take(s, pair_id, annotator, now=now, lease_until=now)
        if taken is None:
            return False
        s.execute(
            sa.update(_TABLE).where(_C.id == taken).values(vote_id=vote_id, lease_until=None),
        )
    return True


def hand_over(s: Session, old_vote_id: str, new_vote_id: str) -> bool:
    """Let a revision fill the slot of the vote that it replaces; False if that one filled none."""
    row = s.execute(
        sa.update(_TABLE)
        .where(_C.vote_id == old_vote_id)
        .values(vote_id=new_vote_id)
        .returning(_C.id),
    ).first()
    return row is not None


def vacate(s: Session, vote_id: str, now: datetime) -> None:
    """Give the slot that the vote filled back to the queue, if its pair wants that vote still."""
    pair_id = s.scalar(select(Slot.pair_id).where(Slot.vote_id == vote_id))
    if pair_id is not None:
        _give_back(s, pair_id, _C.vote_id == vote_id, now)


def free(s: Session, pair_id: int, annotator: str, now: datetime) -> None:
    """Give the annotator's unfilled slot of the pair back, if the pair wants that vote still."""
    held = sa.and_(_C.pair_id == pair_id, _C.annotator == annotator, _C.vote_id.is_(None))
    _give_back(s, pair_id, held, now)


def _give_back(s: Session, pair_id: int, which: sa.ColumnElement[bool], now: datetime) -> None:
    _lock_pair(s, pair_id)
    row = s.execute(
        sa.update(_TABLE)
        .where(which)
        .values(vote_id=None, annotator=None, lease_until=None)
        .returning(_C.project_id)
    ).first()
    if row is not None:
        _drop_surplus(s, "pair", row[0], now, {"b_pair": pair_id})


def _lock_pair(s: Session, pair_id: int) -> None:
    """Of two who give back slots of a pair at once, the second must see what the first did.

    Otherwise each could take its own slot away, because the other's seems to be enough.
    """
    if s.get_bind().dialect.name == "postgresql":
        s.execute(select(func.pg_advisory_xact_lock(sa.cast(pair_id, sa.BigInteger))))


def unfill(s: Session, vote_id: str, lease_until: datetime) -> int | None:
    """Turn the slot that the vote filled into its annotator's lease; None if it filled none."""
    return s.scalar(
        sa.update(_TABLE)
        .where(_C.vote_id == vote_id)
        .values(vote_id=None, lease_until=lease_until)
        .returning(_C.id),
    )
