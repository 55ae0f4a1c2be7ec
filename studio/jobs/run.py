"""The job process: does the work of one `training_run` row and writes how it ended.

    python -m studio.jobs.run RUN_ID        # started by the dispatcher, settings in the environment

What it prints is the run's log. It ends at SIGTERM or when its row says `cancelling`, keeping all
that was encoded. Everything it leaves behind is complete: a checkpoint is a renamed directory
first and a row second, and the row is written together with the run's success.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from types import FrameType

from db import runs
from db.engine import Database, open_database
from db.models import TrainingRun
from studio.jobs import processes
from studio.services import curve_job, encoding, reproduce_job, run_queue, train_job
from studio.services.errors import StudioError
from studio.services.event_file import EventFile
from studio.services.live_run import LiveRun, RunStopped
from studio.settings import Settings

log = logging.getLogger("studio.jobs.run")

EXECUTE = {
    "train": train_job.execute,
    "encode": encoding.execute,
    "reproduce": reproduce_job.execute,
    "curve": curve_job.execute,
}
# What nobody waits for leaves the cores to the page; encoding sees to that itself.
NICENESS = {"curve": 10}


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run one job to its end; the exit code is 0 unless it failed."""
    _log_to_stdout()
    stop = threading.Event()
    _stop_at_sigterm(stop)
    settings = Settings.read(environ)
    database = open_database(settings.db_url)
    try:
        return run_job(database, settings, int(arguments[0]), stop)
    finally:
        database.dispose()


def run_job(database: Database, settings: Settings, run_id: int, stop: threading.Event) -> int:
    """Take the claimed run, work, and write the outcome."""
    run = _take(database, run_id)
    if run is None:
        log.info("run %d does not wait for a process; nothing to do", run_id)
        return 0
    asked_by = f"{run.actor} ({run.trigger})" if run.actor else run.trigger
    log.info("run %d: %s, asked for by %s", run_id, run.kind, asked_by)
    execute = EXECUTE[run.kind]
    os.nice(NICENESS.get(run.kind, 0))
    status, error = "succeeded", None
    try:
        with (
            EventFile(settings.tensorboard_dir / f"run-{run_id}") as events,
            LiveRun(database, run_id, stop, events) as live,
        ):
            execute(database, settings, run_id, live)
    except RunStopped:
        status = "cancelled"
    except StudioError as reason:
        status, error = "failed", str(reason)
        log.error("%s", reason)
    except Exception as reason:
        status, error = "failed", f"{type(reason).__name__}: {reason}"
        log.exception("the job failed")
    run_queue.finish(database, run_id, status, error)
    log.info("run %d %s", run_id, status)
    return 1 if status == "failed" else 0


def _take(database: Database, run_id: int) -> TrainingRun | None:
    pid = os.getpid()
    with database.write() as s:
        at_work = runs.mark_running(s, run_id, pid, processes.start_mark(pid) or "", None)
        run = runs.get_run(s, run_id)
        if run is not None and run.status == "cancelling":
            runs.finish(s, run_id, "cancelled")
    return run if at_work else None


def _log_to_stdout() -> None:
    logging.basicConfig(
        stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S"
    )
    logging.getLogger("alembic").setLevel(logging.WARNING)


def _stop_at_sigterm(stop: threading.Event) -> None:
    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
