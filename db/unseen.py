"""Judgements that the newest checkpoint has not seen, with their times: what retrain rules ask for.

news = unseen.judgements(s, project_id)         # since the newest checkpoint's snapshot
len(news.pairs), news.newest
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.aggregation import TRAINING
from db.models import JUDGING, Snapshot, Vote
from db.snapshot_ids import holds
from db.snapshots import COMMIT_MARGIN, newest_trained


@dataclass(frozen=True)
class News:
    """Standing judgements as (pair, time), in order of time."""

    judgements: tuple[tuple[int, datetime], ...]

    @property
    def pairs(self) -> set[int]:
        return {pair for pair, _ in self.judgements}

    @property
    def oldest(self) -> datetime | None:
        return self.judgements[0][1] if self.judgements else None

    @property
    def newest(self) -> datetime | None:
        return self.judgements[-1][1] if self.judgements else None

    def since(self, when: datetime | None) -> News:
        """Those that were given after `when`; all, without one."""
        return self if when is None else News(_kept(self.judgements, after=when))

    def until(self, when: datetime) -> News:
        """Those that were given no later than `when`."""
        return News(tuple((p, at) for p, at in self.judgements if at <= when))


def _kept(
    judgements: Iterable[tuple[int, datetime]], after: datetime
) -> tuple[tuple[int, datetime], ...]:
    return tuple((pair, at) for pair, at in judgements if at > after)


def judgements(s: Session, project_id: int, snapshot: Snapshot | None = None) -> News:
    """Standing votes that say which answer is better and that a snapshot has not.

    Args:
        snapshot: by default the newest that was trained.
    """
    import numpy as np

    statement = select(Vote.id, Vote.pair_id, Vote.created_at).where(
        Vote.project_id == project_id,
        Vote.retracted_at.is_(None),
        Vote.choice.in_(JUDGING),
        Vote.purpose.in_(TRAINING),
    )
    snapshot = snapshot or newest_trained(s, project_id)
    if snapshot is not None:
        statement = statement.where(Vote.created_at > snapshot.created_at - COMMIT_MARGIN)
    rows = s.execute(statement.order_by(Vote.created_at, Vote.id)).all()
    if snapshot is None or not rows:
        return News(tuple((pair, at) for _, pair, at in rows))
    ids = np.array([uuid.UUID(row[0]).bytes for row in rows], dtype="S16")
    seen = holds(snapshot.vote_ids, ids)
    return News(tuple((row[1], row[2]) for row, old in zip(rows, seen, strict=True) if not old))
