"""A real PostgreSQL server for the tests, and the `database` fixture over both databases.

Loaded by tests/conftest.py. The server is started once a session, the first time that a test asks
for it, in a temporary folder and on a Unix socket only; every test gets a database of its own,
copied from a migrated template. As root the server runs as `postgres` (or `nobody`), since it
refuses root. Where the programs are elsewhere, put them on PATH; where a server is already there,
set STUDIO_TEST_POSTGRES_URL to a role that may create databases. Without either the tests fail:
STUDIO_TEST_SKIP_POSTGRES=1 skips them instead, and says so.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

BOTH = [
    pytest.param("sqlite", id="sqlite"),
    pytest.param("postgresql", id="postgresql", marks=pytest.mark.postgres),
]


class PostgresServer:
    """A running server that makes databases: `create()` gives the URL of a new, empty one."""

    def __init__(self, admin_url: sa.URL) -> None:
        self.admin_url = admin_url
        self.numbers = itertools.count(1)
        self.template: str | None = None

    def create(self, template: str = "template0") -> str:
        name = f"studio_test_{os.getpid()}_{next(self.numbers)}"
        self._run(f'CREATE DATABASE "{name}" TEMPLATE "{template}" ENCODING \'UTF8\'')
        return self._url(name)

    def create_migrated(self) -> str:
        """The URL of a new database with the newest schema, copied from one migrated once."""
        if self.template is None:
            from db.migrate import migrate

            url = self.create()
            migrate(url, None)
            self.template = sa.make_url(url).database
        assert self.template is not None
        return self.create(self.template)

    def drop(self, url: str) -> None:
        self._run(f'DROP DATABASE IF EXISTS "{sa.make_url(url).database}" WITH (FORCE)')

    def _url(self, name: str) -> str:
        return self.admin_url.set(database=name).render_as_string(hide_password=False)

    def _run(self, statement: str) -> None:
        conninfo = self.admin_url.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute(statement.encode())


def _find_programs() -> Path:
    on_path = shutil.which("initdb")
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    for found in ([Path(on_path)] if on_path else []) + installed[-1:]:
        return found.parent
    pytest.fail(
        "no PostgreSQL server programs (initdb) on PATH or under /usr/lib/postgresql: install "
        "postgresql, or set STUDIO_TEST_POSTGRES_URL, or STUDIO_TEST_SKIP_POSTGRES=1 to go without",
        pytrace=False,
    )


def _server_user() -> str | None:
    """The user that the server must run as, or None for the present one."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _execute(user: str | None, *command: str | Path) -> None:
    prefix = ["runuser", "-u", user, "--"] if user else []
    done = subprocess.run(
        [*prefix, *map(str, command)],
        cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, f"{command[0]} failed: {done.stdout}{done.stderr}"


@contextlib.contextmanager
def run_server() -> Iterator[PostgresServer]:
    """Start a server in a temporary folder and stop it at the end."""
    programs, user = _find_programs(), _server_user()
    folder = Path(tempfile.mkdtemp(prefix="studio-pg-"))  # short: a socket's path has 107 bytes
    if user:
        shutil.chown(folder, user)
    data, log = folder / "data", folder / "log"
    try:
        _execute(
            user, programs / "initdb", "-D", data, "-U", "studio", "-A", "trust",
            "-E", "UTF8", "--locale=C.UTF-8", "--no-sync",
        )  # fmt: skip
        # Durability off: the folder is thrown away. SQLite's and the studio's own settings are not.
        options = (
            f"-c listen_addresses='' -c unix_socket_directories={folder} -c max_connections=150 "
            "-c fsync=off -c full_page_writes=off -c synchronous_commit=off"
        )
        _execute(user, programs / "pg_ctl", "-D", data, "-l", log, "-w", "-o", options, "start")
        try:
            admin = sa.URL.create(
                "postgresql", username="studio", database="postgres", query={"host": str(folder)}
            )
            yield PostgresServer(admin)
        finally:
            _execute(user, programs / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The session's PostgreSQL server."""
    if os.environ.get("STUDIO_TEST_SKIP_POSTGRES") == "1":
        pytest.skip("STUDIO_TEST_SKIP_POSTGRES=1: nothing is tested on PostgreSQL")
    given = os.environ.get("STUDIO_TEST_POSTGRES_URL")
    if given:
        yield PostgresServer(sa.make_url(given))
    else:
        with run_server() as server:
            yield server


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty SQLite file to copy from."""
    from db.migrate import migrate

    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    migrate(f"sqlite:///{path}", None)
    return path


@pytest.fixture
def sqlite_url(tmp_path: Path, sqlite_template: Path) -> str:
    """The URL of a migrated, empty SQLite database."""
    path = tmp_path / "studio.db"
    shutil.copyfile(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a migrated, empty PostgreSQL database."""
    url = postgres_server.create_migrated()
    yield url
    postgres_server.drop(url)


@pytest.fixture(params=BOTH)
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a migrated, empty database, once for SQLite and once for PostgreSQL."""
    return request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")


@pytest.fixture(params=BOTH)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without any table, once for SQLite and once for PostgreSQL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    url = server.create()
    yield url
    server.drop(url)


@pytest.fixture
def database(database_url: str) -> Iterator[Any]:
    """An open, migrated, empty database, once for SQLite and once for PostgreSQL."""
    from db.engine import open_database

    opened = open_database(database_url)
    yield opened
    opened.dispose()


@pytest.fixture
def sqlite_database(sqlite_url: str) -> Iterator[Any]:
    """An open, migrated, empty SQLite database, for what does not depend on the database."""
    from db.engine import open_database

    opened = open_database(sqlite_url)
    yield opened
    opened.dispose()
