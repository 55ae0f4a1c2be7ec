"""What a job says while it runs: heartbeat, stage, progress and curves, in the run's row.

    with LiveRun(database, run_id, stop=event) as live:
        live.stage("encoding"); live.progress(10, 200); live.metrics(0, {"loss": 0.69})

Every page and every console reads these from the database, so they look the same everywhere and
survive a reload. Writing is left to one thread, twice a second at most: a job that computes is
never slowed by the database, and people's votes never queue behind a job's progress.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from db import runs

if TYPE_CHECKING:
    from db.engine import Database
    from studio.services.event_file import EventFile

log = logging.getLogger(__name__)

WRITE_EVERY_S = 0.5
HEARTBEAT_EVERY_S = 2.0
LOG_PROGRESS_EVERY_S = 10.0
MEASURE_S = 3.0  # at least, before a pace says when the stage ends


class RunStopped(Exception):
    """The job was asked to stop and has: not an error."""


class LiveRun:
    """The running job's side of its row; `stopped` is set by a signal or by the row's status."""

    def __init__(
        self,
        database: Database,
        run_id: int,
        stop: threading.Event | None = None,
        events: EventFile | None = None,
    ) -> None:
        self.database = database
        self.events = events
        self.run_id = run_id
        self.stopped = stop or threading.Event()
        self._lock = threading.Lock()
        self._news: dict[str, Any] = {}
        self._metrics: list[tuple[int, dict[str, float]]] = []
        self._closing = threading.Event()
        self._written_at = 0.0
        self._logged_at = 0.0
        self._pace_from: tuple[int, float] | None = (
            None  # done, and when, at the stage's first word
        )
        self._thread = threading.Thread(target=self._write_regularly, name="live-run", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._thread.join()
        self.flush()

    def stage(self, name: str) -> None:
        """Enter a stage; its progress starts anew, and the page hears of it at once."""
        log.info("%s", name)
        with self._lock:
            stood = {"stage": name, "done": None, "total": None, "eta_at": None}
            self._news = {**self._news, **stood}
            self._pace_from = None
        self.flush()

    def device(self, name: str) -> None:
        with self._lock:
            self._news["device"] = name

    def progress(self, done: int, total: int) -> None:
        """Say how far the stage is; its first word begins the measuring of its pace.

        What went before, such as loading a backbone, is not in the time left.
        """
        with self._lock:
            self._news.update(done=done, total=total, eta_at=self._eta_at(done, total))
        if time.monotonic() - self._logged_at > LOG_PROGRESS_EVERY_S:
            self._logged_at = time.monotonic()
            log.info("%d of %d", done, total)

    def _eta_at(self, done: int, total: int) -> datetime | None:
        now = time.monotonic()
        if self._pace_from is None or done < self._pace_from[0]:
            self._pace_from = (done, now)
        done_first, since = self._pace_from
        if done == done_first or now - since < MEASURE_S:
            return None
        left_s = (now - since) * (total - done) / (done - done_first)
        return datetime.now(UTC) + timedelta(seconds=left_s)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Add one step of the curves."""
        log.info("step %d: %s", step, ", ".join(f"{k} {v:.4f}" for k, v in values.items()))
        with self._lock:
            self._metrics.append((step, dict(values)))
        if self.events is not None:
            self.events.scalars(step, values)

    def should_stop(self) -> bool:
        return self.stopped.is_set()

    def stop_if_asked(self) -> None:
        """Raise RunStopped when somebody asked for a stop."""
        if self.should_stop():
            raise RunStopped

    def flush(self) -> None:
        """Write what is new, and learn whether somebody cancelled the run."""
        with self._lock:
            news, self._news = self._news, {}
            metrics, self._metrics = self._metrics, []
        with self.database.write() as s:
            status = runs.heartbeat(s, self.run_id, **news)
            for step, values in metrics:
                runs.add_metrics(s, self.run_id, step, values)
        self._written_at = time.monotonic()
        if status == "cancelling":
            self.stopped.set()

    def _write_regularly(self) -> None:
        while not self._closing.wait(WRITE_EVERY_S):
            with self._lock:
                has_news = bool(self._news or self._metrics)
            if has_news or time.monotonic() - self._written_at > HEARTBEAT_EVERY_S:
                try:
                    self.flush()
                except Exception:
                    # The job's work matters more than the display of its progress.
                    log.exception("the run's progress could not be written; the job goes on")
