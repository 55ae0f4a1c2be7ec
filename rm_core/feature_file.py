"""The feature store's file: its tables, its format's number, its size, and what to do with damage.

One SQLite file in write-ahead mode. Opening one of format 2 keeps its summaries and drops its whole
token states (which lack ids); one of format 1 is emptied. Either is said, and what was dropped is
encoded again when it is needed. Pages of 16 kB hold three answers at 576 dimensions; with 4 kB
ones, reading a training matrix takes a third longer (benchmarks/results/store.json).
"""

from __future__ import annotations

import logging
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rm_core.errors import FeatureStoreError

log = logging.getLogger(__name__)

FORMAT = 3
"""Raised when the tables or what the records mean change."""

_WITH_DATA_CHECKSUMS = 2
"""The format whose checksums were of the records' data alone."""

_PAGE_BYTES = 16_384
_MAPPED_BYTES = 2**36  # read through the page cache instead of copying twice
_BUSY_S = 60

_SCHEMA = """
CREATE TABLE summary (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, layer INTEGER NOT NULL,
    num_tokens INTEGER NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL, UNIQUE (key, layer)
);
CREATE TABLE tokens (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, layer INTEGER NOT NULL,
    num_tokens INTEGER NOT NULL, crc INTEGER NOT NULL, used_at REAL NOT NULL, data BLOB NOT NULL,
    UNIQUE (key, layer)
);
CREATE INDEX tokens_used_at ON tokens (used_at);
CREATE TABLE lengths (
    key TEXT PRIMARY KEY, prompt_tokens INTEGER NOT NULL, response_tokens INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE refusal (key TEXT PRIMARY KEY, reason TEXT NOT NULL) WITHOUT ROWID;
"""


def checksum(key: str, layer: int, num_tokens: int, data: bytes) -> int:
    """CRC-32 of a record's data and of what says whose it is."""
    return _placed(zlib.crc32(data), key, layer, num_tokens)


def _placed(crc_of_data: int, key: str, layer: int, num_tokens: int) -> int:
    """The same from the data's own CRC-32: a checksum goes on where another ended."""
    return zlib.crc32(f"{key} {layer} {num_tokens}".encode(), crc_of_data)


class FeatureFile:
    """A connection to the file; safe to open in several processes at once.

    Raises:
        FeatureStoreError: it cannot be opened, is damaged beyond reading, or is of a newer format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.connection = sqlite3.connect(
                path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
            self._prepare()
        except (sqlite3.Error, OSError) as error:
            raise FeatureStoreError(
                f"The feature store {path} cannot be opened: {error}; check the folder's "
                "permissions, or move the file away (it is rebuilt by encoding again)."
            ) from error

    def _prepare(self) -> None:
        db = self.connection
        if self._format() != FORMAT:
            # Both only take effect in a file that has no table yet.
            db.execute(f"PRAGMA page_size={_PAGE_BYTES}")
            db.execute("PRAGMA auto_vacuum=INCREMENTAL")
        db.execute("PRAGMA journal_mode=WAL")
        # A record lost with the power is encoded again: no need to wait for the disk.
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute(f"PRAGMA mmap_size={_MAPPED_BYTES}")
        if self._format() != FORMAT:
            self._create()

    def _format(self) -> int:
        return int(self.connection.execute("PRAGMA user_version").fetchone()[0])

    def _create(self) -> None:
        """Make the tables, in place of an older format's; one process of several does it."""
        db = self.connection
        db.execute("BEGIN IMMEDIATE")
        try:
            found = self._format()
            if found > FORMAT:
                raise FeatureStoreError(
                    f"The feature store {self.path} has format {found} and this version knows "
                    f"{FORMAT}: use the version that wrote it, or move the file away (it is "
                    "rebuilt by encoding again)."
                )
            if found == _WITH_DATA_CHECKSUMS:
                self._upgrade()
            elif found < FORMAT:
                self._start_anew(found)
            db.execute(f"PRAGMA user_version={FORMAT}")
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")

    def _upgrade(self) -> None:
        """Checksums of the place as well; token states have ids in front of them now."""
        db = self.connection
        db.create_function("placed", 4, _placed, deterministic=True)
        db.execute("UPDATE summary SET crc = placed(crc, key, layer, num_tokens)")
        db.execute("DELETE FROM tokens")
        log.warning(
            "The feature store %s was written by an older version (format %d, now %d): its "
            "summaries are kept, whole token states are encoded again when they are needed.",
            self.path,
            _WITH_DATA_CHECKSUMS,
            FORMAT,
        )

    def _start_anew(self, found: int) -> None:
        db = self.connection
        older = [
            name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        for name in older:
            db.execute(f'DROP TABLE "{name}"')
        for statement in filter(str.strip, _SCHEMA.split(";")):
            db.execute(statement)
        if older:
            log.warning(
                "The feature store %s was written by an older version (format %d, now %d): it has "
                "been emptied, and every answer is encoded again.",
                self.path,
                max(found, 1),
                FORMAT,
            )

    def close(self) -> None:
        self.connection.close()

    @contextmanager
    def told(self) -> Iterator[sqlite3.Connection]:
        """Turn a file that SQLite cannot read any more into one sentence with a remedy."""
        try:
            yield self.connection
        except sqlite3.DatabaseError as error:
            raise FeatureStoreError(
                f"The feature store {self.path} cannot be used: {error}; run "
                "`reward-studio doctor --repair`, or move the file away (it is rebuilt by "
                "encoding again)."
            ) from error

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction."""
        with self.told() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")

    @property
    def used_bytes(self) -> int:
        """What the records take, freed pages left out."""
        with self.told() as db:
            count, free, size = (
                db.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "freelist_count", "page_size")
            )
        return int((count - free) * size)

    def give_back(self) -> None:
        """Return freed pages to the file system."""
        with self.told() as db:
            # A row without columns a page: `execute` would stop at the first.
            db.executescript("PRAGMA incremental_vacuum")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def is_sound(self) -> bool:
        """Whether SQLite finds the file's own structure whole (not the records' checksums)."""
        try:
            return self.connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok"
        except sqlite3.DatabaseError:
            return False


def set_aside(path: Path) -> Path:
    """Move a file that cannot be read out of the way, its log with it; where it lies now.

    Only while nobody else has it open.
    """
    target = next(
        candidate
        for number in range(1, 10_000)
        if not (candidate := path.with_name(f"{path.name}.damaged-{number}")).exists()
    )
    path.rename(target)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return target
