"""Starts job processes and ends them: the one place that knows where jobs run.

`Launcher` is what the dispatcher asks for; `LocalSubprocess` runs the job on this machine in a
fresh interpreter and a session of its own, so that neither Ctrl-C at the server nor the server's
end reaches it, and so that CUDA is only ever touched there.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import studio
from studio.jobs import processes
from studio.services import ownership
from studio.settings import Settings


def job_environment(settings: Settings) -> dict[str, str]:
    """Ours, with the settings, and with this code importable from any working directory."""
    home = str(Path(studio.__path__[0]).parent)
    path = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))
    return {**os.environ, **settings.as_environment(), "PYTHONPATH": path}


@dataclass(frozen=True)
class Job:
    """What a launcher needs to know of a run; pid and mark are None until the job wrote them."""

    run_id: int
    pid: int | None = None
    mark: str | None = None


class Launcher(Protocol):
    """Where jobs run."""

    @property
    def data_id(self) -> str | None:
        """Of the data directory that the jobs write into; None where that does not matter."""

    def start(self, run_id: int) -> None:
        """Start the job of a claimed run; OSError when that is impossible."""

    def is_alive(self, job: Job) -> bool | None:
        """Whether the job still runs; None when this launcher cannot tell."""

    def exit_reason(self, job: Job) -> str:
        """How a job that is not alive ended, as far as is known."""

    def terminate(self, job: Job) -> None:
        """Ask the job to stop."""

    def kill(self, job: Job) -> None:
        """End the job at once."""


class LocalSubprocess:
    """Jobs as processes of this machine; `on_exit` is called when one that we started ends."""

    def __init__(self, settings: Settings, on_exit: Callable[[], None] = lambda: None) -> None:
        self.settings = settings
        self.on_exit = on_exit
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    @cached_property
    def data_id(self) -> str:
        return ownership.id_of(self.settings)

    def start(self, run_id: int) -> None:
        # Runs one at a time: whatever ended before has been looked at before this one was claimed.
        self._children = {i: c for i, c in self._children.items() if c.poll() is None}
        log_path = self.settings.log_path(run_id)
        log_path.parent.mkdir(parents=True, exist_ok=True)
        with log_path.open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-u", "-m", "studio.jobs.run", str(run_id)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=job_environment(self.settings),
            )
        self._children[run_id] = child
        # Reaps the child when it ends, and lets the next job start without waiting for a tick.
        threading.Thread(
            target=self._wait_for, args=(child,), name=f"job-{run_id}", daemon=True
        ).start()

    def _wait_for(self, child: subprocess.Popen[bytes]) -> None:
        child.wait()
        self.on_exit()

    def is_alive(self, job: Job) -> bool | None:
        child = self._children.get(job.run_id)
        if child is not None:
            return child.poll() is None
        if job.pid is None or job.mark is None:
            return None
        return processes.is_running(job.pid, job.mark)

    def exit_reason(self, job: Job) -> str:
        child = self._children.get(job.run_id)
        if child is None or child.returncode is None:
            return "its process is gone"
        if child.returncode == -signal.SIGKILL:
            return "its process was ended by SIGKILL, as the system does when memory runs out"
        if child.returncode < 0:
            return f"its process was ended by {signal.Signals(-child.returncode).name}"
        return f"its process ended with exit code {child.returncode}"

    def terminate(self, job: Job) -> None:
        self._signal(job, signal.SIGTERM)

    def kill(self, job: Job) -> None:
        self._signal(job, signal.SIGKILL)

    def _signal(self, job: Job, number: signal.Signals) -> None:
        if not self.is_alive(job):
            return
        child = self._children.get(job.run_id)
        group = child.pid if child is not None else job.pid
        assert group is not None
        try:
            os.killpg(group, number)
        except ProcessLookupError:
            return  # it ended in this moment: just what was wanted
