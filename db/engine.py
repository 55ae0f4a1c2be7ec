"""Opens a database: SQLite (the embedded default) or PostgreSQL, behind one `Database`.

    database = open_database("sqlite:////path/studio.db")      # or "postgresql://user@host/name"
    with database.read() as s: ...     # one consistent view; a write in it is an error
    with database.write() as s: ...    # one transaction, committed when the block ends

SQLite writers take the write lock at once (BEGIN IMMEDIATE): a transaction that reads first and
writes later fails with "database is locked" whatever the timeout. `synchronous=FULL`, since an
acknowledged vote must survive a power cut.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import Session, sessionmaker

BUSY_TIMEOUT_MS = 30_000
MAX_CONNECTIONS = 60  # a web process has about 40 worker threads


def open_database(url: str) -> Database:
    """Open the database at `url`; nothing is created or connected until the first use."""
    return Database(make_engine(url))


def make_engine(url: str, *, foreign_keys: bool = True) -> sa.Engine:
    """The engine that every part uses; migrations switch SQLite's foreign keys off."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise ValueError(
            f"database URL of an unknown kind: {parsed.get_backend_name()!r}; "
            "use sqlite:///PATH or postgresql://USER@HOST/NAME"
        )
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise ValueError(f"{url!r} names no file; use sqlite:///PATH")
    engine = sa.create_engine(
        parsed,
        pool_size=10,
        max_overflow=MAX_CONNECTIONS - 10,
        pool_timeout=60,
        pool_pre_ping=parsed.get_backend_name() == "postgresql",
        json_serializer=_to_json,
    )
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine, foreign_keys)
    return engine


class Database:
    """Sessions over one engine; safe to share between threads."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self.url = engine.url.render_as_string(hide_password=False)
        self.is_sqlite = engine.dialect.name == "sqlite"
        if self.is_sqlite:
            writer: sa.Engine = engine.execution_options(sqlite_begin="IMMEDIATE")
            reader: sa.Engine = engine
        else:
            writer = engine
            reader = engine.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
        self._new_writer = sessionmaker(writer, expire_on_commit=False)
        self._new_reader = sessionmaker(reader, expire_on_commit=False)
        # SQLite's own waiting is by sleeping and unfair; threads of one process queue here instead.
        self._writer_lock = threading.Lock()
        self._writing = threading.local()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session on one consistent view of the database; it cannot write."""
        session = self._new_reader()
        try:
            yield session
        finally:
            session.close()

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session in one transaction: committed at the end, rolled back on any exception."""
        if getattr(self._writing, "active", False):
            raise RuntimeError("write() inside write(): pass the session on instead")
        self._writing.active = True
        try:
            if self.is_sqlite:
                with self._writer_lock, self._new_writer.begin() as session:
                    yield session
            else:
                with self._new_writer.begin() as session:
                    yield session
        finally:
            self._writing.active = False

    def dispose(self) -> None:
        """Close all connections."""
        self.engine.dispose()


# One encoder: json.dumps with arguments makes a new one for every value of a large import.
_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _prepare_sqlite(engine: sa.Engine, foreign_keys: bool) -> None:
    pragmas = (
        f"busy_timeout={BUSY_TIMEOUT_MS}",  # first: the next one may have to wait
        "journal_mode=WAL",
        "synchronous=FULL",
        f"foreign_keys={'ON' if foreign_keys else 'OFF'}",
    )

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver opens no transactions of its own
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def on_begin(connection: sa.Connection) -> None:
        mode = connection.get_execution_options().get("sqlite_begin", "DEFERRED")
        read_only = "ON" if mode == "DEFERRED" else "OFF"
        connection.exec_driver_sql(f"PRAGMA query_only={read_only}")
        connection.exec_driver_sql(f"BEGIN {mode}")
