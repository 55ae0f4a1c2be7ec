"""Votes: storing, retracting and counting them, and merging them into judged pairs.

A vote is inserted once under the UUID that its client made, and never changed except to be
retracted. The rules by which votes become a training target are in db/aggregation.py and
docs/training-rules.md; a snapshot keeps their version and the project's choice among them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.aggregation import RULE_VERSION, TRAINING, Merged, Rules, merge
from db.models import JUDGING, AuditEvent, Pair, Project, Snapshot, Vote
from db.pair_texts import select_pairs
from db.projects import count_pairs
from db.slots import LABEL
from db.snapshot_ids import holds
from db.vote_table import read_votes

__all__ = ["RULE_VERSION", "JudgedPair", "Merged", "judged_pairs", "left_out", "merged"]

PAIRS_AT_ONCE = 1000  # read with their texts


# --- storing ---------------------------------------------------------------------------------


def get_vote(s: Session, vote_id: str) -> Vote | None:
    return s.get(Vote, vote_id)


def standing_vote(s: Session, pair_id: int, annotator: str) -> Vote | None:
    """The annotator's unretracted label of the pair."""
    return s.scalar(
        select(Vote).where(
            Vote.pair_id == pair_id,
            Vote.annotator == annotator,
            Vote.retracted_at.is_(None),
            Vote.purpose == LABEL,
        )
    )


def last_vote(
    s: Session, project_id: int, annotator: str, pair_id: int | None = None, retracted: bool = False
) -> Vote | None:
    """The annotator's newest standing (or retracted) label in the project, or of one pair."""
    state = Vote.retracted_at.is_not(None) if retracted else Vote.retracted_at.is_(None)
    statement = select(Vote).where(
        Vote.project_id == project_id, Vote.annotator == annotator, Vote.purpose == LABEL, state
    )
    if pair_id is not None:
        statement = statement.where(Vote.pair_id == pair_id)
    newest_first = (Vote.created_at.desc(), Vote.showing_id.desc())
    return s.scalar(statement.order_by(*newest_first).limit(1))


def add_vote(s: Session, vote: Vote) -> Vote:
    s.add(vote)
    s.flush()
    return vote


def retract(s: Session, vote: Vote, now: datetime) -> None:
    vote.retracted_at = now
    s.flush()


def set_pair_status(s: Session, pair_id: int, status: str) -> None:
    s.execute(
        sa.update(Pair).where(Pair.id == pair_id).values(status=status),
        execution_options={"synchronize_session": False},
    )


def is_flagged(s: Session, pair_id: int) -> bool:
    """The pair has a standing flag."""
    return bool(
        s.scalar(
            select(func.count()).where(
                Vote.pair_id == pair_id, Vote.choice == "flag", Vote.retracted_at.is_(None)
            )
        )
    )


def is_kept_paused(s: Session, pair_id: int) -> bool:
    """The pair stays paused without the flag just taken back: another stands, or a lead paused it.

    What a lead did last to the pair is in the audit trail alone: it has one state for both.
    """
    done_by_lead = s.scalar(
        select(AuditEvent.action)
        .where(
            AuditEvent.subject == "pair",
            AuditEvent.subject_id == str(pair_id),
            AuditEvent.action.in_(("pause", "reopen")),
        )
        .order_by(AuditEvent.id.desc())
        .limit(1)
    )
    return done_by_lead == "pause" or is_flagged(s, pair_id)


def standing_revision(s: Session, vote: Vote) -> Vote | None:
    """The vote itself if it stands, else the revision that stands for it; None if neither does.

    A revision begins in the moment in which the vote that it names was retracted. One given anew
    after an undo names it too, but came later: that is another verdict.
    """
    found: Vote | None = vote
    while found is not None and found.retracted_at is not None:
        found = s.scalar(
            select(Vote).where(
                Vote.pair_id == found.pair_id,
                Vote.revises == found.id,
                Vote.created_at == found.retracted_at,
            )
        )
    return found


def standing_votes(s: Session, pair_ids: Sequence[int]) -> dict[int, list[Vote]]:
    """The unretracted labels of these pairs, oldest first, by pair."""
    found: dict[int, list[Vote]] = {}
    statement = select(Vote).where(
        Vote.pair_id.in_(pair_ids), Vote.retracted_at.is_(None), Vote.purpose == LABEL
    )
    for vote in s.scalars(statement.order_by(Vote.created_at, Vote.id)):
        found.setdefault(vote.pair_id, []).append(vote)
    return found


class RawVote(NamedTuple):
    """A standing vote as it was given: the columns of `vote`."""

    pair_id: int
    id: str
    annotator: str
    choice: str
    strength: int | None
    reasons: list[str]
    aspects: dict[str, dict[str, int]]
    comment: str
    duration_ms: int | None
    left_side: str | None
    guidelines_version: int | None
    imported: bool
    surplus: bool
    created_at: datetime
    revises: str | None


def raw_votes(
    s: Session, pair_ids: Sequence[int], purpose: Literal["label", "adjudication"] = "label"
) -> dict[int, list[RawVote]]:
    """The unretracted labels (or adjudications) of these pairs, oldest first, by pair."""
    found: dict[int, list[RawVote]] = {}
    for row in s.execute(_raw_statement(purpose), {"b_pairs": pair_ids}):
        found.setdefault(row[0], []).append(RawVote(*row))
    return found


@cache
def _raw_statement(purpose: str) -> sa.Select[Any]:
    columns = [getattr(Vote, name) for name in RawVote._fields]
    return (
        select(*columns)
        .where(
            Vote.pair_id.in_(sa.bindparam("b_pairs", expanding=True)),
            Vote.retracted_at.is_(None),
            # A literal, so that SQLite can use the partial index.
            Vote.purpose == sa.literal_column(f"'{purpose}'"),
        )
        .order_by(Vote.created_at, Vote.id)
    )


def count_retracted(s: Session, project_id: int) -> int:
    retracted = select(func.count()).where(
        Vote.project_id == project_id, Vote.retracted_at.is_not(None)
    )
    return s.scalar(retracted) or 0


# --- merging ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class JudgedPair:
    """A pair with a training target: the probability, by its votes, that `response_a` is better.

    `tie_share` is the part of the target that ties make: 0, or up to 1 where all said tie.
    `mean_strength` is the mean strength, 1 (slightly) to 3 (much), of the votes for the answer that
    the target favours; negative when that is `response_b`; None when none has a strength.
    """

    pair_id: int
    prompt_id: int
    prompt_hash: str
    messages: list[dict[str, str]]
    response_a: str
    response_b: str
    split: str
    target: float
    num_votes: int
    category: str | None
    tie_share: float = 0.0
    mean_strength: float | None = None


def target_of(choices: Counter[str]) -> float | None:
    """(a + tie/2) / (a + b + tie); None when no vote says which answer is better.

    For votes outside the database, such as those of a file; `merged` has a project's own rules.
    """
    total = sum(choices[choice] for choice in JUDGING)
    return (choices["a"] + choices["tie"] / 2) / total if total else None


def why_left_out(choices: Counter[str]) -> str:
    """The reason why a pair without a target cannot train."""
    if not choices:
        return "not_judged"
    for choice in ("flag", "both_bad", "skip"):
        if choices[choice]:
            return f"{choice}_only"
    return "not_a_label"


def rules_of(s: Session, project_id: int) -> Rules:
    """How the project wants its votes merged."""
    settings = s.scalar(select(Project.aggregation).where(Project.id == project_id))
    return Rules.from_settings(settings or {})


def merged(
    s: Session, project_id: int, snapshot: Snapshot | None = None, rules: Rules | None = None
) -> Merged:
    """What every pair's votes come to: as votes and rules stand now, or as a snapshot has them.

    `rules` tries others than the project's own.
    """
    if snapshot is None:
        table = read_votes(s, project_id, purposes=TRAINING)
        return merge(table, rules or rules_of(s, project_id))
    table = read_votes(s, project_id, purposes=TRAINING, with_ids=True, retracted_too=True)
    assert table.ids is not None
    kept = table.where(holds(snapshot.vote_ids, table.ids))
    if snapshot.rule_version < 2:  # the first rules made nothing of strengths
        kept = replace(kept, strength=kept.strength * 0)
    return merge(kept, rules or Rules.from_settings(snapshot.aggregation))


def iter_judged_pairs(s: Session, project_id: int, found: Merged) -> Iterator[JudgedPair]:
    """The pairs that have a target, in order of id, their texts read a thousand at a time."""
    import numpy as np

    places = np.flatnonzero(found.has_target).tolist()
    for start in range(0, len(places), PAIRS_AT_ONCE):
        chunk = {int(found.pair[at]): at for at in places[start : start + PAIRS_AT_ONCE]}
        statement = select_pairs().where(Pair.project_id == project_id, Pair.id.in_(list(chunk)))
        rows = s.execute(statement.order_by(Pair.id))
        for pair_id, prompt_id, prompt_hash, messages, a, b, split, category, _ in rows:
            verdict = found.verdict_at(chunk[pair_id])
            yield JudgedPair(
                pair_id, prompt_id, prompt_hash, messages, a, b, split, verdict.target,
                verdict.num_votes, category, verdict.tie_share, verdict.mean_strength,
            )  # fmt: skip


def judged_pairs(s: Session, project_id: int, snapshot: Snapshot | None = None) -> list[JudgedPair]:
    """Every pair with a target after the merge rules, as votes stand now or in the snapshot."""
    return list(iter_judged_pairs(s, project_id, merged(s, project_id, snapshot)))


def left_out(s: Session, project_id: int, snapshot: Snapshot | None = None) -> dict[str, int]:
    """How much the merge rules leave out, and why: what every page shows beside a count of pairs.

    `pairs_*` count pairs without a target; `votes_*` count votes set aside in pairs that have one,
    and votes that never train. Of a snapshot, as it was then.
    """
    if snapshot is not None:
        return dict(snapshot.counts["left_out"])
    counts = merged(s, project_id).left_out(count_pairs(s, project_id))
    return dict(sorted((counts | count_never_training(s, project_id)).items()))


def adjudicated_pairs(s: Session, project_id: int) -> set[int]:
    """The pairs that a lead has had the last word on."""
    return set(
        s.scalars(
            select(Vote.pair_id).where(
                Vote.project_id == project_id,
                Vote.retracted_at.is_(None),
                Vote.purpose == "adjudication",
            )
        )
    )


def count_never_training(s: Session, project_id: int) -> dict[str, int]:
    """Standing votes on gold pairs and repeated pairs: they judge the annotator, not the pair."""
    rows = s.execute(
        select(Vote.purpose, func.count())
        .where(
            Vote.project_id == project_id,
            Vote.retracted_at.is_(None),
            Vote.purpose.not_in(TRAINING),
        )
        .group_by(Vote.purpose)
    )
    return {f"votes_{purpose}": number for purpose, number in rows}
