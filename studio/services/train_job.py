"""The body of a training run, in the job process: snapshot, fit, compare, save, record.

    train_job.execute(database, settings, run_id, live)

Whatever moment it dies at, there is a whole checkpoint or none: its directory is renamed into place
first, and its row is written together with the run's success.
"""

from __future__ import annotations

import logging
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from db import checkpoints, projects, runs, snapshots, votes
from db.models import Project, Snapshot, TrainingRun
from studio.services import (
    backbones,
    checkpoint_files,
    head_alone,
    ownership,
    predictions,
    promotion,
    slices,
    thinning,
    training,
)
from studio.services.errors import StudioError
from studio.services.live_run import RunStopped

if TYPE_CHECKING:
    from pathlib import Path

    from db.engine import Database
    from rm_core.backbone import BackboneInfo
    from rm_core.config import TrainConfig
    from rm_core.features import FeatureStore
    from rm_core.pairs import PreferencePair
    from rm_core.training import TrainResult
    from studio.services.live_run import LiveRun
    from studio.settings import Settings

log = logging.getLogger(__name__)

# Of the manifest, what the tables of checkpoints show without reading a file for each row.
HEAD_FACTS = ("layer", "readout", "objective", "penalty")


@dataclass(frozen=True)
class Work:
    """What a run is to be trained on."""

    run: TrainingRun
    project: Project
    snapshot: Snapshot
    pairs: list[PreferencePair]


def execute(database: Database, settings: Settings, run_id: int, live: LiveRun) -> None:
    """Fix a snapshot, train on it, save the checkpoint, and record both with the run's success."""
    live.stage("loading")
    work = _begin(database, run_id)
    clear_leftovers(database, settings)
    config, base = head_alone.split(work.run.config)
    with opened(settings, work.project.backbone) as (info, store):
        result = fit(settings, config, work.pairs, info, store, live)
        live.stop_if_asked()
        live.stage("comparing")
        with backbones.told_plainly():
            unseen = predictions.collect(
                result,
                work.pairs,
                info=info,
                store=store,
                current=_in_use(database, settings, work),
            )
    decision = promotion.decide(work.project.promotion_rule, unseen)
    facts = {name: result.manifest[name] for name in HEAD_FACTS}
    facts["num_pairs_left_out"] = len(work.pairs) - result.metrics["num_pairs"]
    facts |= {head_alone.HEAD_OF: base, "backbone": work.project.backbone}
    result.metrics.update(facts | _further_figures(database, work, unseen, decision))
    live.stop_if_asked()
    live.stage("saving")
    # Random, since the run's number alone may be taken by another database's run.
    directory = settings.checkpoints_dir / f"run-{run_id}-{secrets.token_hex(3)}"
    try:
        sha256 = _save(result, directory, work, unseen)
        _record(database, settings, live, work, directory.name, sha256, result.metrics, decision)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    log.info("%s", decision.because)
    if work.run.trigger in thinning.RULES:
        thinning.thin(database, settings, work.project.id)


def _begin(database: Database, run_id: int) -> Work:
    with database.write() as s:
        run = runs.get_run(s, run_id)
        assert run is not None
        snapshot = snapshots.take(s, run.project_id)
        runs.set_snapshot(s, run_id, snapshot.id)
    return work_of(database, run, snapshot)


def work_of(database: Database, run: TrainingRun, snapshot: Snapshot) -> Work:
    """The run's project and the snapshot's judged pairs."""
    with database.read() as s:
        judged = votes.judged_pairs(s, run.project_id, snapshot)
        project = projects.get_project(s, run.project_id)
    assert project is not None
    return Work(run, project, snapshot, [training.preference_pair(pair) for pair in judged])


def clear_leftovers(database: Database, settings: Settings) -> None:
    """Delete what a killed job left, half written or whole."""
    from rm_core.checkpoint import remove_leftovers

    # One job at a time: whatever lies there half written is nobody's.
    remove_leftovers(settings.checkpoints_dir, set())
    checkpoint_files.clear_leftovers(database, settings)


@contextmanager
def opened(settings: Settings, backbone: str) -> Iterator[tuple[BackboneInfo, FeatureStore]]:
    """The backbone's description and the feature store, errors of both as sentences."""
    from rm_core.features import FeatureStore
    from studio.services.encoding import keep_within_limit

    with backbones.told_plainly():
        info = backbones.prepare(settings, backbone, log.info)
        with FeatureStore(settings.features_path) as store:
            yield info, store
            keep_within_limit(settings, store)


def encoded_pairs(
    pairs: Sequence[PreferencePair],
    layer: int,
    config: TrainConfig,
    info: BackboneInfo,
    store: FeatureStore,
) -> list[PreferencePair]:
    """The pairs that take part in a run: an answer of the others was refused."""
    found = predictions.encoded(pairs, layer, config, info, store)
    if not found:
        raise StudioError(
            f"none of the {len(pairs)} pairs is encoded at layer {layer} now: train again first."
        )
    return found


def fit(
    settings: Settings,
    config: dict[str, Any],
    pairs: list[PreferencePair],
    info: BackboneInfo,
    store: FeatureStore,
    live: LiveRun,
) -> TrainResult:
    """Encode what is missing, fit and evaluate, telling `live` how it goes."""
    from rm_core.config import TrainConfig
    from rm_core.errors import Stopped
    from rm_core.training import train

    stage, device = "", None

    def on_stage(name: str) -> None:
        nonlocal stage
        stage = name
        # Fitting is numpy; a run that finds everything encoded never imports torch.
        if name == "fitting" and device is None:
            live.device("cpu")
        live.stage(name)

    def on_progress(done: int, total: int) -> None:
        nonlocal device
        if stage == "encoding" and done == 0:
            device = backbones.device(settings)  # torch is there by now
            live.device(device)
        live.progress(done, total)

    with backbones.told_plainly():
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


def _in_use(database: Database, settings: Settings, work: Work) -> predictions.InUse | None:
    with database.read() as s:
        current = checkpoints.newest_promoted(s, work.project.id)
    if current is None:
        return None
    return predictions.InUse(current.id, settings.checkpoints_dir / current.directory)


def _further_figures(
    database: Database, work: Work, unseen: predictions.Unseen, decision: promotion.Decision
) -> dict[str, Any]:
    """Whose votes these are, slices by annotator and length, how far people agree."""
    with database.read() as s:
        table = checkpoints.votes_of(s, work.project.id, work.snapshot)
    figures: dict[str, Any] = {
        "votes": slices.votes_by_annotator(table),
        "by_annotator": slices.by_annotator(table, unseen),
        "by_size": slices.by_size(work.pairs, unseen),
        "human_agreement": slices.human_agreement(table),
    }
    if decision.comparison is not None:
        figures["comparison"] = decision.comparison
    return figures


def _save(result: TrainResult, directory: Path, work: Work, unseen: predictions.Unseen) -> str:
    from rm_core.checkpoint import save

    run, snapshot = work.run, work.snapshot
    extra = {
        "project": work.project.name,
        "run": run.id,
        "trigger": run.trigger,
        "asked_by": run.actor,
        "snapshot": {
            "digest": snapshot.digest,
            "rule_version": snapshot.rule_version,
            "counts": snapshot.counts,
        },
        "trained_at": datetime.now(UTC).isoformat(timespec="seconds"),
        head_alone.HEAD_OF: run.config.get(head_alone.HEAD_OF),
    }
    with backbones.told_plainly():
        return save(directory, result, extra, {predictions.FILE: unseen.as_bytes()})


def _record(
    database: Database,
    settings: Settings,
    live: LiveRun,
    work: Work,
    directory: str,
    sha256: str,
    metrics: dict[str, Any],
    decision: promotion.Decision,
) -> None:
    """The checkpoint's row and the run's success in one transaction, unless it was cancelled."""
    live.flush()
    with database.write() as s:
        current = runs.get_run(s, work.run.id)
        if current is None or current.status != "running":
            raise RunStopped
        if not ownership.is_ours(s, ownership.id_of(settings)):
            raise StudioError(
                f"another data directory took the database over while this run worked in "
                f"{settings.data_dir}: train again there."
            )
        checkpoints.add_checkpoint(
            s,
            work.run.id,
            work.project.id,
            directory,
            sha256,
            metrics,
            promoted=decision.promoted,
            promotion=decision.as_dict(),
        )
        runs.finish(s, work.run.id, "succeeded")
