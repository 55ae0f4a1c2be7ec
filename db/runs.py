"""Runs: the rows of `training_run` that the scheduler, the job process and the page share.

queued -> starting -> running -> succeeded | failed | cancelled, with `cancelling` between a
request to stop a started run and its end. A run that has ended never changes again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from db.models import FINISHED, UNFINISHED, Project, RunMetric, TrainingRun, utc_now

STARTED = ("starting", "running", "cancelling")
CLAIM_LOCK = 727_382_002  # on PostgreSQL: two dispatchers must not start a run each


def enqueue(
    s: Session, project_id: int, kind: str, config: Mapping[str, Any], trigger: str,
    trigger_key: str | None = None, *, actor: str | None = None, reason: str | None = None,
) -> TrainingRun:  # fmt: skip
    """Queue a run; the unfinished one of the same project, kind and key instead, if there is one.

    A run that is being cancelled does not count: asking anew while it winds down queues another.
    """
    insert = sqlite.insert if s.get_bind().dialect.name == "sqlite" else postgresql.insert
    values = {
        "project_id": project_id, "kind": kind, "config": dict(config), "trigger": trigger,
        "trigger_key": trigger_key, "status": "queued", "created_at": utc_now(),
        "actor": actor, "reason": reason,
    }  # fmt: skip
    statement = insert(TrainingRun).values(**values).on_conflict_do_nothing()
    run_id = s.scalar(statement.returning(TrainingRun.id))
    if run_id is None:
        run_id = s.scalar(
            select(TrainingRun.id).where(
                TrainingRun.project_id == project_id,
                TrainingRun.kind == kind,
                TrainingRun.trigger_key == trigger_key,
                TrainingRun.status.in_(("queued", "starting", "running")),
            )
        )
        if run_id is None:  # it ended between the two statements (on PostgreSQL)
            return enqueue(
                s, project_id, kind, config, trigger, trigger_key, actor=actor, reason=reason
            )
    return s.get_one(TrainingRun, run_id)


def claim_next(s: Session, now: datetime) -> TrainingRun | None:
    """Move the next queued run to `starting`, unless one is at work.

    What somebody waits for goes first: training, then what looks into a checkpoint, then encoding.
    """
    if s.get_bind().dialect.name == "postgresql":
        s.execute(select(func.pg_advisory_xact_lock(CLAIM_LOCK)))
    if s.scalar(select(func.count()).where(TrainingRun.status.in_(STARTED))):
        return None
    train_first = sa.case(
        (TrainingRun.kind == "train", 0), (TrainingRun.kind == "encode", 2), else_=1
    )
    run_id = s.scalar(
        select(TrainingRun.id)
        .where(TrainingRun.status == "queued")
        .order_by(train_first, TrainingRun.id)
        .limit(1)
    )
    if run_id is None:
        return None
    claimed = _move(s, run_id, ("queued",), status="starting", started_at=now, heartbeat_at=now)
    return s.get_one(TrainingRun, run_id, populate_existing=True) if claimed else None


def mark_running(s: Session, run_id: int, pid: int, pid_started: str, device: str | None) -> bool:
    """The job process reports that it is at work; False when the run was cancelled meanwhile."""
    values = {"pid": pid, "pid_started": pid_started, "heartbeat_at": utc_now()}
    if device is not None:
        values["device"] = device
    if _move(s, run_id, ("starting", "running"), status="running", **values):
        return True
    _move(s, run_id, ("cancelling",), **values)
    return False


def heartbeat(
    s: Session, run_id: int, *, stage: str | None = None, done: int | None = None,
    total: int | None = None, eta_at: datetime | None = None, device: str | None = None,
) -> str:  # fmt: skip
    """Tell that the job is alive and how far it is; returns the run's status to act on."""
    values: dict[str, Any] = {}
    if stage is not None:  # a new stage starts its own count
        values = {"stage": stage, "progress_done": None, "progress_total": None, "eta_at": None}
    given = {"progress_done": done, "progress_total": total, "eta_at": eta_at, "device": device}
    values |= {name: value for name, value in given.items() if value is not None}
    _move(s, run_id, STARTED, heartbeat_at=utc_now(), **values)
    return s.scalars(select(TrainingRun.status).where(TrainingRun.id == run_id)).one()


def add_metrics(s: Session, run_id: int, step: int, values: Mapping[str, float]) -> None:
    """Store one step's values; a step that is written again takes the newer values."""
    rows = [
        {"run_id": run_id, "step": step, "name": name, "value": float(value)}
        for name, value in values.items()
    ]
    if not rows:
        return
    insert = sqlite.insert if s.get_bind().dialect.name == "sqlite" else postgresql.insert
    statement = insert(RunMetric).values(rows)
    s.execute(
        statement.on_conflict_do_update(
            index_elements=["run_id", "step", "name"], set_={"value": statement.excluded.value}
        )
    )


def metrics(s: Session, run_id: int) -> list[tuple[int, str, float]]:
    """(step, name, value) of the run, in order of step."""
    rows = s.execute(
        select(RunMetric.step, RunMetric.name, RunMetric.value)
        .where(RunMetric.run_id == run_id)
        .order_by(RunMetric.step, RunMetric.name)
    )
    return [(step, name, value) for step, name, value in rows]


def finish(s: Session, run_id: int, status: str, error: str | None = None) -> bool:
    """End an unfinished run; False when it had ended already, and then nothing changes."""
    if status not in FINISHED:
        raise ValueError(f"a run cannot end as {status!r}; use one of {', '.join(FINISHED)}")
    return _move(s, run_id, UNFINISHED, status=status, error=error, finished_at=utc_now())


def request_cancel(s: Session, run_id: int) -> str | None:
    """Cancel a queued run at once, ask a started one to stop; the status then (None: no run)."""
    if not _move(s, run_id, ("queued",), status="cancelled", finished_at=utc_now()):
        _move(s, run_id, ("starting", "running"), status="cancelling")
    return s.scalar(select(TrainingRun.status).where(TrainingRun.id == run_id))


def set_log_path(s: Session, run_id: int, log_path: str) -> None:
    _move(s, run_id, UNFINISHED, log_path=log_path)


def set_snapshot(s: Session, run_id: int, snapshot_id: int) -> None:
    _move(s, run_id, UNFINISHED, snapshot_id=snapshot_id)


def get_run(s: Session, run_id: int) -> TrainingRun | None:
    return s.get(TrainingRun, run_id)


def active_runs(s: Session) -> list[TrainingRun]:
    """Runs that were started and have not ended, in every project."""
    statement = select(TrainingRun).where(TrainingRun.status.in_(STARTED))
    return list(s.scalars(statement.order_by(TrainingRun.id)))


def recent_runs(s: Session, project_id: int, limit: int) -> list[TrainingRun]:
    """The project's newest runs, newest first."""
    return list(
        s.scalars(
            select(TrainingRun)
            .where(TrainingRun.project_id == project_id)
            .order_by(TrainingRun.id.desc())
            .limit(limit)
        )
    )


def unfinished_runs(s: Session, project_id: int) -> list[TrainingRun]:
    """The project's runs that have not ended, queued ones too, oldest first."""
    return list(
        s.scalars(
            select(TrainingRun)
            .where(TrainingRun.project_id == project_id, TrainingRun.status.in_(UNFINISHED))
            .order_by(TrainingRun.id)
        )
    )


def _move(s: Session, run_id: int, from_statuses: Sequence[str], **values: Any) -> bool:
    """Change the run if its status is one of those given, in one statement."""
    done = s.execute(
        update(TrainingRun)
        .where(TrainingRun.id == run_id, TrainingRun.status.in_(from_statuses))
        .values(**values)
    )
    return bool(done.rowcount)  # type: ignore[attr-defined]


def has_trigger_key(s: Session, project_id: int, kind: str, trigger_key: str) -> bool:
    """Whether there ever was a run with this key: what a clock asks for must happen once."""
    found = select(TrainingRun.id).where(
        TrainingRun.project_id == project_id,
        TrainingRun.kind == kind,
        TrainingRun.trigger_key == trigger_key,
    )
    return s.scalar(found.limit(1)) is not None


def newest_run(s: Session, project_id: int, kind: str) -> TrainingRun | None:
    """The project's newest run of a kind, whatever became of it."""
    return s.scalar(
        select(TrainingRun)
        .where(TrainingRun.project_id == project_id, TrainingRun.kind == kind)
        .order_by(TrainingRun.id.desc())
        .limit(1)
    )


def newest_finished(s: Session, project_id: int, kind: str, trigger_key: str) -> TrainingRun | None:
    """The newest run with this key that has ended, however."""
    return s.scalar(
        select(TrainingRun)
        .where(
            TrainingRun.project_id == project_id,
            TrainingRun.kind == kind,
            TrainingRun.trigger_key == trigger_key,
            TrainingRun.status.in_(FINISHED),
        )
        .order_by(TrainingRun.id.desc())
        .limit(1)
    )


def lock_project(s: Session, project_id: int) -> Project | None:
    """The project, kept from others' rules until this transaction ends.

    SQLite's writers are alone anyway; on PostgreSQL two servers would else both find a rule due.
    """
    return s.scalar(select(Project).where(Project.id == project_id).with_for_update())
