"""Puts votes of any purpose straight into the database, as the pages would have stored them."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import select

from db.engine import Database
from db.models import Pair, Vote


def pair_ids(database: Database, project_id: int) -> list[int]:
    """The project's pairs, in order of id."""
    with database.read() as s:
        return list(
            s.scalars(select(Pair.id).where(Pair.project_id == project_id).order_by(Pair.id))
        )


def give(
    database: Database, project_id: int, pair_id: int, annotator: str, choice: str, **more: Any
) -> str:
    """One vote; its id. `more` are columns of the vote's row."""
    row = Vote(
        id=str(uuid.uuid4()), project_id=project_id, pair_id=pair_id, annotator=annotator,
        choice=choice, **more,
    )  # fmt: skip
    with database.write() as s:
        s.add(row)
    return row.id


def give_all(
    database: Database, project_id: int, rows: list[tuple[int, str, str]], **more: Any
) -> None:
    """Many votes at once: (pair id, annotator, choice) of each."""
    with database.write() as s:
        s.add_all(
            Vote(
                id=str(uuid.uuid4()), project_id=project_id, pair_id=pair_id, annotator=annotator,
                choice=choice, **more,
            )
            for pair_id, annotator, choice in rows
        )  # fmt: skip
