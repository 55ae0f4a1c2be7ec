"""Snapshots: the votes that a run is trained on, fixed for ever, and what is new since one."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.models import JUDGING, Checkpoint, Snapshot, TrainingRun, Vote, utc_now
from db.slots import LABEL
from db.snapshot_ids import ids_digest, pack_ids, unpack_ids
from db.votes import RULE_VERSION, count_left_out, target_of

# A vote gets its time shortly before its transaction commits, an import some time before. Votes
# older than this at a snapshot are surely in it, so that only younger ones are compared by id.
COMMIT_MARGIN = timedelta(hours=1)


def take(s: Session, project_id: int) -> Snapshot:
    """Fix the project's standing votes as they are now."""
    rows = s.execute(
        select(Vote.id, Vote.pair_id, Vote.choice, Vote.imported).where(
            Vote.project_id == project_id, Vote.retracted_at.is_(None), Vote.purpose == LABEL
        )
    ).all()
    by_pair: dict[int, Counter[str]] = {}
    for _, pair_id, choice, _ in rows:
        by_pair.setdefault(pair_id, Counter())[choice] += 1
    ids = [row[0] for row in rows]
    snapshot = Snapshot(
        project_id=project_id,
        digest=ids_digest(ids, RULE_VERSION),
        rule_version=RULE_VERSION,
        counts={
            "votes": len(rows),
            "votes_imported": sum(1 for row in rows if row[3]),
            "pairs": sum(1 for choices in by_pair.values() if target_of(choices) is not None),
            "left_out": count_left_out(s, project_id, by_pair),
        },
        vote_ids=pack_ids(ids),
        created_at=utc_now(),
    )
    s.add(snapshot)
    s.flush()
    return snapshot


def get_snapshot(s: Session, snapshot_id: int) -> Snapshot | None:
    return s.get(Snapshot, snapshot_id)


def newest_trained(s: Session, project_id: int) -> Snapshot | None:
    """The snapshot behind the project's newest checkpoint."""
    return s.scalar(
        select(Snapshot)
        .join(TrainingRun, TrainingRun.snapshot_id == Snapshot.id)
        .join(Checkpoint, Checkpoint.run_id == TrainingRun.id)
        .where(Checkpoint.project_id == project_id, TrainingRun.status == "succeeded")
        .order_by(Checkpoint.id.desc())
        .limit(1)
    )


def new_judged_pairs(s: Session, project_id: int) -> int:
    """Pairs with a verdict that the newest checkpoint has not seen; all, if there is none."""
    judging = (
        Vote.project_id == project_id,
        Vote.retracted_at.is_(None),
        Vote.choice.in_(JUDGING),
        Vote.purpose == LABEL,
    )
    snapshot = newest_trained(s, project_id)
    if snapshot is None:
        return s.scalar(select(func.count(Vote.pair_id.distinct())).where(*judging)) or 0
    recent = s.execute(
        select(Vote.id, Vote.pair_id).where(
            *judging, Vote.created_at > snapshot.created_at - COMMIT_MARGIN
        )
    ).all()
    seen = unpack_ids(snapshot.vote_ids) if recent else frozenset()
    return len({pair_id for vote_id, pair_id in recent if vote_id not in seen})
