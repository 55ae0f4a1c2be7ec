"""Backup and restore: everything that people made, in one file, from either database.

    backup.back_up(database, settings, Path("studio.tar.gz"))      # while the server runs
    backup.restore(settings, Path("studio.tar.gz"))                # into an empty data directory

The archive holds every table as JSON lines, all of one moment, and the directories of the
checkpoints that those rows name. What can be made again stays out: hidden states, backbones, logs;
so does the key that signs sessions (people sign in again). A backup of SQLite can be restored into
PostgreSQL and the other way round. A backup is read again before it gets its name.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from db import checkpoints, dump
from db.migrate import SchemaError, migrate
from studio import server_lock
from studio.services import workspace
from studio.services.errors import Conflict, NotFound, StudioError, UsageError

if TYPE_CHECKING:
    from db.engine import Database
    from studio.settings import Settings

CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class BackupReport:
    """What a backup holds, or what was restored from it."""

    file: str
    did: str
    schema: str
    rows: dict[str, int]
    checkpoints: int
    missing_checkpoints: tuple[str, ...]  # directories that rows name and that are not there
    size_bytes: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def as_text(self) -> str:
        """The report as a person reads it."""
        shown = ("project", "pair", "vote", "training_run", "account")
        counted = ", ".join(f"{self.rows.get(name, 0)} {name.replace('_', ' ')}s" for name in shown)
        lines = [
            f"{self.did} {self.file} ({self.size_bytes / 2**20:.1f} MB): {counted}, "
            f"{self.checkpoints} checkpoints"
        ]
        if self.missing_checkpoints:
            listed = ", ".join(self.missing_checkpoints[:5])
            lines.append(
                f"  {len(self.missing_checkpoints)} checkpoints are recorded and their directories "
                f"are not there: {listed}"
            )
        return "\n".join(lines)


def back_up(database: Database, settings: Settings, out: Path) -> BackupReport:
    """Write everything to `out`, which must not exist yet; works while the server runs.

    A checkpoint's directory never changes and is there before its row, so that copying it after
    the rows were read loses nothing.
    """
    out = Path(out)
    if out.exists():
        raise Conflict(f"{str(out)!r} exists already; name another file or move it away")
    if not out.parent.is_dir():
        raise UsageError(f"no folder {str(out.parent)!r} to write into; make it first")
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        with database.read() as s, tarfile.open(part, "x:gz") as tar:
            held = dump.dump_into(tar, s.connection())
            there, missing = _add_checkpoints(tar, settings, checkpoints.directories(s))
        _verify(part, held, there)
        with part.open("rb") as written:
            os.fsync(written.fileno())
        os.link(part, out)  # fails where somebody made it meanwhile
    finally:
        part.unlink(missing_ok=True)
    return BackupReport(
        str(out), "Backed up to", held.revision, held.rows, len(there), missing, out.stat().st_size
    )


def _add_checkpoints(
    tar: tarfile.TarFile, settings: Settings, names: list[str]
) -> tuple[list[str], tuple[str, ...]]:
    there = [name for name in names if (settings.checkpoints_dir / name).is_dir()]
    for name in there:
        tar.add(settings.checkpoints_dir / name, f"{CHECKPOINTS}/{name}")
    return there, tuple(name for name in names if name not in there)


def _verify(file: Path, held: dump.Dump, there: list[str]) -> None:
    """Read the whole archive again: a backup that cannot be read is found now, not later."""
    with tarfile.open(file, "r:gz") as tar:
        names = set()
        for member in tar:
            names.add(member.name)
            content = tar.extractfile(member)
            if content is None:
                continue
            lines = sum(1 for _ in content)
            path = PurePosixPath(member.name)
            if path.parent.name == "tables" and lines != held.rows[path.stem] + 1:
                raise StudioError(
                    f"the backup could not be read again: {member.name} has {lines} lines and "
                    f"should have {held.rows[path.stem] + 1}; check the disk and try again"
                )
    lost = [name for name in there if f"{CHECKPOINTS}/{name}" not in names]
    if lost:
        raise StudioError(f"the backup lacks checkpoint {lost[0]!r}; check the disk and try again")


def restore(settings: Settings, file: Path) -> BackupReport:
    """Put a backup into a data directory and database that are empty, then upgrade them.

    The database belongs to this directory from then on, whosever the backup was.

    All or nothing: where it fails, the database and the directories are as they were.
    """
    file = Path(file)
    if not file.is_file():
        raise NotFound(f"no file {str(file)!r}: check the path")
    _check_empty(settings)
    settings.create_directories()
    with tempfile.TemporaryDirectory(dir=settings.data_dir) as scratch:
        try:
            with tarfile.open(file, "r:gz") as tar:
                there = _extract_checkpoints(tar, Path(scratch))
                held = dump.restore(settings.db_url, tar)
        except (tarfile.TarError, EOFError, zlib.error, ValueError) as error:
            _remove_new_file(settings)
            raise StudioError(
                f"{file.name!r} cannot be read as a backup ({error}); take another one"
            ) from error
        except (SchemaError, DBAPIError) as error:
            _remove_new_file(settings)
            raise StudioError(f"{' '.join(str(error).split())[:500]}") from error
        for name in there:
            shutil.move(Path(scratch) / CHECKPOINTS / name, settings.checkpoints_dir / name)
    migrate(settings.db_url, settings.backups_dir)
    missing = _missing_checkpoints(settings)
    return BackupReport(
        str(file), "Restored", held.revision, held.rows, len(there), missing, file.stat().st_size
    )


def _check_empty(settings: Settings) -> None:
    holder = server_lock.holder(settings.lock_path)
    if holder:
        raise Conflict(f"a server runs on this data directory at {holder.url}; stop it first")
    if sa.make_url(settings.db_url).get_backend_name() == "sqlite" and workspace.exists(settings):
        raise Conflict(
            f"there is studio data in {str(settings.data_dir)!r} already; name an empty directory "
            "with --data-dir, or move that one away"
        )
    leftovers = (
        sorted(settings.checkpoints_dir.glob("*")) if settings.checkpoints_dir.exists() else []
    )
    if leftovers:
        raise Conflict(
            f"there are checkpoints in {str(settings.checkpoints_dir)!r} already, "
            f"first {leftovers[0].name!r}; name an empty directory with --data-dir"
        )


def _extract_checkpoints(tar: tarfile.TarFile, scratch: Path) -> list[str]:
    """Into the scratch directory; the filter refuses names that lead out of it."""
    names = set()
    for member in tar:
        path = PurePosixPath(member.name)
        if path.parts[:1] == (CHECKPOINTS,) and len(path.parts) > 1:
            tar.extract(member, scratch, filter="data")
            names.add(path.parts[1])
    return sorted(names)


def _remove_new_file(settings: Settings) -> None:
    """The database file that a failed restore began; there was none before."""
    url = sa.make_url(settings.db_url)
    if url.get_backend_name() == "sqlite" and url.database:
        for ending in ("", "-wal", "-shm"):
            Path(url.database + ending).unlink(missing_ok=True)


def _missing_checkpoints(settings: Settings) -> tuple[str, ...]:
    database = workspace.open_database(settings, adopt=True)
    try:
        with database.read() as s:
            names = checkpoints.directories(s)
    finally:
        database.dispose()
    return tuple(name for name in names if not (settings.checkpoints_dir / name).is_dir())
