"""Which process is meant, and whether it still runs: a pid alone may have been used again.

    mark = processes.start_mark(os.getpid())     # kept in training_run.pid_started
    processes.is_running(pid, mark)              # True, False, or None: not ours to say

The mark is the process's start in clock ticks with the boot and the pid namespace it counts in,
so that neither a reboot nor another container's equal pid is taken for the job.
"""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path("/proc")


def start_mark(pid: int) -> str | None:
    """`ticks@boot/namespace` of a live process; None when there is none (a zombie is none)."""
    ticks = _start_ticks(pid)
    return None if ticks is None else f"{ticks}@{_place()}"


def is_running(pid: int, mark: str) -> bool | None:
    """Whether the process with this mark runs; None when it was started on another machine."""
    ticks, _, place = mark.partition("@")
    if place != _place():
        # Another boot of this machine is as gone as it gets; another machine is unknowable.
        return False if place.partition("/")[2] == _place().partition("/")[2] else None
    return _start_ticks(pid) == ticks


def _start_ticks(pid: int) -> str | None:
    """Field 22 of /proc/PID/stat, unless the process is dead and only waits to be reaped."""
    try:
        stat = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command's name stands in parentheses and may hold spaces and parentheses itself.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X", "x"} else fields[19]


def _place() -> str:
    boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
    return f"{boot[:8]}/{os.uname().nodename}:{os.readlink(PROC / 'self/ns/pid')}"
