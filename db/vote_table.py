"""Votes as columns of numbers, for everything that is computed over all of them.

    table = read_votes(s, project_id)            # the standing votes, every purpose
    table.choice == CHOICE_CODE["tie"]           # numpy arrays, one entry a vote

A million votes as rows of objects would take gigabytes and half a minute. Here the database turns
each into small integers, and they go into numpy without a Python object that stays: as a stream of
tuples from SQLite, as one binary COPY from PostgreSQL. About 40 bytes a vote are held.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import case, cast, func, select
from sqlalchemy.orm import Session

from db.models import CHOICES, PURPOSES, Vote

if TYPE_CHECKING:
    import numpy as np

CHOICE_CODE = {choice: code for code, choice in enumerate(CHOICES)}  # a, b, tie are 0, 1, 2
PURPOSE_CODE = {purpose: code for code, purpose in enumerate(PURPOSES)}
LEFT_CODE = {None: 0, "a": 1, "b": 2}
UNKNOWN_MS = -1
_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_SQL_TYPES: dict[str, Any] = {
    "i2": sa.SmallInteger(),
    "i4": sa.Integer(),
    "i8": sa.BigInteger(),
    "S16": sa.UUID(),
}


@dataclass(frozen=True)
class VoteTable:
    """Votes in columns, each of N entries, in no particular order.

    Attributes:
        pair, annotator: int32: the pair's id; an index into `names`.
        choice, purpose, left: int16 codes: CHOICE_CODE, PURPOSE_CODE, LEFT_CODE.
        strength: int16, 0 where none was given.
        imported: int16, 1 for an imported vote.
        duration_ms: int64, UNKNOWN_MS where it was not measured.
        names: the annotators.
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
    mine = [Vote.project_id == project_id]
    if not retracted_too:
        mine.append(Vote.retracted_at.is_(None))
    # Numbered inside the database, by the same statement that names them: both see one order.
    names = (
        select(Vote.annotator.label("name"))
        .where(Vote.project_id == project_id)
        .distinct()
        .subquery()
    )
    numbered = select(
        names.c.name, (func.row_number().over(order_by=names.c.name) - 1).label("number")
    ).subquery()
    columns = {
        "pair": (Vote.pair_id, "i4"),
        "annotator": (numbered.c.number, "i4"),
        "choice": (_code(Vote.choice, CHOICE_CODE), "i2"),
        "purpose": (_code(Vote.purpose, PURPOSE_CODE), "i2"),
        "left": (func.coalesce(_code(Vote.left_side, {"a": 1, "b": 2}), 0), "i2"),
        "strength": (func.coalesce(Vote.strength, 0), "i2"),
        "imported": (case((Vote.imported, 1), else_=0), "i2"),
        "duration_ms": (func.coalesce(Vote.duration_ms, UNKNOWN_MS), "i8"),
    }
    if with_ids:
        columns["ids"] = (Vote.id, "S16")
    wanted = Vote.purpose.in_(purposes) if set(purposes) != set(PURPOSES) else sa.true()
    read = read_columns(
        s, columns, lambda query: query.join(numbered, numbered.c.name == Vote.annotator)
        .where(*mine, wanted),
    )  # fmt: skip
    listed = s.scalars(select(numbered.c.name).order_by(numbered.c.number))
    return VoteTable(**read, names=tuple(listed))


def _code(column: Any, codes: Mapping[Any, int]) -> sa.ColumnElement[int]:
    return case(codes, value=column)


# --- from the database into numpy ------------------------------------------------------------


def read_columns(
    s: Session, columns: Mapping[str, tuple[Any, str]], shape: Any = lambda query: query
) -> dict[str, np.ndarray]:
    """What `shape(select(...))` selects, as one array a column.

    `columns` gives each column's expression, never null, and its type: `i2`, `i4`, `i8`, or `S16`
    for a UUID.
    """
    import numpy as np

    connection = s.connection()
    is_sqlite = connection.dialect.name == "sqlite"
    kinds = {name: kind for name, (_, kind) in columns.items()}
    chosen = [
        (expression if is_sqlite else cast(expression, _SQL_TYPES[kind])).label(name)
        for name, (expression, kind) in columns.items()
    ]
    statement = shape(select(*chosen))
    compiled = statement.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
    driver: Any = connection.connection.driver_connection
    if is_sqlite:
        dtype = np.dtype([(name, "S36" if k == "S16" else k) for name, k in kinds.items()])
        rows = np.fromiter(driver.execute(str(compiled)), dtype=dtype)
    else:
        rows = _binary_copy(driver, str(compiled), kinds)
    found = {
        name: rows[name].astype(_native(kind)) for name, kind in kinds.items() if kind != "S16"
    }
    for name in (name for name, kind in kinds.items() if kind == "S16"):
        found[name] = _packed_uuids(rows[name]) if is_sqlite else rows[name].copy()
    return found


def _native(kind: str) -> str:
    return f"={kind}"


def _binary_copy(driver: Any, sql: str, kinds: Mapping[str, str]) -> np.ndarray:
    """Rows of fixed width straight from PostgreSQL's binary COPY."""
    import numpy as np

    layout: list[tuple[str, str]] = [("num_fields", ">i2")]
    for name, kind in kinds.items():
        layout += [(f"{name} length", ">i4"), (name, kind if kind == "S16" else f">{kind}")]
    dtype = np.dtype(layout)
    with driver.cursor() as cursor, cursor.copy(f"COPY ({sql}) TO STDOUT (FORMAT BINARY)") as copy:
        data = b"".join(copy)
    start = len(_SIGNATURE) + 8 + int.from_bytes(data[len(_SIGNATURE) + 4 : len(_SIGNATURE) + 8])
    num_rows, rest = divmod(len(data) - start - 2, dtype.itemsize)
    if not data.startswith(_SIGNATURE) or rest:
        raise ValueError(f"PostgreSQL sent {len(data)} bytes that are no rows of {dtype.itemsize}")
    return np.frombuffer(data, dtype, num_rows, start)


def _packed_uuids(texts: np.ndarray) -> np.ndarray:
    """S16 from the usual 36 characters of each UUID."""
    import numpy as np

    letters = np.ascontiguousarray(texts).view(np.uint8).reshape(len(texts), 36)
    digits = letters[:, _HEX_PLACES] | 0x20  # lower case
    values = np.where(digits >= ord("a"), digits - (ord("a") - 10), digits - ord("0"))
    return ((values[:, ::2] << 4) | values[:, 1::2]).astype(np.uint8).reshape(-1).view("S16")


_HEX_PLACES = [place for place in range(36) if place not in (8, 13, 18, 23)]
