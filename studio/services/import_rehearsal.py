"""A place to try an import: a database of its own, to which what the project has is brought.

    with rehearsal(database, "support") as stage:
        ...stage.prepare(s, project_id, batch)      # before each batch is added to stage.database

A dry run must count what the import itself would count, so it runs the same code; and nobody's
vote must wait for it, so it writes elsewhere: into a SQLite file that is thrown away. Of the
project itself only the pairs that the file names are read, with their votes.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import select

from db import content, projects
from db.engine import Database, open_database
from db.migrate import migrate
from db.models import Project, Vote, utc_now

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.content import NewPair

COPIED = ("name", "backbone", "wanted_votes", "archived_at")


@dataclass
class Rehearsal:
    """The database to import into, and where the real project is, if there is one."""

    database: Database
    real: Database
    real_project: int | None

    def prepare(self, s: Session, project_id: int, batch: Sequence[NewPair]) -> None:
        """Bring those pairs of the batch that the real project has, with their votes."""
        if self.real_project is None:
            return
        by_hash = {content.pair_key(new)[0]: new for new in batch}
        with self.real.read() as real:
            found = content.pair_ids(real, list(by_hash), self.real_project)
            votes = real.scalars(select(Vote).where(Vote.pair_id.in_(list(found.values())))).all()
        known = [replace(by_hash[key], votes=(), gold_choice=None) for key in found]
        content.add_pairs(s, project_id, known, wanted_votes=1, now=utc_now())
        ids = content.pair_ids(s, list(found), project_id)
        here = {found[key]: ids[key] for key in found}
        rows = [_copied(vote, project_id, here[vote.pair_id]) for vote in votes]
        if rows:
            insert = sa.dialects.sqlite.insert(Vote.__table__).on_conflict_do_nothing()  # type: ignore[arg-type]
            s.connection().execute(insert, rows)


def _copied(vote: Vote, project_id: int, pair_id: int) -> dict[str, Any]:
    names = (column.key for column in sa.inspect(Vote).column_attrs)
    kept = {name: getattr(vote, name) for name in names}
    return kept | {
        "project_id": project_id, "pair_id": pair_id, "showing_id": None, "revises": None,
    }  # fmt: skip


@contextlib.contextmanager
def rehearsal(real: Database, project_name: str) -> Iterator[Rehearsal]:
    """A database with a project of this name, as the real one stands, if it is there."""
    with tempfile.TemporaryDirectory(prefix="studio-dry-run-") as folder:
        url = f"sqlite:///{Path(folder) / 'stage.db'}"
        migrate(url, None)
        stage = open_database(url)
        try:
            with real.read() as s:
                project = projects.find_project(s, project_name)
            if project is not None:
                with stage.write() as s:  # the same id: votes' ids are made of it
                    kept = {name: getattr(project, name) for name in COPIED}
                    s.add(Project(id=project.id, guidelines="", **kept))
            yield Rehearsal(stage, real, None if project is None else project.id)
        finally:
            stage.dispose()
