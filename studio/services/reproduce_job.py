"""Trains a finished run's snapshot again with its settings, and says if the head is the same.

    run_id = reproduce_job.request(database, checkpoint_id, actor="mara")
    reproduce_job.execute(database, settings, run_id, live)       # in the job process

Nothing of the checkpoint changes but what is known of it: `metrics["reproduced"]`. The fit draws
nothing, so that the same features give the same weights to the bit; answers that had to be encoded
again may differ in their last digits, by less than TOLERANCE in any reward.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from db import checkpoints, runs, snapshots
from db.models import Checkpoint, Snapshot, TrainingRun
from studio.services import backbones, head_alone, train_job, wakeup
from studio.services.errors import NotFound, StudioError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from db.engine import Database
    from rm_core.backbone import BackboneInfo
    from rm_core.features import FeatureStore
    from rm_core.heads import RewardHead
    from rm_core.pairs import PreferencePair
    from rm_core.training import TrainResult
    from studio.services.live_run import LiveRun
    from studio.settings import Settings

log = logging.getLogger(__name__)

TOLERANCE = 1e-4


def request(database: Database, run_id: int, *, actor: str | None = None) -> int:
    """Queue the reproduction of what training run `run_id` made; the new run's id."""
    with database.write() as s:
        run, _, _ = _original(s, run_id)
        config = {"run": run_id}
        queued = runs.enqueue(
            s, run.project_id, "reproduce", config, "reproduce", key_of(run_id), actor=actor
        )
        new_id = queued.id
    wakeup.announce()
    return new_id


def key_of(run_id: int) -> str:
    """What tells the reproductions of one training run from those of others."""
    return f"run-{run_id}"


def outcome_of(database: Database, run_id: int) -> dict[str, Any]:
    """What the newest reproduction of training run `run_id` found."""
    with database.read() as s:
        _, _, checkpoint = _original(s, run_id)
    found: dict[str, Any] | None = checkpoint.metrics.get("reproduced")
    if found is None:
        raise NotFound(f"run {run_id} was never reproduced.")
    return {"checkpoint": checkpoint.id, "reproduced_run": run_id, **found}


def _original(s: Session, run_id: int) -> tuple[TrainingRun, Snapshot, Checkpoint]:
    run = runs.get_run(s, run_id)
    if run is None or run.kind != "train":
        raise NotFound(
            f"there is no training run {run_id}: the Train tab lists the runs there are."
        )
    found = checkpoints.of_runs(s, [run_id]).get(run_id)
    if found is None or run.snapshot_id is None:
        raise StudioError(f"run {run_id} made no checkpoint: choose one that succeeded.")
    if found.thinned_at is not None:
        raise StudioError(
            f"checkpoint {found.id} of run {run_id} was thinned, so there is no head to compare "
            "with: choose one that the Checkpoints tab lists."
        )
    snapshot = snapshots.get_snapshot(s, run.snapshot_id)
    assert snapshot is not None
    return run, snapshot, found


def execute(database: Database, settings: Settings, run_id: int, live: LiveRun) -> None:
    """Train again, compare, and store the outcome with the checkpoint."""
    from rm_core import checkpoint as core

    live.stage("loading")
    with database.read() as s:
        asked = runs.get_run(s, run_id)
        assert asked is not None
        original, snapshot, made = _original(s, int(asked.config["run"]))
    work = train_job.work_of(database, original, snapshot)
    with backbones.told_plainly():
        saved = core.load(settings.checkpoints_dir / made.directory)
    with train_job.opened(settings, saved.manifest["backbone"]["spec"]) as (info, store):
        config, _ = head_alone.split(original.config)
        result = train_job.fit(settings, config, work.pairs, info, store, live)
        live.stop_if_asked()
        live.stage("comparing")
        outcome = _outcome(saved.head, result, work.pairs, info, store)
    log.info("%s", outcome["because"])
    live.flush()
    with database.write() as s:
        row = checkpoints.get_checkpoint(s, made.id)
        assert row is not None
        runs.set_snapshot(s, run_id, snapshot.id)
        outcome |= {"run": run_id, "at": datetime.now(UTC).isoformat(timespec="seconds")}
        checkpoints.add_metrics(s, row, reproduced=outcome)


def _outcome(
    old: RewardHead,
    result: TrainResult,
    pairs: Sequence[PreferencePair],
    info: BackboneInfo,
    store: FeatureStore,
) -> dict[str, Any]:
    """How the new head compares with the saved one, as figures and as a sentence."""
    new = result.head
    num_encoded = int(result.metrics["encoding"]["num_encoded"])
    figures: dict[str, Any] = {"num_encoded": num_encoded, "max_difference": 0.0}
    if _same_bits(old, new):
        again = f", although {num_encoded} answers were encoded again" if num_encoded else ""
        because = f"The same votes and settings gave the same head to the bit{again}."
        return figures | {"same": True, "because": because}
    if (old.layer, old.readout) != (new.layer, new.readout):
        because = (
            f"Not the same head: layer {new.layer} and readout {new.readout} were chosen and not "
            f"layer {old.layer} and {old.readout}; the two candidates were as good as equal, or "
            "this version fits differently."
        )
        return figures | {"same": False, "max_difference": None, "because": because}
    largest = _largest_difference(old, result, pairs, info, store)
    figures["max_difference"] = largest
    why = (
        f"{num_encoded} answers were encoded again"
        if num_encoded
        else "answers were encoded again since, or another version or machine did the arithmetic"
    )
    verdict = (
        f"at most {largest:.1g} in any reward, within {TOLERANCE:g}"
        if largest <= TOLERANCE
        else f"{largest:.2g} in a reward, more than the {TOLERANCE:g} that encoding anew explains"
    )
    because = f"The weights are not the same to the bit ({why}): the difference is {verdict}."
    return figures | {"same": largest <= TOLERANCE, "because": because}


def _same_bits(old: RewardHead, new: RewardHead) -> bool:
    import numpy as np

    if (old.layer, old.readout) != (new.layer, new.readout):
        return False
    if not np.array_equal(old.value_weight, new.value_weight):
        return False
    if old.end_weight is None or new.end_weight is None:
        return old.end_weight is new.end_weight
    return bool(np.array_equal(old.end_weight, new.end_weight))


def _largest_difference(
    old: RewardHead,
    result: TrainResult,
    pairs: Sequence[PreferencePair],
    info: BackboneInfo,
    store: FeatureStore,
) -> float:
    """Over the rewards of every answer that took part; what was refused has none."""
    import numpy as np

    from rm_core.config import TrainConfig
    from rm_core.training import load_features

    config = TrainConfig.from_dict(result.manifest["config"])
    compared = train_job.encoded_pairs(pairs, old.layer, config, info, store)
    features = load_features(compared, old.layer, info, store, config)
    sides = [(features.mean_a, features.end_a), (features.mean_b, features.end_b)]
    gaps = [np.abs(old.rewards(*side) - result.head.rewards(*side)).max() for side in sides]
    return float(max(gaps))
