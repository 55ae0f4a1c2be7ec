"""Votes as columns of numbers, for everything that is computed over all of them.

    table = read_votes(s, project_id)            # the standing votes, every purpose
    table.choice == CHOICE_CODE["tie"]           # numpy arrays, one entry a vote

A million votes as rows of objects would take gigabytes and half a minute. Here the database packs
each into one integer and strings those of an annotator together, so that Python sees one row an
annotator: the same statement on both databases, a second for a million votes, 30 bytes held each.

    kept = reread(s, project_id, None)           # all, kept as packed: 8 bytes each
    kept = reread(s, project_id, kept)           # again only those of whom anything has changed
    table = kept.table()
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import case, cast, func, select
from sqlalchemy.orm import Session

from db.models import CHOICES, PURPOSES, Vote

if TYPE_CHECKING:
    import numpy as np

CHOICE_CODE = {choice: code for code, choice in enumerate(CHOICES)}  # a, b, tie are 0, 1, 2
PURPOSE_CODE = {purpose: code for code, purpose in enumerate(PURPOSES)}
LEFT_CODE = {"a": 1, "b": 2}  # 0 where nobody was shown a side
UNKNOWN_MS = -1
MAX_MS = 2**22 - 3  # 70 minutes: whoever takes longer has gone away
# The packed integer, from its lowest bit: name and how many bits it takes; 63 in all.
_FIELDS = (
    ("imported", 1),
    ("strength", 2),
    ("left", 2),
    ("purpose", 2),
    ("choice", 3),
    ("duration_ms", 22),
    ("pair", 31),
)


@dataclass(frozen=True)
class VoteTable:
    """Votes in columns, each of N entries, in no particular order.

    Attributes:
        pair, annotator: int32: the pair's id; an index into `names`.
        choice, purpose, left: int8 codes: CHOICE_CODE, PURPOSE_CODE, LEFT_CODE.
        strength: int8, 0 where none was given.
        imported: int8, 1 for an imported vote.
        duration_ms: int32, at most MAX_MS; UNKNOWN_MS where it was not measured.
        names: the annotators, in order.
        ids: S16, the votes' UUIDs; None where they were not asked for.
    """

    pair: np.ndarray
    annotator: np.ndarray
    choice: np.ndarray
    purpose: np.ndarray
    left: np.ndarray
    strength: np.ndarray
    imported: np.ndarray
    duration_ms: np.ndarray
    names: tuple[str, ...]
    ids: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.pair)

    def where(self, keep: np.ndarray) -> VoteTable:
        """The votes that `keep` (bool [N], or positions) names."""
        import numpy as np

        if keep.dtype == bool:
            if keep.all():
                return self
            keep = np.flatnonzero(keep)  # once, not for every column
        columns = {
            field.name: getattr(self, field.name)[keep]
            for field in fields(self)
            if field.name != "names" and getattr(self, field.name) is not None
        }
        return replace(self, **columns)

    def of_purpose(self, *purposes: str) -> VoteTable:
        """The votes given for one of these purposes."""
        import numpy as np

        return self.where(np.isin(self.purpose, [PURPOSE_CODE[each] for each in purposes]))


def read_votes(
    s: Session,
    project_id: int,
    *,
    purposes: Sequence[str] = PURPOSES,
    with_ids: bool = False,
    retracted_too: bool = False,
) -> VoteTable:
    """The project's standing votes (or all that ever were) given for one of `purposes`."""
    import numpy as np

    conditions = []
    if not retracted_too:
        conditions.append(Vote.retracted_at.is_(None))
    if set(purposes) != set(PURPOSES):
        conditions.append(Vote.purpose.in_(purposes))
    # What is not in ix_vote_columns is read in the table's order and sorted: SQLite would otherwise
    # walk the index of annotators and look every vote up in random order.
    is_covered = not with_ids and not retracted_too
    name: Any = Vote.annotator if is_covered else Vote.annotator.concat("")
    more = [func.aggregate_strings(Vote.id, "")] if with_ids else []
    packed, texts = {}, []
    for row in _rows(s, project_id, name, conditions, more):
        packed[row[0]] = _numbers(row[1])
        texts.append((row[0], row[2]) if with_ids else (row[0], ""))
    table = _table(packed)
    if not with_ids:
        return table
    ids = [packed_uuids(text) for _, text in sorted(texts)]
    return replace(table, ids=np.concatenate([np.empty(0, "S16"), *ids]))


class Mark(NamedTuple):
    """Votes are added and taken back, never changed: by this an annotator's are known to be all."""

    num_given: int
    newest: datetime | None
    num_retracted: int


@dataclass(frozen=True)
class KeptVotes:
    """A project's standing votes as they were read, annotator by annotator.

    Attributes:
        marks: of everybody who ever gave a vote.
        packed: int64 [N] of each who has one that stands.
    """

    marks: dict[str, Mark]
    packed: dict[str, np.ndarray]

    def table(self) -> VoteTable:
        return _table(self.packed)


def read_marks(s: Session, project_id: int) -> dict[str, Mark]:
    """What tells whether an annotator's votes have changed; read from two indexes alone."""
    given = s.execute(
        select(Vote.annotator, func.count(), func.max(Vote.created_at))
        .where(Vote.project_id == project_id)
        .group_by(Vote.annotator)
    ).all()
    # Plus nothing: found by the small index of what was taken back, not by the project's million.
    retracted = s.execute(
        select(Vote.annotator, func.count())
        .where(Vote.project_id + 0 == project_id, Vote.retracted_at.is_not(None))
        .group_by(Vote.annotator)
    )
    num_retracted: dict[str, int] = dict(map(tuple, retracted))  # type: ignore[arg-type]
    return {name: Mark(num, at, num_retracted.get(name, 0)) for name, num, at in given}


def reread(
    s: Session, project_id: int, kept: KeptVotes | None, marks: dict[str, Mark] | None = None
) -> KeptVotes:
    """The standing votes now; only those of whom `marks` (of now) tells a change are read anew."""
    now = read_marks(s, project_id) if marks is None else marks
    known = kept or KeptVotes({}, {})
    changed = {name for name, mark in now.items() if known.marks.get(name) != mark}
    packed = {name: known.packed[name] for name in known.packed.keys() & now.keys() - changed}
    if changed:
        conditions = [Vote.retracted_at.is_(None)]
        if len(changed) <= len(now) / 2:
            conditions.append(Vote.annotator.in_(changed))
        rows = _rows(s, project_id, Vote.annotator, conditions)
        packed |= {name: _numbers(text) for name, text in rows}
    return KeptVotes(now, packed)


def _rows(
    s: Session, project_id: int, name: Any, conditions: Sequence[Any], more: Sequence[Any] = ()
) -> Iterator[Any]:
    """(annotator, packed votes as text, ...) of everybody with a vote."""
    packed = func.aggregate_strings(cast(_packed(), sa.Text), " ")
    statement = select(name, packed, *more).where(Vote.project_id == project_id, *conditions)
    yield from s.execute(statement.group_by(name)).yield_per(1)


def _numbers(text: str) -> np.ndarray:
    import numpy as np

    return np.fromstring(text, dtype=np.int64, sep=" ")


def _table(packed: Mapping[str, np.ndarray]) -> VoteTable:
    import numpy as np

    names = sorted(packed)  # by characters, whatever the database's collation
    sizes = [len(packed[name]) for name in names]
    return VoteTable(
        annotator=np.repeat(np.arange(len(names), dtype=np.int32), sizes),
        names=tuple(names),
        **_unpacked(np.concatenate([np.empty(0, np.int64), *(packed[name] for name in names)])),
    )


def _packed() -> sa.ColumnElement[int]:
    """Everything but the annotator and the id as one integer of 63 bits."""
    ms = func.coalesce(Vote.duration_ms, UNKNOWN_MS)
    values: dict[str, Any] = {
        "imported": case((Vote.imported, 1), else_=0),
        "strength": func.coalesce(Vote.strength, 0),
        "left": case(LEFT_CODE, value=Vote.left_side, else_=0),
        "purpose": case(PURPOSE_CODE, value=Vote.purpose),
        "choice": case(CHOICE_CODE, value=Vote.choice),
        "duration_ms": case((ms > MAX_MS, MAX_MS), else_=ms) + 1,
        "pair": Vote.pair_id,
    }
    packed: Any = sa.literal_column("0")
    for name, size in reversed(_FIELDS):
        packed = packed * sa.literal_column(str(2**size)) + cast(values[name], sa.BigInteger)
    return packed


def _unpacked(packed: np.ndarray) -> dict[str, np.ndarray]:
    import numpy as np

    columns: dict[str, np.ndarray] = {}
    rest = packed
    for name, size in _FIELDS:
        values = rest & (2**size - 1)
        columns[name] = values.astype(np.int8 if size < 8 else np.int32)
        rest = rest >> size
    return columns | {"duration_ms": columns["duration_ms"] - 1}


def packed_uuids(text: str) -> np.ndarray:
    """S16 from UUIDs of the usual 36 characters each, one after the other."""
    import numpy as np

    letters = np.frombuffer(text.encode(), np.uint8).reshape(-1, 36)
    digits = letters[:, _HEX_PLACES] | 0x20  # lower case
    values = np.where(digits >= ord("a"), digits - (ord("a") - 10), digits - ord("0"))
    return ((values[:, ::2] << 4) | values[:, 1::2]).astype(np.uint8).reshape(-1).view("S16")


_HEX_PLACES = [place for place in range(36) if place not in (8, 13, 18, 23)]
