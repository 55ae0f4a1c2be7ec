"""One server a data directory: an flock that names its holder and dies with the process.

    with server_lock.acquire(settings.lock_path, url="http://127.0.0.1:7860"):
        ...                                  # serve
    server_lock.holder(settings.lock_path)   # -> Holder(pid, url) or None

The lock is the kernel's, not the file's presence, so a server that was killed leaves nothing
to clean up.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from studio.services.errors import StudioError

# A probe holds a shared lock for microseconds; a starting server outwaits it.
ACQUIRE_PATIENCE_S = 0.5


@dataclass(frozen=True)
class Holder:
    """The server that holds a data directory."""

    pid: int
    url: str


@contextmanager
def acquire(path: Path, url: str) -> Iterator[None]:
    """Hold the data directory until the block ends; StudioError names whoever holds it now."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if not _lock_patiently(descriptor):
            found = _read(path)
            who = f"process {found.pid} at {found.url}" if found else "another process"
            raise StudioError(
                f"the data directory {str(path.parent)!r} is already served by {who}: "
                "use that one, stop it, or name another directory with --data-dir."
            )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "url": url}).encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def holder(path: Path) -> Holder | None:
    """Who serves this data directory now; None when nobody does."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(path) or Holder(0, "an address it has not published yet")
    else:
        return None
    finally:
        os.close(descriptor)


def _lock_patiently(descriptor: int) -> bool:
    deadline = time.monotonic() + ACQUIRE_PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)


def _read(path: Path) -> Holder | None:
    try:
        record = json.loads(path.read_text())
        return Holder(int(record["pid"]), str(record["url"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # the holder is about to write it
