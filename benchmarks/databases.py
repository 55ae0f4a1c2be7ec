"""The two databases for benchmarks: a SQLite file and a PostgreSQL server, each fresh and migrated.

with databases(["sqlite", "postgresql"]) as found:
    for name, database in found: ...
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from db.engine import Database, open_database  # noqa: E402
from db.migrate import migrate  # noqa: E402
from tests.postgres import run_server  # noqa: E402

NAMES = ("sqlite", "postgresql")


@contextlib.contextmanager
def fresh_database(name: str) -> Iterator[Database]:
    """An empty database that is thrown away at the end.

    PostgreSQL runs with its own durability off (the folder is thrown away), on a Unix socket.
    """
    folder = Path(tempfile.mkdtemp(prefix="studio-bench-"))
    try:
        with contextlib.ExitStack() as stack:
            if name == "sqlite":
                url = f"sqlite:///{folder / 'studio.db'}"
            else:
                url = stack.enter_context(run_server()).create()
            migrate(url, None)
            database = open_database(url)
            stack.callback(database.dispose)
            yield database
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def checked_names(names: Sequence[str]) -> list[str]:
    """The names, if they are names of databases."""
    wrong = [name for name in names if name not in NAMES]
    if wrong:
        raise SystemExit(f"--database is {wrong[0]!r}; use one of {', '.join(NAMES)}")
    return list(names)
