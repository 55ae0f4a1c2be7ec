"""Reading pairs with their texts: one, many, all in order, one at random."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from db import slots
from db.models import Pair, Prompt, Response, Vote


@dataclass(frozen=True, slots=True)
class PairText:
    """A pair with its texts, as it is shown or exported."""

    pair_id: int
    prompt_id: int
    prompt_hash: str
    messages: list[dict[str, str]]
    response_a: str
    response_b: str
    split: str
    category: str | None
    meta: dict[str, Any]


@cache
def select_pairs() -> sa.Select[Any]:
    """Selects the columns of PairText, in order; add conditions on `Pair`."""
    a, b = aliased(Response), aliased(Response)
    return (
        select(
            Pair.id, Pair.prompt_id, Prompt.content_hash, Prompt.messages,
            a.text, b.text, Pair.split, Pair.category, Pair.meta,
        )
        .join(Prompt, Prompt.id == Pair.prompt_id)
        .join(a, a.id == Pair.response_a_id)
        .join(b, b.id == Pair.response_b_id)
    )  # fmt: skip


def get_pair(s: Session, project_id: int, pair_id: int) -> PairText | None:
    found = get_pairs(s, project_id, [pair_id])
    return found.get(pair_id)


def get_pairs(s: Session, project_id: int, pair_ids: Sequence[int]) -> dict[int, PairText]:
    """The pairs of the project among `pair_ids`, by id."""
    rows = s.execute(select_pairs().where(Pair.project_id == project_id, Pair.id.in_(pair_ids)))
    return {row[0]: PairText(*row) for row in rows}


def get_sources(s: Session, pair_id: int) -> tuple[str | None, str | None]:
    """Who or what wrote `response_a` and `response_b`."""
    row = s.execute(_sources_statement(), {"b_pair": pair_id}).one()
    return row[0], row[1]


def sources_of(s: Session, pair_ids: Sequence[int]) -> dict[int, tuple[str | None, str | None]]:
    """The same of many pairs, by id."""
    statement = _select_sources().add_columns(Pair.id).where(Pair.id.in_(pair_ids))
    return {row[2]: (row[0], row[1]) for row in s.execute(statement)}


@cache
def _sources_statement() -> sa.Executable:
    return _select_sources().where(Pair.id == slots.bound("pair"))


def _select_sources() -> sa.Select[str | None, str | None]:
    a, b = aliased(Response), aliased(Response)
    return (
        select(a.source, b.source)
        .select_from(Pair)
        .join(a, a.id == Pair.response_a_id)
        .join(b, b.id == Pair.response_b_id)
    )


def iter_pairs(s: Session, project_id: int, size: int) -> Iterator[list[PairText]]:
    """All pairs of the project in order of id, `size` at a time."""
    last = 0
    while True:
        rows = s.execute(
            select_pairs()
            .where(Pair.project_id == project_id, Pair.id > last)
            .order_by(Pair.id)
            .limit(size)
        )
        chunk = [PairText(*row) for row in rows]
        if not chunk:
            return
        last = chunk[-1].pair_id
        yield chunk


def random_pair_id(s: Session, project_id: int, at: float) -> int | None:
    """The id of a pair of the project; `at`, in [0, 1), says where to look."""
    low, high = s.execute(
        select(sa.func.min(Pair.id), sa.func.max(Pair.id)).where(Pair.project_id == project_id)
    ).one()
    if low is None:
        return None
    target = low + int(at * (high - low + 1))
    return s.scalar(
        select(Pair.id)
        .where(Pair.project_id == project_id, Pair.id >= target)
        .order_by(Pair.id)
        .limit(1)
    )


def disputed_pair_id(s: Session, project_id: int, at: float) -> int | None:
    """A pair on which people gave both answers the preference; `at`, in [0, 1), says which."""
    disputed = (
        select(Vote.pair_id)
        .where(
            Vote.project_id == project_id,
            Vote.retracted_at.is_(None),
            Vote.purpose == slots.LABEL,
            Vote.choice.in_(("a", "b")),
        )
        .group_by(Vote.pair_id)
        .having(sa.func.count(Vote.choice.distinct()) == 2)
    )
    number = s.scalar(select(sa.func.count()).select_from(disputed.subquery())) or 0
    return s.scalar(disputed.order_by(Vote.pair_id).offset(int(at * number)).limit(1))
