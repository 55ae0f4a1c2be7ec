"""Decides which job runs next, ends cancelled ones, and finds dead ones.

The `training_run` rows are the truth; this holds nothing that a restart could lose. One thread
takes a step whenever it is woken: by the scheduler's tick, by a click, by a job's end.

    dispatcher = Dispatcher(database, LocalSubprocess(settings))
    dispatcher.start(); dispatcher.wake(); dispatcher.stop()

A step: (1) look after runs that have begun: mark the dead, end the cancelled; (2) let a queued
run that somebody waits for take the place of an encoding, which goes on afterwards; (3) start what
is next.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from studio.jobs.launcher import Job, Launcher
from studio.jobs.recurring import Recurring
from studio.services import run_queue
from studio.services.run_queue import BegunRun

if TYPE_CHECKING:
    from db.engine import Database

log = logging.getLogger(__name__)

# After the polite signal; a job that cannot end in this time loses at most one batch.
CANCEL_GRACE_S = 1.2
CANCEL_POLL_S = 0.1
# A process that another server launched has this long to write its pid.
START_PATIENCE = timedelta(seconds=60)
# A process that cannot be seen from here (another machine) is dead when silent for this long.
SILENCE = timedelta(seconds=120)
# What a run was doing, for the sentence about one that died.
STAGES = {
    "loading": "reading its votes",
    "encoding": "encoding answers",
    "fitting": "fitting the reward head",
    "evaluating": "evaluating the head",
    "comparing": "comparing it with the checkpoint in use",
    "saving": "saving the checkpoint",
    "learning curve": "fitting heads to parts of the votes",
}


class Dispatcher:
    """One per server; several on one database never start a run twice (the claim is atomic)."""

    def __init__(self, database: Database, launcher: Launcher) -> None:
        self.database = database
        self.launcher = launcher
        self._asked_to_stop_at: dict[int, float] = {}
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="dispatcher", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self.wake()

    def wake(self) -> None:
        """Take a step now; from any thread."""
        self._woken.set()

    def stop(self) -> None:
        """Stop deciding. Jobs that run go on, and the next server finds them by their rows."""
        self._stopping.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _loop(self) -> None:
        stepping = Recurring("the dispatcher's step failed")
        while True:
            self._woken.wait(CANCEL_POLL_S if self._asked_to_stop_at else None)
            self._woken.clear()
            if self._stopping.is_set():
                return
            with stepping.tried():  # without this thread, nothing would ever be started again
                self.step()

    def step(self) -> None:
        """Look after what has begun, then start what is next, if anything."""
        self.look_after_begun()
        if run_queue.make_way(self.database):
            self.wake()
            return
        run_id = run_queue.claim(self.database, self.launcher.data_id)
        if run_id is not None:
            self._launch(run_id)

    def look_after_begun(self) -> None:
        """Mark the dead, end the cancelled; start nothing."""
        begun = run_queue.begun(self.database)
        still = {run.id for run in begun}
        self._asked_to_stop_at = {i: t for i, t in self._asked_to_stop_at.items() if i in still}
        for run in begun:
            self._look_after(run)

    def _launch(self, run_id: int) -> None:
        log.info("starting run %d", run_id)
        try:
            self.launcher.start(run_id)
        except OSError as error:
            reason = f"its process could not be started: {error}."
            run_queue.finish(self.database, run_id, "failed", reason)

    def _look_after(self, run: BegunRun) -> None:
        if not self._is_alive(run):
            self._bury(run)
        elif run.status == "cancelling":
            self._end(run)

    def _is_alive(self, run: BegunRun) -> bool:
        alive = self.launcher.is_alive(_job(run))
        if alive is not None:
            return alive
        if run.pid is None:
            return datetime.now(UTC) - run.started_at < START_PATIENCE
        return datetime.now(UTC) - run.heartbeat_at < SILENCE

    def _bury(self, run: BegunRun) -> None:
        """Mark a run whose process is gone; its own last word, if it managed one, stands."""
        if run.status == "cancelling":
            run_queue.finish(self.database, run.id, "cancelled")
            return
        doing = STAGES.get(run.stage or "", "starting")
        error = (
            f"it stopped while {doing}: {self.launcher.exit_reason(_job(run))}. What was encoded "
            "is kept and the votes are untouched: start it again. Its log may say more."
        )
        if run_queue.finish(self.database, run.id, "failed", error):
            log.warning("run %d %s", run.id, error)

    def _end(self, run: BegunRun) -> None:
        asked_at = self._asked_to_stop_at.get(run.id)
        if asked_at is None:
            self._asked_to_stop_at[run.id] = time.monotonic()
            self.launcher.terminate(_job(run))
        elif time.monotonic() - asked_at > CANCEL_GRACE_S:
            self.launcher.kill(_job(run))


def _job(run: BegunRun) -> Job:
    return Job(run.id, run.pid, run.pid_mark)
