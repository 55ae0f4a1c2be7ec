"""After a vote only the head is fitted: layer, readout and penalty stay those of the last full run.

    plan = head_alone.plan(s, project, now)        # what the rule "after every vote" asks for
    config, base = head_alone.split(run.config)    # in the job

A full run compares layers, readouts and penalties; their choice hardly moves with a few votes, and
without it a run takes a quarter of the time. Everything else is of the new votes: weights,
calibration, posterior, held-out figures. All is chosen anew when the judged pairs have grown by a
tenth (at least ten), when the choice is a day old, when votes count otherwise, or when there is
nothing to go by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from db import checkpoints, runs, snapshots, unseen, votes

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.models import Checkpoint, Project, Snapshot, TrainingRun

# In a run's config beside the training settings, and in a checkpoint's figures: the checkpoint of
# the full run whose choice was kept.
HEAD_OF = "head_of"
FULL_SHARE = 0.1
FULL_LEAST = 10
FULL_AGE = timedelta(days=1)


@dataclass(frozen=True)
class Plan:
    """A run's config, and in words what it does."""

    config: dict[str, Any]
    what: str


@dataclass(frozen=True)
class _Base:
    checkpoint: Checkpoint
    run: TrainingRun
    snapshot: Snapshot


def split(config: Mapping[str, Any]) -> tuple[dict[str, Any], int | None]:
    """A run's training settings, and the checkpoint whose choice is kept, if one is."""
    settings = {name: value for name, value in config.items() if name != HEAD_OF}
    return settings, config.get(HEAD_OF)


def plan(s: Session, project: Project, now: datetime) -> Plan:
    """The head alone where that will do, else a full run with the settings of the last one."""
    base = _base(s, project)
    if base is None:
        return Plan({}, "layer, readout and penalty are chosen")
    why_full = _why_full(s, project, base, now)
    if why_full:
        return Plan(
            dict(base.run.config), f"layer, readout and penalty are chosen anew: {why_full}"
        )
    chosen = base.checkpoint.metrics
    config = {
        **base.run.config,
        "layers": [chosen["layer"]],
        "readouts": [chosen["readout"]],
        "penalty": chosen["penalty"],
        HEAD_OF: base.checkpoint.id,
    }
    return Plan(config, f"the head alone, as checkpoint {base.checkpoint.id} chose")


def _base(s: Session, project: Project) -> _Base | None:
    """The newest full run whose choice is known and was made on the project's backbone."""
    newest = checkpoints.newest(s, project.id)
    if newest is not None and newest.metrics.get(HEAD_OF) is not None:
        newest = checkpoints.get_checkpoint(s, newest.metrics[HEAD_OF])
    if newest is None or newest.metrics.get("backbone") != project.backbone:
        return None
    run = runs.get_run(s, newest.run_id)
    if run is None or run.snapshot_id is None:
        return None
    snapshot = snapshots.get_snapshot(s, run.snapshot_id)
    return _Base(newest, run, snapshot) if snapshot else None


def _why_full(s: Session, project: Project, base: _Base, now: datetime) -> str | None:
    """Why the choice of the last full run is not to be kept; None where it is."""
    since = f"since checkpoint {base.checkpoint.id}"
    if base.snapshot.aggregation != votes.rules_of(s, project.id).as_settings():
        return f"votes count otherwise {since}"
    if now - base.checkpoint.created_at > FULL_AGE:
        return f"a day has gone by {since}"
    num_new = len(unseen.judgements(s, project.id, base.snapshot).pairs)
    if num_new >= max(FULL_LEAST, FULL_SHARE * base.snapshot.counts.get("pairs", 0)):
        return f"{num_new} judged pairs are new {since}"
    return None
