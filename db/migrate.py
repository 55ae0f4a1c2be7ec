"""Brings a database's schema up to this code's, keeping a copy of what was there first.

    report = migrate("sqlite:////path/studio.db", backup_dir=Path("/path/backups"))
    python -m db.migrate revision "what changes"     # for developers: writes the next revision

Errors: SchemaError, of which SchemaTooNew (the database was written by a newer version).
"""

from __future__ import annotations

import sqlite3
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from db.engine import make_engine

# Any number, the same in every version: two processes must not migrate one database at once.
MIGRATION_LOCK = 727_382_001


class SchemaError(Exception):
    """The database cannot be used by this code; nothing in it was touched."""


class SchemaTooNew(SchemaError):
    """The database was written by a newer version than this one."""


@dataclass(frozen=True)
class MigrationReport:
    """What an upgrade did; `backup` is the copy that was made first, if any."""

    from_revision: str | None
    to_revision: str
    backup: Path | None

    @property
    def changed(self) -> bool:
        return self.from_revision != self.to_revision


def migrate(url: str, backup_dir: Path | None) -> MigrationReport:
    """Upgrade the database at `url` to the newest schema; does nothing when it is there already."""
    engine = make_engine(url, foreign_keys=False)  # rebuilding a table must not cascade
    try:
        writer = engine.execution_options(sqlite_begin="IMMEDIATE")
        with writer.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            return _upgrade(connection, backup_dir)
    finally:
        engine.dispose()


def _upgrade(connection: sa.Connection, backup_dir: Path | None) -> MigrationReport:
    config = alembic_config(connection)
    scripts = ScriptDirectory.from_config(config)
    newest = scripts.get_current_head()
    assert newest is not None
    current = MigrationContext.configure(connection).get_current_revision()
    shown = connection.engine.url.render_as_string(hide_password=True)
    if current is None and sa.inspect(connection).get_table_names():
        raise SchemaError(
            f"{shown} holds tables that are not the studio's; "
            "name an empty database or another file"
        )
    if current is not None:
        _check_known(scripts, current, f"{shown} has schema {current}")
    backup = None
    if current is not None and current != newest:
        backup = _keep_a_copy(connection, backup_dir, current)
    if current != newest:
        command.upgrade(config, newest)
        check_foreign_keys(connection)
    return MigrationReport(current, newest, backup)


def upgrade_to(connection: sa.Connection, revision: str) -> None:
    """Make the schema of that revision in an empty database; SchemaTooNew if it is not known."""
    config = alembic_config(connection)
    scripts = ScriptDirectory.from_config(config)
    _check_known(scripts, revision, f"the backup is of schema {revision}")
    command.upgrade(config, revision)


def _check_known(scripts: ScriptDirectory, revision: str, fact: str) -> None:
    if revision not in {r.revision for r in scripts.walk_revisions()}:
        raise SchemaTooNew(
            f"{fact}, newer than {scripts.get_current_head()}, the newest that this version "
            "knows; install the version that wrote it, or go back to a backup"
        )


def alembic_config(connection: sa.Connection) -> Config:
    """Alembic's configuration for the migrations inside this package, run on `connection`."""
    config = Config()
    config.set_main_option("script_location", "db:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _keep_a_copy(connection: sa.Connection, folder: Path | None, revision: str) -> Path | None:
    """The database as it is before an upgrade: SQLite's file, or PostgreSQL's rows."""
    if folder is None or connection.engine.url.database is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    if connection.dialect.name == "sqlite":
        source = Path(connection.engine.url.database)
        return _copy_sqlite(source, folder / f"{source.stem}-{revision}-{stamp}.db")
    from db.dump import dump_into

    backup = folder / f"postgresql-{revision}-{stamp}.tar.gz"
    with tarfile.open(backup, "x:gz") as tar:
        dump_into(tar, connection)
    return backup


def _copy_sqlite(source: Path, backup: Path) -> Path:
    # A reader of its own: it sees what was committed, while our lock keeps writers out.
    reader, copy = sqlite3.connect(source), sqlite3.connect(backup)
    try:
        reader.backup(copy)
    finally:
        copy.close()
        reader.close()
    return backup


def check_foreign_keys(connection: sa.Connection) -> None:
    """SchemaError when a row refers to one that is not there; SQLite was told not to look."""
    if connection.dialect.name != "sqlite":
        return
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    if broken:
        raise SchemaError(
            f"this would leave {len(broken)} rows without what they refer to, "
            f"first in table {broken[0][0]!r}; the database was left as it was"
        )


def _write_revision(message: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/schema.db"
        migrate(url, None)
        engine = make_engine(url)
        with engine.execution_options(sqlite_begin="IMMEDIATE").begin() as connection:
            config = alembic_config(connection)
            known = len(list(ScriptDirectory.from_config(config).walk_revisions()))
            command.revision(config, message=message, autogenerate=True, rev_id=f"{known + 1:04d}")
        engine.dispose()


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] != "revision":
        sys.exit('usage: python -m db.migrate revision "what changes"')
    _write_revision(sys.argv[2])
