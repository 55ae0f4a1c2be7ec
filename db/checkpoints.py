"""Checkpoints: the saved heads of runs, newest first; which one is used; whose votes made them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.aggregation import TRAINING
from db.models import Checkpoint, Snapshot, TrainingRun, Vote, utc_now
from db.snapshot_ids import holds
from db.vote_table import VoteTable, read_votes


def add_checkpoint(
    s: Session, run_id: int, project_id: int, directory: str, sha256: str,
    metrics: Mapping[str, Any], *, promoted: bool = True,
    promotion: Mapping[str, Any] | None = None,
) -> Checkpoint:  # fmt: skip
    """Record a saved head, in use from now on if it is `promoted`; `promotion` says why (not)."""
    now = utc_now()
    checkpoint = Checkpoint(
        run_id=run_id, project_id=project_id, directory=str(directory), sha256=sha256,
        metrics=dict(metrics), created_at=now, promoted_at=now if promoted else None,
        promotion=dict(promotion or {}),
    )  # fmt: skip
    s.add(checkpoint)
    s.flush()
    return checkpoint


def newest_promoted(s: Session, project_id: int) -> Checkpoint | None:
    """The checkpoint that the project uses: the newest one promoted and not retired."""
    return s.scalar(
        select(Checkpoint)
        .where(
            Checkpoint.project_id == project_id,
            Checkpoint.promoted_at.is_not(None),
            Checkpoint.retired_at.is_(None),
        )
        .order_by(Checkpoint.promoted_at.desc(), Checkpoint.id.desc())
        .limit(1)
    )


def list_checkpoints(s: Session, project_id: int) -> list[Checkpoint]:
    """The project's checkpoints, newest first."""
    return list(
        s.scalars(
            select(Checkpoint)
            .where(Checkpoint.project_id == project_id)
            .order_by(Checkpoint.id.desc())
        )
    )


def get_checkpoint(s: Session, checkpoint_id: int) -> Checkpoint | None:
    return s.get(Checkpoint, checkpoint_id)


def promote(s: Session, checkpoint: Checkpoint, promotion: Mapping[str, Any]) -> None:
    """Use this one from now on, whatever was used before."""
    checkpoint.promoted_at = utc_now()
    checkpoint.retired_at = None
    checkpoint.promotion = dict(promotion)
    s.flush()


def retire(s: Session, checkpoint: Checkpoint, promotion: Mapping[str, Any]) -> None:
    """Never use this one again, unless it is promoted anew."""
    checkpoint.retired_at = utc_now()
    checkpoint.promotion = dict(promotion)
    s.flush()


def add_metrics(s: Session, checkpoint: Checkpoint, **more: Any) -> None:
    """Add to what is known of a checkpoint; what was measured when it was made stays."""
    checkpoint.metrics = {**checkpoint.metrics, **more}
    s.flush()


def votes_of(s: Session, project_id: int, snapshot: Snapshot) -> VoteTable:
    """The votes of a snapshot, also those that were retracted since."""
    table = read_votes(s, project_id, purposes=TRAINING, with_ids=True, retracted_too=True)
    assert table.ids is not None
    return table.where(holds(snapshot.vote_ids, table.ids))


def snapshots_of(s: Session, project_id: int) -> list[tuple[Checkpoint, Snapshot | None]]:
    """Every checkpoint with the snapshot it was trained on, newest first."""
    rows = s.execute(
        select(Checkpoint, Snapshot)
        .join(TrainingRun, TrainingRun.id == Checkpoint.run_id)
        .outerjoin(Snapshot, Snapshot.id == TrainingRun.snapshot_id)
        .where(Checkpoint.project_id == project_id)
        .order_by(Checkpoint.id.desc())
    )
    return [(checkpoint, snapshot) for checkpoint, snapshot in rows]


def which_used(s: Session, project_id: int, pair_id: int) -> dict[int, int]:
    """How many votes on the pair each checkpoint was trained on; only checkpoints with any."""
    import numpy as np

    listed = s.scalars(
        select(Vote.id).where(
            Vote.project_id == project_id, Vote.pair_id == pair_id, Vote.purpose.in_(TRAINING)
        )
    )
    ids = np.array([uuid.UUID(each).bytes for each in listed], dtype="S16")
    known: dict[int, int] = {}  # by snapshot: runs may share one
    found = {}
    for checkpoint, snapshot in snapshots_of(s, project_id):
        if snapshot is None:
            continue
        if snapshot.id not in known:
            known[snapshot.id] = int(holds(snapshot.vote_ids, ids).sum()) if len(ids) else 0
        if known[snapshot.id]:
            found[checkpoint.id] = known[snapshot.id]
    return found


def directories(s: Session, *, retired_too: bool = True) -> list[str]:
    """The directories of all projects' checkpoints, by name; those that were thinned have none."""
    there = select(Checkpoint.directory).where(Checkpoint.thinned_at.is_(None))
    if not retired_too:
        there = there.where(Checkpoint.retired_at.is_(None))
    return list(s.scalars(there.order_by(Checkpoint.id)))
