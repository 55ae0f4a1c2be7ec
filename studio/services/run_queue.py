"""The queue of runs as the dispatcher and the console see it: claim, cancel, finish, make way.

    run_id = run_queue.claim(database, data_id)    # queued -> starting, or None
    run_queue.cancel(database, run_id)         # from a page or the console

A run is a row of `training_run`; every change is one transaction, so that any number of
dispatchers on one database agree.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import select

from db import runs
from db.models import TrainingRun
from studio.services import ownership, wakeup
from studio.services.errors import NotFound

if TYPE_CHECKING:
    from db.engine import Database

log = logging.getLogger(__name__)

ENCODE_KEY = "encode"


@dataclass(frozen=True)
class BegunRun:
    """A run that was started and has not ended."""

    id: int
    kind: str
    status: str
    pid: int | None
    pid_mark: str | None
    stage: str | None
    started_at: datetime
    heartbeat_at: datetime


def begun(database: Database) -> list[BegunRun]:
    """Runs in `starting`, `running` or `cancelling`."""
    with database.read() as s:
        return [
            BegunRun(
                run.id,
                run.kind,
                run.status,
                run.pid,
                run.pid_started,
                run.stage,
                run.started_at or run.created_at,
                run.heartbeat_at or run.started_at or run.created_at,
            )
            for run in runs.active_runs(s)
        ]


def claim(database: Database, data_id: str | None = None) -> int | None:
    """Take the next queued run, unless one is at work; its id.

    Nothing is taken for a data directory (`data_id`) that the database has been taken over from:
    its checkpoints would lie where nobody looks.
    """
    with database.read() as s:  # most ticks find nothing and need not lock out a writer
        waiting = s.scalar(select(TrainingRun.id).where(TrainingRun.status == "queued").limit(1))
    if waiting is None:
        return None
    with database.write() as s:
        if data_id is not None and not ownership.is_ours(s, data_id):
            log.warning("run %d is not started here: the database was taken over", waiting)
            return None
        run = runs.claim_next(s, datetime.now(UTC))
        return None if run is None else run.id


def make_way(database: Database) -> bool:
    """Cancel the encoding at work if a run waits that somebody waits for; queue its remainder.

    Both in one transaction, so that a crash in between cannot lose the remainder. What it has
    encoded is kept: nothing is computed twice.
    """
    encoding = select(TrainingRun).where(
        TrainingRun.kind == "encode", TrainingRun.status.in_(("starting", "running"))
    )
    waiting = select(TrainingRun.id).where(
        TrainingRun.kind != "encode", TrainingRun.status == "queued"
    )
    with database.read() as s:
        if s.scalar(encoding.limit(1)) is None or s.scalar(waiting.limit(1)) is None:
            return False
    with database.write() as s:
        found = list(s.scalars(encoding))
        for run in found:
            runs.request_cancel(s, run.id)
            s.flush()
            runs.enqueue(s, run.project_id, "encode", run.config, "resumed", ENCODE_KEY)
    return bool(found)


def finish(database: Database, run_id: int, status: str, error: str | None = None) -> bool:
    """End an unfinished run; False when it had ended already."""
    with database.write() as s:
        return runs.finish(s, run_id, status, error)


def cancel(database: Database, run_id: int) -> str:
    """Cancel a run; its status then: `cancelled`, `cancelling`, or how it had ended already."""
    with database.write() as s:
        status = runs.request_cancel(s, run_id)
    if status is None:
        raise NotFound(f"there is no run {run_id}: the Train tab lists the runs there are.")
    wakeup.announce()
    return status


def status_of(database: Database, run_id: int) -> str:
    with database.read() as s:
        run = runs.get_run(s, run_id)
    if run is None:
        raise NotFound(f"there is no run {run_id}: the Train tab lists the runs there are.")
    return run.status
