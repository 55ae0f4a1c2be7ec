"""Training: ask for a run, and tell the page how it stands. What the run does: train_job.py.

run_id = training.request_run(database, project_id, trigger="click", actor="mara")
training.status(database, project_id)                   # for the page, from the rows alone
"""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from db import checkpoints, projects, runs, snapshots, votes
from db.models import Checkpoint, TrainingRun
from studio.services import backbones, run_queue, wakeup
from studio.services.errors import NotFound, StudioError, UsageError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.engine import Database
    from rm_core.pairs import PreferencePair
    from studio.settings import Settings

MIN_JUDGED_PAIRS = 2
# A vote's strength, 1 (slightly) to 3 (much), as a lead in reward that the fit should reach.
MARGIN_PER_STRENGTH = 0.5
NUM_RECENT = 10
TrainStatus = dict[str, Any]


# --- asking for a run ------------------------------------------------------------------------


def request_run(
    database: Database,
    project_id: int,
    trigger: str,
    config: dict[str, Any] | None = None,
    *,
    actor: str | None = None,
) -> int:
    """Queue a training run on all that is judged now; its id.

    A click while a clicked run is unfinished means that one; any other trigger is a run of its own.
    """
    check_config(config or {})
    with database.write() as s:
        reason = why_not(s, project_id)
        if reason:
            raise StudioError(reason)
        key = trigger if trigger == "click" else None
        run = runs.enqueue(s, project_id, "train", config or {}, trigger, key, actor=actor)
        run_id = run.id
    wakeup.announce()
    return run_id


def why_not(s: Session, project_id: int) -> str | None:
    """A sentence when the project cannot be trained now; NotFound when there is none."""
    project = projects.get_project(s, project_id)
    if project is None:
        raise NotFound(f"there is no project {project_id}: choose one that exists.")
    if project.archived_at is not None:
        return f"project {project.name!r} is archived: restore it to train it."
    has_any = checkpoints.newest(s, project_id) is not None
    return _why_not_trainable(snapshots.new_judged_pairs(s, project_id), has_any)


def cancel(database: Database, run_id: int, project_id: int | None = None) -> str:
    """Cancel a run of any kind, of this project if one is given; its status then."""
    if project_id is not None:
        with database.read() as s:
            _run_of(s, project_id, run_id)
    return run_queue.cancel(database, run_id)


def _run_of(s: Session, project_id: int, run_id: int) -> TrainingRun:
    run = runs.get_run(s, run_id)
    if run is None or run.project_id != project_id:
        raise NotFound(f"the project has no run {run_id}: the Train tab lists the runs there are.")
    return run


def check_config(config: dict[str, Any]) -> None:
    from rm_core.config import TrainConfig

    with backbones.told_plainly(UsageError):
        TrainConfig.from_dict(config)


def _why_not_trainable(num_new: int, has_checkpoint: bool) -> str | None:
    """A sentence when a first training has too little to learn from; None when it may go on."""
    if has_checkpoint or num_new >= MIN_JUDGED_PAIRS:
        return None
    count = "no pair is judged" if num_new == 0 else "only one pair is judged"
    return (
        f"There is nothing to train on yet: {count}, and at least {MIN_JUDGED_PAIRS} are needed "
        "where one answer is better; judge some on the Label tab or import judgements."
    )


# --- what is trained on ----------------------------------------------------------------------


def preference_pair(pair: votes.JudgedPair) -> PreferencePair:
    """A judged pair as the fit takes it."""
    from rm_core.conversation import Answer
    from rm_core.pairs import PreferencePair

    return PreferencePair(
        pair_id=str(pair.pair_id),
        answer_a=Answer(pair.messages, pair.response_a),
        answer_b=Answer(pair.messages, pair.response_b),
        target=pair.target,
        group=pair.prompt_hash,
        category=pair.category,
        split=pair.split,  # type: ignore[arg-type]
        num_votes=pair.num_votes,
        tie_share=pair.tie_share,
        target_margin=_target_margin(pair),
    )


def _target_margin(pair: votes.JudgedPair) -> float:
    """By how much the favoured answer should lead; 0 where no vote has a strength above 1.

    A strength is negative when it speaks for `response_b`: it counts where it and the target agree.
    """
    if pair.mean_strength is None or (pair.mean_strength > 0) != (pair.target > 0.5):
        return 0.0
    return MARGIN_PER_STRENGTH * max(0.0, abs(pair.mean_strength) - 1)


# --- what the page shows ---------------------------------------------------------------------


def status(database: Database, project_id: int) -> TrainStatus:
    """How the project's training stands, from the rows alone: the same in every browser."""
    with database.read() as s:
        in_use = checkpoints.newest_promoted(s, project_id)
        newest = checkpoints.newest(s, project_id)
        num_new = snapshots.new_judged_pairs(s, project_id)
        unfinished = runs.unfinished_runs(s, project_id)
        recent = runs.recent_runs(s, project_id, NUM_RECENT)
        by_run = checkpoints.of_runs(s, [run.id for run in recent])
    # The one at work before those that wait; of those, training before encoding.
    unfinished.sort(key=lambda run: (run.status == "queued", run.kind != "train", run.id))
    return {
        "project_id": project_id,
        "new_judged": num_new,
        "checkpoint": _with_left_out(newest) if newest else None,
        "in_use": in_use.id if in_use else None,
        "active": describe_run(unfinished[0]) if unfinished else None,
        "unfinished": [describe_run(run) for run in unfinished],
        "recent": [describe_run(run) | _what_it_made(by_run.get(run.id)) for run in recent],
        "why_not_trainable": _why_not_trainable(num_new, newest is not None),
    }


def describe_checkpoint(checkpoint: Checkpoint) -> dict[str, Any]:
    """A checkpoint as the page and the console show it: its figures beside where it comes from."""
    return {
        **checkpoint.metrics,
        "id": checkpoint.id,
        "run_id": checkpoint.run_id,
        "created_at": checkpoint.created_at.isoformat(),
        "sha256": checkpoint.sha256,
        "directory": checkpoint.directory,
        "promoted": checkpoint.promoted_at is not None and checkpoint.retired_at is None,
        "promotion": checkpoint.promotion,
    }


def _what_it_made(checkpoint: Checkpoint | None) -> dict[str, Any]:
    if checkpoint is None:
        return {"checkpoint_id": None}
    return {"checkpoint_id": checkpoint.id, "is_thinned": checkpoint.thinned_at is not None}


def _with_left_out(checkpoint: Checkpoint) -> dict[str, Any]:
    from rm_core.model_card import left_out

    return describe_checkpoint(checkpoint) | {"left_out_told": left_out(checkpoint.metrics)}


def describe_run(run: TrainingRun) -> dict[str, Any]:
    """A run as the page and the console show it, with the seconds it took and may still take."""
    begin = run.started_at or run.created_at
    elapsed_s = ((run.finished_at or datetime.now(UTC)) - begin).total_seconds()
    done, total = run.progress_done, run.progress_total
    eta_s = None
    if run.eta_at is not None and run.status == "running":
        eta_s = max(0.0, (run.eta_at - datetime.now(UTC)).total_seconds())
    return {
        "id": run.id,
        "kind": run.kind,
        "status": run.status,
        "trigger": run.trigger,
        "actor": run.actor,
        "reason": run.reason,
        "stage": run.stage,
        "done": done,
        "total": total,
        "device": run.device,
        "created_at": run.created_at.isoformat(),
        "finished_at": run.finished_at.isoformat() if run.finished_at else None,
        "elapsed_s": elapsed_s,
        "eta_s": eta_s,
        "error": run.error,
    }


def run_status(database: Database, run_id: int) -> dict[str, Any]:
    """One run, described; with its checkpoint once there is one."""
    with database.read() as s:
        run = runs.get_run(s, run_id)
        if run is None:
            raise NotFound(f"there is no run {run_id}: the Train tab lists the runs there are.")
        made = checkpoints.of_runs(s, [run_id]).get(run_id)
    described = describe_run(run)
    described["checkpoint"] = describe_checkpoint(made) if made else None
    return described


def curves(database: Database, run_id: int) -> list[dict[str, Any]]:
    """The run's metrics in the long form that a line plot wants."""
    with database.read() as s:
        rows = runs.metrics(s, run_id)
    return [{"step": step, "name": name, "value": value} for step, name, value in rows]


def log_of(database: Database, settings: Settings, project_id: int, run_id: int) -> dict[str, Any]:
    """The end of the log of a run of this project."""
    with database.read() as s:
        _run_of(s, project_id, run_id)
    return {"run": run_id, "log": log_tail(database, settings, run_id)}


def log_tail(database: Database, settings: Settings, run_id: int, lines: int = 40) -> str:
    """The last lines of what the run printed; empty when it has printed nothing yet."""
    run_queue.status_of(database, run_id)
    path = settings.log_path(run_id)
    if not path.exists():
        return ""
    with path.open(encoding="utf-8", errors="replace") as log_file:
        return "".join(deque(log_file, maxlen=lines))
