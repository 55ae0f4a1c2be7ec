"""What the slots of a pair or a project tell: whether votes are wanted, and of how many pairs."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.models import Slot


def is_wanted(s: Session, pair_id: int) -> bool:
    """Whether the pair wants another vote."""
    unfilled = select(Slot.id).where(Slot.pair_id == pair_id, Slot.vote_id.is_(None))
    return s.scalar(unfilled.limit(1)) is not None


def has_any(s: Session, pair_id: int) -> bool:
    """Whether the pair is or was in the queue."""
    return s.scalar(select(Slot.id).where(Slot.pair_id == pair_id).limit(1)) is not None


def count_unfilled(s: Session, project_id: int) -> int:
    """Pairs with at least one slot that no vote has filled."""
    pairs = select(Slot.pair_id).where(Slot.project_id == project_id, Slot.vote_id.is_(None))
    return s.scalar(select(func.count()).select_from(pairs.distinct().subquery())) or 0
