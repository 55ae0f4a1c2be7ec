"""Waits for a run from the console: the server does it, or, where there is none, we do it here.

    outcome = waiting.wait_for(database, settings, run_id, console)

"Here" is the same job process that a server would start, with a dispatcher that lives as long as
the command: the row, the log and the checkpoint are the same in both cases.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

from studio import server_lock
from studio.jobs.dispatcher import Dispatcher
from studio.jobs.launcher import LocalSubprocess
from studio.services import run_queue, training
from studio.services.errors import StudioError

if TYPE_CHECKING:
    from db.engine import Database
    from studio.settings import Settings

POLL_S = 0.2
FINISHED = ("succeeded", "failed", "cancelled")


class Display(Protocol):
    """What is told of the progress."""

    def say(self, text: str) -> None: ...

    def progress(self, text: str, *, force: bool = False) -> None: ...


def wait_for(
    database: Database, settings: Settings, run_id: int, display: Display
) -> dict[str, Any]:
    """The run as it ended; StudioError when it failed or was cancelled."""
    server = server_lock.holder(settings.lock_path)
    if server:
        display.say(f"Run {run_id} is handed to the server at {server.url}.")
    dispatcher = None if server else Dispatcher(database, LocalSubprocess(settings))
    try:
        run = _follow(database, settings, run_id, dispatcher, display)
    except KeyboardInterrupt:
        if dispatcher is None:
            display.say(f"Run {run_id} goes on in the server; the Train tab can cancel it.")
        else:
            _cancel(database, run_id, dispatcher)
        raise
    if run["status"] == "cancelled":
        raise StudioError(f"run {run_id} was cancelled: start it again when you like.")
    if run["status"] == "failed":
        raise StudioError(f"run {run_id} failed: {run['error']}")
    return run


def _follow(
    database: Database,
    settings: Settings,
    run_id: int,
    dispatcher: Dispatcher | None,
    display: Display,
) -> dict[str, Any]:
    stage = None
    while True:
        run = training.run_status(database, run_id)
        if run["status"] in FINISHED:
            return run
        if dispatcher is None and server_lock.holder(settings.lock_path) is None:
            # The server has gone; its job, if begun, goes on, and this command looks after it.
            dispatcher = Dispatcher(database, LocalSubprocess(settings))
        if dispatcher is not None:
            # Once our run has begun we start no other: it would outlive the command.
            dispatcher.step() if run["status"] == "queued" else dispatcher.look_after_begun()
        display.progress(describe(run), force=run["stage"] != stage)
        stage = run["stage"]
        time.sleep(POLL_S)


def _cancel(database: Database, run_id: int, dispatcher: Dispatcher) -> None:
    run_queue.cancel(database, run_id)
    deadline = time.monotonic() + 10
    while run_queue.status_of(database, run_id) not in FINISHED and time.monotonic() < deadline:
        dispatcher.look_after_begun()
        time.sleep(POLL_S)


def describe(run: dict[str, Any]) -> str:
    """One line of progress: `run 3: encoding 120 of 800 answers on cpu, 3 min 20 s left`."""
    if run["status"] == "queued":
        return f"run {run['id']}: waiting for its turn"
    line = f"run {run['id']}: {run['stage'] or 'starting'}"
    if run["stage"] == "encoding":
        if run["total"]:
            line += f" {run['done']} of {run['total']} answers"
        if run["device"]:
            line += f" on {run['device']}"
    if run["eta_s"] is not None:
        line += f", {_duration(run['eta_s'])} left"
    return line


def _duration(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"
