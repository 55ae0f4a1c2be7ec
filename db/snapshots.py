"""Snapshots: the votes that a run is trained on, fixed for ever, and what is new since one."""

from __future__ import annotations

import zlib
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.aggregation import RULE_VERSION, TRAINING, merge
from db.models import JUDGING, Checkpoint, Snapshot, TrainingRun, Vote, utc_now
from db.projects import count_pairs
from db.snapshot_ids import digest_of, holds
from db.vote_table import packed_uuids, read_votes
from db.votes import count_never_training, rules_of

# A vote gets its time shortly before its transaction commits, an import some time before. Votes
# older than this at a snapshot are surely in it, so that only younger ones are compared by id.
COMMIT_MARGIN = timedelta(hours=1)


def take(s: Session, project_id: int) -> Snapshot:
    """Fix the project's standing votes, and the rules that merge them, as they are now."""
    import numpy as np

    rules = rules_of(s, project_id)
    table = read_votes(s, project_id, purposes=TRAINING, with_ids=True)
    assert table.ids is not None
    packed = zlib.compress(np.sort(table.ids).tobytes())
    merged = merge(table, rules)
    left_out = merged.left_out(count_pairs(s, project_id)) | count_never_training(s, project_id)
    snapshot = Snapshot(
        project_id=project_id,
        digest=digest_of(packed, RULE_VERSION, rules.as_settings()),
        rule_version=RULE_VERSION,
        aggregation=rules.as_settings(),
        counts={
            "votes": len(table),
            "votes_imported": int(table.imported.sum()),
            "pairs": merged.num_with_target,
            "left_out": dict(sorted(left_out.items())),
        },
        vote_ids=packed,
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
        Vote.purpose.in_(TRAINING),
    )
    snapshot = newest_trained(s, project_id)
    if snapshot is None:
        judged = select(Vote.pair_id).where(*judging).distinct().subquery()
        return s.scalar(select(func.count()).select_from(judged)) or 0
    since = snapshot.created_at - COMMIT_MARGIN
    recent = s.execute(select(Vote.pair_id, Vote.id).where(*judging, Vote.created_at > since)).all()
    if not recent:
        return 0
    is_known = holds(snapshot.vote_ids, packed_uuids("".join(row[1] for row in recent)))
    return len({row[0] for row, known in zip(recent, is_known.tolist(), strict=True) if not known})
