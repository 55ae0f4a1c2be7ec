"""Checkpoints: the saved heads of runs, newest first; which one is used; whose votes made them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import func, select
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


def list_checkpoints(s: Session, project_id: int, limit: int | None = None) -> list[Checkpoint]:
    """The project's checkpoints that have their files, newest first."""
    there = select(Checkpoint).where(
        Checkpoint.project_id == project_id, Checkpoint.thinned_at.is_(None)
    )
    return list(s.scalars(there.order_by(Checkpoint.id.desc()).limit(limit)))


def newest(s: Session, project_id: int) -> Checkpoint | None:
    """The project's newest checkpoint, in use or not."""
    return next(iter(list_checkpoints(s, project_id, limit=1)), None)


def count(s: Session, project_id: int) -> tuple[int, int]:
    """How many have their files, and how many were thinned."""
    of_project = select(func.count(Checkpoint.id), func.count(Checkpoint.thinned_at)).where(
        Checkpoint.project_id == project_id
    )
    total, thinned = s.execute(of_project).one()
    return total - thinned, thinned


def of_runs(s: Session, run_ids: Sequence[int]) -> dict[int, Checkpoint]:
    """What these runs made, by run; thinned ones too."""
    made = select(Checkpoint).where(Checkpoint.run_id.in_(run_ids))
    return {checkpoint.run_id: checkpoint for checkpoint in s.scalars(made)}


def of_triggers(s: Session, project_id: int, triggers: Sequence[str]) -> list[Checkpoint]:
    """The checkpoints, with their files, whose runs these asked for, newest first."""
    statement = (
        select(Checkpoint)
        .join(TrainingRun, TrainingRun.id == Checkpoint.run_id)
        .where(
            Checkpoint.project_id == project_id,
            Checkpoint.thinned_at.is_(None),
            TrainingRun.trigger.in_(triggers),
        )
        .order_by(Checkpoint.id.desc())
    )
    return list(s.scalars(statement))


def marks(s: Session, project_id: int) -> tuple[Any, ...]:
    """Values of which one is another whenever the list of checkpoints is."""
    return tuple(
        s.execute(
            select(
                func.count(Checkpoint.id),
                func.max(Checkpoint.id),
                func.max(Checkpoint.promoted_at),
                func.max(Checkpoint.retired_at),
                func.max(Checkpoint.thinned_at),
            ).where(Checkpoint.project_id == project_id)
        ).one()
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


def thin(s: Session, checkpoint: Checkpoint) -> None:
    """Its files go: the row keeps its figures, and it is never used again."""
    checkpoint.thinned_at = utc_now()
    checkpoint.retired_at = checkpoint.retired_at or checkpoint.thinned_at
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


def snapshots_of(
    s: Session, project_id: int, limit: int | None = None
) -> list[tuple[Checkpoint, Snapshot | None]]:
    """Every checkpoint that has its files, with the snapshot it was trained on, newest first."""
    rows = s.execute(
        select(Checkpoint, Snapshot)
        .join(TrainingRun, TrainingRun.id == Checkpoint.run_id)
        .outerjoin(Snapshot, Snapshot.id == TrainingRun.snapshot_id)
        .where(Checkpoint.project_id == project_id, Checkpoint.thinned_at.is_(None))
        .order_by(Checkpoint.id.desc())
        .limit(limit)
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
