"""Opens the data directory's database for a command: directories, migration, connection.

    database = workspace.open_database(settings, report=print)

Every way in which that can fail is a StudioError of one sentence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from db import engine
from db.migrate import SchemaError, migrate
from studio.services import ownership
from studio.services.errors import StudioError, UsageError

if TYPE_CHECKING:
    from db.engine import Database
    from studio.settings import Settings


def open_database(
    settings: Settings,
    *,
    create: bool = False,
    adopt: bool = False,
    writes: bool = False,
    report: Callable[[str], None] | None = None,
) -> Database:
    """The migrated database, if it belongs to the data directory.

    Args:
        create: make the data directory and an empty database where there is none; without it that
            is an error, since a mistyped --data-dir would otherwise look like lost data.
        adopt: take the database over from another data directory (see ownership).
        writes: refuse a database that can only be read, at once; `create` implies it.
        report: told what takes time or changes something.
    """
    if not create and not exists(settings):
        raise UsageError(
            f"there is no studio data in {str(settings.data_dir)!r}: name the directory with "
            "--data-dir, or create it with `reward-studio import` or `reward-studio serve`."
        )
    settings.create_directories()
    shown = _shown(settings)
    try:
        outcome = migrate(settings.db_url, settings.backups_dir)
    except SchemaError as error:
        raise StudioError(f"{error}.") from error
    except (DBAPIError, sa.exc.ArgumentError, ValueError) as error:
        raise StudioError(
            f"the database {shown} cannot be used: {_first_line(error)}; {_what_to_do(settings)}."
        ) from error
    if report and outcome.changed:
        what = "upgraded" if outcome.from_revision else "created"
        kept = f"; the old one is kept as {outcome.backup}" if outcome.backup else ""
        report(f"database {what} (schema {outcome.to_revision}){kept}")
    database = engine.open_database(settings.db_url)
    try:
        if create or writes:
            _check_writable(database, shown)
        ownership.settle(database, settings, adopt=adopt)
    except BaseException:
        database.dispose()
        raise
    return database


def _check_writable(database: Database, shown: str) -> None:
    """Try a change of no row: a read-only file opens well, and every job would fail later."""
    try:
        with database.write() as s:
            s.execute(sa.text("UPDATE alembic_version SET version_num = version_num WHERE 1 = 0"))
    except DBAPIError as error:
        raise StudioError(
            f"the database {shown} cannot be written: {_first_line(error)}; make it writable for "
            "this user, or name another data directory with --data-dir."
        ) from error


def exists(settings: Settings) -> bool:
    """Whether there is a database to open; a server's is taken to be there."""
    try:
        url = sa.make_url(settings.db_url)
    except sa.exc.ArgumentError:
        return True  # opening it says what is wrong
    if url.get_backend_name() != "sqlite":
        return True
    return (settings.data_dir / "studio.db").exists() or _file_exists(url.database)


def _file_exists(name: str | None) -> bool:
    from pathlib import Path

    return name is not None and Path(name).exists()


def _shown(settings: Settings) -> str:
    try:
        return sa.make_url(settings.db_url).render_as_string(hide_password=True)
    except sa.exc.ArgumentError:
        return "of STUDIO_DB_URL"


def _what_to_do(settings: Settings) -> str:
    if "sqlite" in settings.db_url.partition(":")[0]:
        return f"check its permissions, or put back a copy (one may be in {settings.backups_dir})"
    return "check STUDIO_DB_URL and that the database's server runs"


def _first_line(error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    return " ".join(str(cause).split())[:300].rstrip(".?")
