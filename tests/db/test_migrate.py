"""Migrations: from nothing to the models, safely, on both databases."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from db import migrate as migrate_module
from db.engine import Database, make_engine, open_database
from db.migrate import SchemaError, SchemaTooNew, migrate
from db.models import Base, Project


def test_the_migrations_make_exactly_the_models(empty_url: str) -> None:
    report = migrate(empty_url, None)
    assert report.from_revision is None
    assert report.changed
    engine = make_engine(empty_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def test_a_second_migration_changes_nothing(empty_url: str, tmp_path: Path) -> None:
    migrate(empty_url, tmp_path / "backups")
    report = migrate(empty_url, tmp_path / "backups")
    assert not report.changed
    assert report.backup is None
    assert not (tmp_path / "backups").exists()


def test_the_migrations_can_be_undone_to_nothing(empty_url: str) -> None:
    from alembic import command

    migrate(empty_url, None)
    engine = make_engine(empty_url, foreign_keys=False)
    with engine.execution_options(sqlite_begin="IMMEDIATE").begin() as connection:
        command.downgrade(migrate_module.alembic_config(connection), "base")
    with engine.connect() as connection:
        assert sa.inspect(connection).get_table_names() == ["alembic_version"]
    engine.dispose()


def _stamp(database: Database, revision: str) -> None:
    with database.write() as s:
        s.execute(sa.text("UPDATE alembic_version SET version_num = :r"), {"r": revision})


def test_a_newer_schema_is_refused_and_left_alone(database: Database, tmp_path: Path) -> None:
    _stamp(database, "9999")
    with pytest.raises(SchemaTooNew, match=r"schema 9999, newer than \d{4}.*install the version"):
        migrate(database.url, tmp_path)
    with database.read() as s:
        assert s.scalar(sa.text("SELECT version_num FROM alembic_version")) == "9999"
    assert list(tmp_path.glob("*9999*")) == []


def test_a_database_of_something_else_is_refused(empty_url: str) -> None:
    engine = make_engine(empty_url)
    with engine.execution_options(sqlite_begin="IMMEDIATE").begin() as connection:
        connection.execute(sa.text("CREATE TABLE recipes (id INTEGER)"))
    with pytest.raises(SchemaError, match="not the studio's"):
        migrate(empty_url, None)
    with engine.connect() as connection:
        assert sa.inspect(connection).get_table_names() == ["recipes"]
    engine.dispose()


@pytest.fixture
def older(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database with a project in it, of a schema from which an upgrade has work to do."""
    opened = open_database(sqlite_url)
    with opened.write() as s:
        s.add(Project(name="kept", guidelines="", wanted_votes=1, backbone="embedded"))
    opened.dispose()
    monkeypatch.setattr(
        migrate_module.MigrationContext,
        "get_current_revision",
        lambda self: "0000-older",
        raising=True,
    )
    monkeypatch.setattr(
        migrate_module.ScriptDirectory,
        "walk_revisions",
        lambda self: [type("R", (), {"revision": "0000-older"})],
    )
    return sqlite_url


def test_a_real_upgrade_copies_the_file_first(
    older: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def upgrade_that_fails(*_: object) -> None:
        raise RuntimeError("the power went out")

    monkeypatch.setattr(migrate_module.command, "upgrade", upgrade_that_fails)
    with pytest.raises(RuntimeError, match="power"):
        migrate(older, tmp_path / "backups")
    (backup,) = (tmp_path / "backups").iterdir()
    with sqlite3.connect(backup) as copy:
        assert copy.execute("SELECT name FROM project").fetchall() == [("kept",)]
        assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    copy.close()


def test_two_processes_may_migrate_at_once(empty_url: str) -> None:
    reports, errors = [], []

    def run() -> None:
        try:
            reports.append(migrate(empty_url, None))
        except (SchemaError, sa.exc.DBAPIError) as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(report.changed for report in reports) == [False, False, True]
