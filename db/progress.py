"""Counts of where a project and one of its annotators stand, each read from an index alone.

Only labels count for the project. What an annotator has given counts gold pairs and repeats too,
since to the annotator they are pairs like any other.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session, aliased

from db.models import FILLING, Pair, Slot, Vote
from db.slot_counts import count_unfilled
from db.slots import LABEL, bound, is_free, voted_by


@dataclass(frozen=True)
class ProjectTally:
    """A project's labels and pairs; retracted votes are not counted.

    Attributes:
        num_unfilled: pairs with a slot that no vote has filled, paused ones included.
        num_unfilled_heldout: those of them that are held out.
    """

    judged: int
    total: int
    votes_by_people: int
    votes_imported: int
    skipped: int
    flagged: int
    surplus: int
    num_unfilled: int
    num_unfilled_heldout: int

    @property
    def num_rows(self) -> int:
        """How much there was to count."""
        return self.total + self.votes_by_people + self.votes_imported


@dataclass(frozen=True)
class OwnTally:
    """What an annotator has given.

    Attributes:
        judged: verdicts, those on gold pairs and repeats and on own edits included.
        num_labels: votes of any choice that took a pair off this annotator's queue.
        num_checks: votes on gold pairs and repeats.
    """

    judged: int
    skipped: int
    num_labels: int
    num_checks: int


def project_tally(s: Session, project_id: int) -> ProjectTally:
    """Counts everything; takes about a second for a million votes."""
    values = {"b_project": project_id}
    votes, pairs, judged, heldout = _tally_statements()
    rows = s.execute(votes, values).all()
    people: Counter[str] = Counter()
    for imported, choice, _, number in rows:
        if not imported:
            people[choice] += number
    return ProjectTally(
        judged=s.scalar(judged, values) or 0,
        total=s.scalar(pairs, values) or 0,
        votes_by_people=sum(people[choice] for choice in FILLING),
        votes_imported=sum(row[3] for row in rows if row[0]),
        skipped=people["skip"],
        flagged=people["flag"],
        surplus=sum(row[3] for row in rows if row[2]),
        num_unfilled=count_unfilled(s, project_id),
        num_unfilled_heldout=s.scalar(heldout, values) or 0,
    )


@cache
def _tally_statements() -> tuple[Any, ...]:
    labels = (
        Vote.project_id == bound("project"), Vote.retracted_at.is_(None), Vote.purpose == LABEL,
    )  # fmt: skip
    votes = (
        select(Vote.imported, Vote.choice, Vote.surplus, func.count())
        .where(*labels)
        .group_by(Vote.imported, Vote.choice, Vote.surplus)
    )
    pairs = select(func.count()).where(Pair.project_id == bound("project"))
    judging = select(Vote.pair_id).where(*labels, Vote.choice.in_(FILLING)).distinct().subquery()
    judged = select(func.count()).select_from(judging)
    unfilled = select(Slot.pair_id).where(
        Slot.project_id == bound("project"), Slot.vote_id.is_(None)
    )
    open_pairs = unfilled.distinct().subquery()
    heldout = (
        select(func.count())
        .select_from(open_pairs)
        .join(Pair, Pair.id == open_pairs.c.pair_id)
        .where(Pair.split == "heldout")
    )
    return votes, pairs, judged, heldout


def own_tally(s: Session, project_id: int, annotator: str) -> OwnTally:
    """What the annotator has given until now."""
    rows = s.execute(_own_statement(), {"b_project": project_id, "b_annotator": annotator}).all()
    return OwnTally(
        judged=sum(row[2] for row in rows if row[1] in FILLING and row[0] != "adjudication"),
        skipped=sum(row[2] for row in rows if row[1] == "skip"),
        num_labels=sum(row[3] for row in rows if row[0] == "label"),
        num_checks=sum(row[2] for row in rows if row[0] in ("gold", "repeat")),
    )


@cache
def _own_statement() -> sa.Executable:
    return (
        select(Vote.purpose, Vote.choice, func.count(), func.count(Vote.showing_id))
        .where(
            Vote.project_id == bound("project"),
            Vote.annotator == bound("annotator"),
            Vote.retracted_at.is_(None),
        )
        .group_by(Vote.purpose, Vote.choice)
    )


def count_closed_to(s: Session, project_id: int, annotator: str, now: datetime) -> int:
    """Unfilled pairs that this annotator cannot be given now.

    Because they judged, skipped or flagged them, because they are paused, or because others hold
    every slot that is left. The exceptions are few, and each is found by an index.
    """
    values = {"b_project": project_id, "b_annotator": annotator, "b_now": now}
    closed, leased_away = _closed_statements()
    return (s.scalar(closed, values) or 0) + (s.scalar(leased_away, values) or 0)


@cache
def _closed_statements() -> tuple[sa.Select[Any], sa.Select[Any]]:
    voted = select(Vote.pair_id).where(
        Vote.project_id == bound("project"),
        Vote.annotator == bound("annotator"),
        Vote.retracted_at.is_(None),
        Vote.purpose == LABEL,
    )
    paused = select(Pair.id).where(Pair.project_id == bound("project"), Pair.status == "paused")
    closed = voted.union(paused).subquery()
    # The project is said again: from the index of unfilled slots alone. The offset has PostgreSQL
    # look each pair up there, where it would else read the slots of all pairs into a table first.
    unfilled = (
        select(Slot.id)
        .where(
            Slot.project_id == bound("project"),
            Slot.pair_id == closed.c.pair_id,
            Slot.vote_id.is_(None),
        )
        .offset(0)
    )
    # Open pairs, not voted on by the annotator, of which others hold every unfilled slot.
    reachable = aliased(Slot)
    is_reachable = select(reachable.id).where(
        reachable.pair_id == Slot.pair_id,
        reachable.vote_id.is_(None),
        or_(is_free(reachable, bound("now")), reachable.annotator == bound("annotator")),
    )
    leased_away = (
        select(func.count(Slot.pair_id.distinct()))
        .join(Pair, Pair.id == Slot.pair_id)
        .where(
            Slot.project_id == bound("project"),
            Slot.lease_until >= bound("now"),
            Slot.vote_id.is_(None),
            Slot.annotator != bound("annotator"),
            Pair.status == "open",
            ~voted_by(Slot, bound("annotator")),
            ~is_reachable.exists(),
        )
    )
    num_closed = select(func.count()).select_from(closed).where(unfilled.exists())
    return num_closed, leased_away
