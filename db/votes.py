"""Votes: storing, retracting and counting them, and merging them into judged pairs.

A vote is inserted once under the UUID that its client made, and never changed except to be
retracted. The rules by which votes become a training target are in docs/training-rules.md; their
version is RULE_VERSION, and a snapshot keeps it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.content import select_pairs
from db.models import FILLING, JUDGING, Pair, Snapshot, Vote
from db.projects import count_judged, count_pairs
from db.slots import LABEL, count_open_for
from db.snapshot_ids import unpack_ids

RULE_VERSION = 1


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


def standing_votes(s: Session, pair_ids: Sequence[int]) -> dict[int, list[Vote]]:
    """The unretracted labels of these pairs, oldest first, by pair."""
    found: dict[int, list[Vote]] = {}
    statement = select(Vote).where(
        Vote.pair_id.in_(pair_ids), Vote.retracted_at.is_(None), Vote.purpose == LABEL
    )
    for vote in s.scalars(statement.order_by(Vote.created_at, Vote.id)):
        found.setdefault(vote.pair_id, []).append(vote)
    return found


def count_retracted(s: Session, project_id: int) -> int:
    retracted = select(func.count()).where(
        Vote.project_id == project_id, Vote.retracted_at.is_not(None)
    )
    return s.scalar(retracted) or 0


# --- counting --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Progress:
    """Where a project and one of its annotators stand; retracted votes are not counted."""

    judged_by_you: int
    skipped_by_you: int
    open_for_you: int
    judged: int
    total: int
    votes_by_people: int
    votes_imported: int
    skipped: int
    flagged: int
    surplus: int


def progress(s: Session, project_id: int, annotator: str, now: datetime) -> Progress:
    """Counted from the rows each time; every query reads an index alone."""
    tally = s.execute(
        select(Vote.imported, Vote.choice, Vote.surplus, func.count())
        .where(Vote.project_id == project_id, Vote.retracted_at.is_(None))
        .group_by(Vote.imported, Vote.choice, Vote.surplus)
    ).all()
    mine: Counter[str] = Counter(
        dict(
            s.execute(
                select(Vote.choice, func.count())
                .where(
                    Vote.project_id == project_id,
                    Vote.annotator == annotator,
                    Vote.retracted_at.is_(None),
                )
                .group_by(Vote.choice)
            ).all()
        )
    )
    people = Counter[str]()
    for imported, choice, _, number in tally:
        if not imported:
            people[choice] += number
    return Progress(
        judged_by_you=sum(mine[choice] for choice in FILLING),
        skipped_by_you=mine["skip"],
        open_for_you=count_open_for(s, project_id, annotator, now),
        judged=count_judged(s, project_id),
        total=count_pairs(s, project_id),
        votes_by_people=sum(people[choice] for choice in FILLING),
        votes_imported=sum(row[3] for row in tally if row[0]),
        skipped=people["skip"],
        flagged=people["flag"],
        surplus=sum(row[3] for row in tally if row[2]),
    )


# --- merging ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class JudgedPair:
    """A pair with a training target: the probability, by its votes, that `response_a` is better."""

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


def target_of(choices: Counter[str]) -> float | None:
    """(a + tie/2) / (a + b + tie); None when no vote says which answer is better."""
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


def choices_by_pair(
    s: Session, project_id: int, snapshot: Snapshot | None = None
) -> dict[int, Counter[str]]:
    """How often each choice was made, by pair: as votes stand now, or as a snapshot has them."""
    statement = select(Vote.id, Vote.pair_id, Vote.choice).where(
        Vote.project_id == project_id, Vote.purpose == LABEL
    )
    wanted: Collection[str] | None = None
    if snapshot is None:
        statement = statement.where(Vote.retracted_at.is_(None))
    else:
        wanted = unpack_ids(snapshot.vote_ids)
    by_pair: dict[int, Counter[str]] = {}
    for vote_id, pair_id, choice in s.execute(statement.execution_options(yield_per=5000)):
        if wanted is None or vote_id in wanted:
            by_pair.setdefault(pair_id, Counter())[choice] += 1
    return by_pair


def iter_judged_pairs(
    s: Session, project_id: int, by_pair: dict[int, Counter[str]]
) -> Iterator[JudgedPair]:
    """The pairs that have a target, in order of id, read a few thousand at a time."""
    voted = select(Vote.pair_id).where(
        Vote.project_id == project_id, Vote.choice.in_(JUDGING), Vote.purpose == LABEL
    )
    statement = select_pairs().where(Pair.project_id == project_id, Pair.id.in_(voted))
    rows: Any = s.execute(statement.order_by(Pair.id).execution_options(yield_per=2000))
    for pair_id, prompt_id, prompt_hash, messages, a, b, split, category, _ in rows:
        choices = by_pair.get(pair_id, Counter())
        target = target_of(choices)
        if target is not None:
            num_votes = sum(choices[choice] for choice in JUDGING)
            yield JudgedPair(
                pair_id, prompt_id, prompt_hash, messages, a, b, split, target, num_votes, category
            )


def judged_pairs(s: Session, project_id: int, snapshot: Snapshot | None = None) -> list[JudgedPair]:
    """Every pair with a target after the merge rules, as votes stand now or in the snapshot."""
    return list(iter_judged_pairs(s, project_id, choices_by_pair(s, project_id, snapshot)))


def left_out(s: Session, project_id: int, snapshot: Snapshot | None = None) -> dict[str, int]:
    """How much the merge rules leave out, and why.

    `pairs_*` count pairs without a target; `votes_*` count votes set aside in pairs that have one.
    """
    return count_left_out(s, project_id, choices_by_pair(s, project_id, snapshot))


def count_left_out(s: Session, project_id: int, by_pair: dict[int, Counter[str]]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for choices in by_pair.values():
        if target_of(choices) is None:
            counts[f"pairs_{why_left_out(choices)}"] += 1
        else:
            for choice in ("both_bad", "skip", "flag"):
                counts[f"votes_{choice}"] += choices[choice]
    counts["pairs_not_judged"] = count_pairs(s, project_id) - len(by_pair)
    return {reason: number for reason, number in sorted(counts.items()) if number}
