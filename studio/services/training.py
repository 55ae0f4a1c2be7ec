"""Training: ask for a run, do its work in the job process, and tell the page how it stands.

run_id = training.request_run(database, project_id, trigger="click")
training.execute(database, settings, run_id, live)      # in the job process
training.status(database, project_id)                   # for the page, from the rows alone
"""

from __future__ import annotations

import logging
import secrets
import shutil
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from db import checkpoints, projects, runs, snapshots, votes
from db.models import Checkpoint, Snapshot, TrainingRun
from studio.services import backbones, run_queue, wakeup
from studio.services.errors import NotFound, StudioError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from db.engine import Database
    from rm_core.pairs import PreferencePair
    from rm_core.training import TrainResult
    from studio.services.live_run import LiveRun
    from studio.settings import Settings

log = logging.getLogger(__name__)

MIN_JUDGED_PAIRS = 2
TrainStatus = dict[str, Any]


# --- asking for a run ------------------------------------------------------------------------


def request_run(
    database: Database, project_id: int, trigger: str, config: dict[str, Any] | None = None
) -> int:
    """Queue a training run on all that is judged now; its id.

    A click while a clicked run is unfinished means that one; any other trigger is a run of its own.
    """
    _check_config(config or {})
    with database.write() as s:
        project = projects.get_project(s, project_id)
        if project is None:
            raise NotFound(f"there is no project {project_id}: choose one that exists.")
        if project.archived_at is not None:
            raise StudioError(f"project {project.name!r} is archived: restore it to train it.")
        reason = _why_not_trainable(
            snapshots.new_judged_pairs(s, project_id), checkpoints.newest_promoted(s, project_id)
        )
        if reason:
            raise StudioError(reason)
        key = trigger if trigger == "click" else None
        run_id = runs.enqueue(s, project_id, "train", config or {}, trigger, key).id
    wakeup.announce()
    return run_id


def cancel(database: Database, run_id: int) -> str:
    """Cancel a run of any kind; its status then."""
    return run_queue.cancel(database, run_id)


def _check_config(config: dict[str, Any]) -> None:
    from rm_core.config import TrainConfig

    with backbones.told_plainly(UsageError):
        TrainConfig.from_dict(config)


def _why_not_trainable(num_new: int, newest: Checkpoint | None) -> str | None:
    """A sentence when a first training has too little to learn from; None when it may go on."""
    if newest is not None or num_new >= MIN_JUDGED_PAIRS:
        return None
    count = "no pair is judged" if num_new == 0 else "only one pair is judged"
    return (
        f"There is nothing to train on yet: {count}, and at least {MIN_JUDGED_PAIRS} are needed "
        "where one answer is better; judge some on the Label tab or import judgements."
    )


# --- the job's body --------------------------------------------------------------------------


def execute(database: Database, settings: Settings, run_id: int, live: LiveRun) -> None:
    """Fix a snapshot, train on it, save the checkpoint, and record both with the run's success."""
    live.stage("loading")
    run, snapshot, pairs = _begin(database, run_id)
    with database.read() as s:
        project = projects.get_project(s, run.project_id)
    assert project is not None
    result = _train(settings, project.backbone, run.config, pairs, live)
    live.stop_if_asked()
    live.stage("saving")
    # Random, since the run's number alone may be taken by another database's run.
    directory = settings.checkpoints_dir / f"run-{run_id}-{secrets.token_hex(3)}"
    try:
        sha256 = _save(result, directory, run, snapshot, project.name)
        _record(database, live, run, directory.name, sha256, result.metrics)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise


def _begin(database: Database, run_id: int) -> tuple[TrainingRun, Snapshot, list[PreferencePair]]:
    with database.write() as s:
        run = runs.get_run(s, run_id)
        assert run is not None
        snapshot = snapshots.take(s, run.project_id)
        runs.set_snapshot(s, run_id, snapshot.id)
    with database.read() as s:
        judged = votes.judged_pairs(s, run.project_id, snapshot)
    return run, snapshot, [preference_pair(pair) for pair in judged]


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
    )


def _train(
    settings: Settings,
    backbone: str,
    config: dict[str, Any],
    pairs: list[PreferencePair],
    live: LiveRun,
) -> TrainResult:
    from rm_core.checkpoint import remove_leftovers
    from rm_core.config import TrainConfig
    from rm_core.errors import Stopped
    from rm_core.features import FeatureStore
    from rm_core.training import train
    from studio.services.live_run import RunStopped

    stage = ""

    def on_stage(name: str) -> None:
        nonlocal stage
        stage = name
        live.stage(name)

    def on_progress(done: int, total: int) -> None:
        if stage == "encoding" and done == 0:
            live.device(backbones.device(settings))  # torch is there by now
        live.progress(done, total)

    # One job at a time: whatever lies there half written was left by one that was killed.
    remove_leftovers(settings.checkpoints_dir, set())
    # Fitting is numpy; a run that finds everything encoded never imports torch.
    live.device("cpu")
    with backbones.told_plainly():
        info = backbones.prepare(settings, backbone, log.info)
        store = FeatureStore(settings.features_path)
        try:
            return train(
                pairs,
                info=info,
                store=store,
                config=TrainConfig.from_dict(config),
                device=settings.device,
                on_stage=on_stage,
                on_progress=on_progress,
                on_metrics=live.metrics,
                should_stop=live.should_stop,
            )
        except Stopped as stopped:
            raise RunStopped from stopped
        finally:
            store.close()


def _save(
    result: TrainResult, directory: Path, run: TrainingRun, snapshot: Snapshot, project: str
) -> str:
    from rm_core.checkpoint import save

    extra = {
        "project": project,
        "run": run.id,
        "trigger": run.trigger,
        "snapshot": {
            "digest": snapshot.digest,
            "rule_version": snapshot.rule_version,
            "counts": snapshot.counts,
        },
        "trained_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with backbones.told_plainly():
        return save(directory, result, extra)


def _record(
    database: Database,
    live: LiveRun,
    run: TrainingRun,
    directory: str,
    sha256: str,
    metrics: dict[str, Any],
) -> None:
    """The checkpoint's row and the run's success in one transaction, unless it was cancelled."""
    from studio.services.live_run import RunStopped

    live.flush()
    with database.write() as s:
        current = runs.get_run(s, run.id)
        if current is None or current.status != "running":
            raise RunStopped
        checkpoints.add_checkpoint(s, run.id, run.project_id, directory, sha256, metrics)
        runs.finish(s, run.id, "succeeded")


# --- what the page shows ---------------------------------------------------------------------


def status(database: Database, project_id: int) -> TrainStatus:
    """How the project's training stands, from the rows alone: the same in every browser."""
    with database.read() as s:
        newest = checkpoints.newest_promoted(s, project_id)
        num_new = snapshots.new_judged_pairs(s, project_id)
        unfinished = runs.unfinished_runs(s, project_id)
        recent = runs.recent_runs(s, project_id, 10)
        by_run = {c.run_id: c for c in checkpoints.list_checkpoints(s, project_id)}
    # The one at work before those that wait; of those, training before encoding.
    unfinished.sort(key=lambda run: (run.status == "queued", run.kind != "train", run.id))
    return {
        "project_id": project_id,
        "new_judged": num_new,
        "checkpoint": describe_checkpoint(newest) if newest else None,
        "active": describe_run(unfinished[0]) if unfinished else None,
        "unfinished": [describe_run(run) for run in unfinished],
        "recent": [
            {**describe_run(run), "checkpoint_id": by_run[run.id].id if run.id in by_run else None}
            for run in recent
        ],
        "why_not_trainable": _why_not_trainable(num_new, newest),
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
    }


def describe_run(run: TrainingRun) -> dict[str, Any]:
    """A run as the page and the console show it, with the seconds it took and may still take."""
    begin = run.started_at or run.created_at
    elapsed_s = ((run.finished_at or datetime.now(UTC)) - begin).total_seconds()
    done, total = run.progress_done, run.progress_total
    eta_s = None
    # Early on, loading the backbone weighs too much in what has elapsed.
    if (
        run.stage == "encoding"
        and run.status == "running"
        and done
        and total
        and done / total > 0.04
    ):
        eta_s = elapsed_s * (total - done) / done
    return {
        "id": run.id,
        "kind": run.kind,
        "status": run.status,
        "trigger": run.trigger,
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
        made = [c for c in checkpoints.list_checkpoints(s, run.project_id) if c.run_id == run_id]
    described = describe_run(run)
    described["checkpoint"] = describe_checkpoint(made[0]) if made else None
    return described


def curves(database: Database, run_id: int) -> list[dict[str, Any]]:
    """The run's metrics in the long form that a line plot wants."""
    with database.read() as s:
        rows = runs.metrics(s, run_id)
    return [{"step": step, "name": name, "value": value} for step, name, value in rows]


def log_tail(database: Database, settings: Settings, run_id: int, lines: int = 40) -> str:
    """The last lines of what the run printed; empty when it has printed nothing yet."""
    run_queue.status_of(database, run_id)
    path = settings.log_path(run_id)
    if not path.exists():
        return ""
    with path.open(encoding="utf-8", errors="replace") as log_file:
        return "".join(deque(log_file, maxlen=lines))
