"""Checkpoints: the saved heads of runs, newest first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Checkpoint, utc_now


def add_checkpoint(
    s: Session, run_id: int, project_id: int, directory: str, sha256: str,
    metrics: Mapping[str, Any],
) -> Checkpoint:  # fmt: skip
    """Record a saved head; it is promoted at once."""
    now = utc_now()
    checkpoint = Checkpoint(
        run_id=run_id, project_id=project_id, directory=str(directory), sha256=sha256,
        metrics=dict(metrics), created_at=now, promoted_at=now,
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
