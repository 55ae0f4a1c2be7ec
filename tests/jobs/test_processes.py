"""A pid with its mark is one process and no other."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from studio.jobs import processes


def test_a_live_process_is_told_from_one_that_has_its_pid() -> None:
    mark = processes.start_mark(os.getpid())
    assert mark is not None
    assert processes.is_running(os.getpid(), mark) is True
    ticks, _, place = mark.partition("@")
    assert processes.is_running(os.getpid(), f"{int(ticks) + 1}@{place}") is False


def test_a_zombie_is_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    mark = processes.start_mark(child.pid)
    assert mark is not None
    assert processes.is_running(child.pid, mark) is True
    child.kill()
    deadline = time.monotonic() + 5
    while processes.is_running(child.pid, mark) and time.monotonic() < deadline:
        time.sleep(0.01)
    # Not reaped yet: its entry is still there, and it is dead all the same.
    assert os.path.exists(f"/proc/{child.pid}")
    assert processes.is_running(child.pid, mark) is False
    assert processes.start_mark(child.pid) is None
    child.wait()


def test_a_name_with_spaces_and_parentheses_is_read_over(tmp_path) -> None:  # type: ignore[no-untyped-def]
    odd = tmp_path / "a) S (b 1"
    odd.symlink_to("/bin/sleep")
    child = subprocess.Popen([str(odd), "30"])
    try:
        time.sleep(0.1)
        mark = processes.start_mark(child.pid)
        assert mark is not None
        assert mark.partition("@")[0].isdigit()
        assert processes.is_running(child.pid, mark) is True
    finally:
        child.kill()
        child.wait()


def test_after_a_reboot_nothing_of_before_runs_and_other_machines_cannot_be_seen() -> None:
    mark = processes.start_mark(os.getpid())
    assert mark is not None
    ticks, _, place = mark.partition("@")
    boot, _, machine = place.partition("/")
    assert processes.is_running(os.getpid(), f"{ticks}@00000000/{machine}") is False
    assert processes.is_running(os.getpid(), f"{ticks}@{boot}/elsewhere:pid:[1]") is None
