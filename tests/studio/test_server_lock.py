"""One server a data directory, whoever else asks and however the first one ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from studio import server_lock
from studio.services.errors import StudioError

HOLD = """
import sys, time
from pathlib import Path
from studio import server_lock
with server_lock.acquire(Path(sys.argv[1]), "http://127.0.0.1:7777"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def lock_path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "server.lock"


@pytest.fixture
def other_server(lock_path: Path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_server_is_told_who_holds_the_directory(
    lock_path: Path, other_server: subprocess.Popen[str]
) -> None:
    assert server_lock.holder(lock_path) == server_lock.Holder(
        other_server.pid, "http://127.0.0.1:7777"
    )
    with (
        pytest.raises(StudioError, match=rf"process {other_server.pid} at http://127.0.0.1:7777"),
        server_lock.acquire(lock_path, "http://127.0.0.1:1"),
    ):
        pass


def test_a_killed_server_leaves_nothing_to_clean_up(
    lock_path: Path, other_server: subprocess.Popen[str]
) -> None:
    os.kill(other_server.pid, signal.SIGKILL)
    other_server.wait()
    assert server_lock.holder(lock_path) is None
    with server_lock.acquire(lock_path, "http://127.0.0.1:2"):
        pass


def test_nobody_holds_a_directory_that_was_never_or_is_no_longer_served(lock_path: Path) -> None:
    assert server_lock.holder(lock_path) is None
    with server_lock.acquire(lock_path, "http://127.0.0.1:3"):
        found = server_lock.holder(lock_path)
        assert found is not None
        assert found.pid == os.getpid()
    assert server_lock.holder(lock_path) is None


def test_a_child_process_does_not_inherit_the_lock(lock_path: Path) -> None:
    with server_lock.acquire(lock_path, "http://127.0.0.1:4"):
        child = subprocess.Popen(["sleep", "30"])
    try:
        assert server_lock.holder(lock_path) is None
    finally:
        child.kill()
        child.wait()
