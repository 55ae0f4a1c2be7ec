"""What the Quality page shows: how far people agree, what each annotator does, pairs to look at.

    found = overview(database, project_id)
    found.alpha.value, found.annotators[0].with_others, found.disputed[0].pair_id

Everything is computed from the votes themselves. The result is kept in memory until a vote, a
retraction, a pair or the aggregation settings change; docs/training-rules.md explains the figures.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import pair_columns, projects, votes
from db.aggregation import TRAINING, Merged, merge
from db.models import CHOICES, Pair
from db.vote_table import PURPOSE_CODE, KeptVotes, Mark, VoteTable, read_marks, read_votes, reread
from studio.services import agreement
from studio.services.agreement import NUM_CLASSES, UNKNOWN, Estimate, Patterns
from studio.services.annotators import Annotator, Lengths, describe
from studio.services.errors import NotFound

if TYPE_CHECKING:
    import numpy as np

    from db.engine import Database

MAX_LISTED = 100  # disputed pairs that are listed; how many there are is told beside them
MAX_KEPT = 8  # projects whose figures stay in memory
_kept: OrderedDict[tuple[str, int], _Kept] = OrderedDict()
_computing = threading.Lock()


@dataclass(frozen=True)
class Disputed:
    """A pair on which people disagree: how often each verdict was given."""

    pair_id: int
    counts: dict[str, int]
    entropy: float  # in bits; 0 where all agree, 1 where two verdicts are even


@dataclass(frozen=True)
class Overview:
    """A project's figures at one moment; `merged` is what its votes come to.

    Attributes:
        num_votes: labels that judge; num_judged: pairs with one; num_shared: with two or more.
        fleiss_votes: Fleiss' kappa is over the pairs with exactly so many verdicts.
        num_couples: how many couples of annotators the mean Cohen's kappa is over.
        gold, repeats, with_others, too_fast: all annotators together.
        disputed: the most disputed pairs that nobody has adjudicated, of `num_disputed`.
        left_out: what does not train and why.
    """

    num_votes: int
    num_pairs: int
    num_judged: int
    num_shared: int
    num_adjudicated: int
    alpha: Estimate
    fleiss: Estimate
    fleiss_votes: int
    cohen: Estimate
    num_couples: int
    percent: Estimate
    ceiling: Estimate
    with_others: float | None
    too_fast: float | None
    gold: float | None
    repeats: float | None
    annotators: list[Annotator]
    disputed: list[Disputed]
    num_disputed: int
    merged: Merged
    left_out: dict[str, int]


@dataclass(frozen=True)
class _Kept:
    """The figures, of what state of the project they are, and what they were computed from."""

    state: tuple[Any, ...]
    votes: KeptVotes
    lengths: Lengths
    overview: Overview


def overview(database: Database, project_id: int) -> Overview:
    """The project's figures, from memory while nothing has changed."""
    key = (database.url, project_id)
    with _computing, database.read() as s:
        marks = read_marks(s, project_id)
        state = marks, *_state(s, project_id)
        kept = _kept.get(key)
        if kept is None or kept.state != state:
            kept = _kept[key] = _compute(s, project_id, marks, state, kept)
            while len(_kept) > MAX_KEPT:
                _kept.popitem(last=False)
        _kept.move_to_end(key)
        return kept.overview


def warm_up(database: Database) -> None:
    """Compute what the first look would wait for: some seconds where there are a million votes."""
    with database.read() as s:
        ids = [project.id for project in projects.list_projects(s)]
    for project_id in ids[-MAX_KEPT:]:
        overview(database, project_id)


def human_ceiling(database: Database, project_id: int) -> Estimate:
    """How well one person predicts what the others say: the most that a model's accuracy means."""
    return overview(database, project_id).ceiling


def two_annotators(database: Database, project_id: int, first: str, second: str) -> Estimate:
    """Cohen's kappa of any two annotators, over the pairs that both have judged."""
    import numpy as np

    with database.read() as s:
        verdicts = _verdicts(read_votes(s, project_id, purposes=("label",)))
    for name in (first, second):
        if name not in verdicts.names:
            raise NotFound(f"{name!r} has no vote in this project; choose from the table")
    codes = [verdicts.names.index(name) for name in (first, second)]
    both = verdicts.where(np.isin(verdicts.annotator, codes))
    shared = agreement.common_verdicts(both.pair, both.annotator, both.choice)
    at = np.flatnonzero((shared.first == min(codes)) & (shared.second == max(codes)))
    return agreement.cohen_kappa(shared.tables[at[0]]) if len(at) else UNKNOWN


def alpha_in_words(alpha: Estimate) -> str:
    """What the number means, in a sentence for somebody who has never seen one."""
    if alpha.value is None or alpha.low is None:
        return (
            "There is nothing to compare yet: let two people judge the same pairs, by asking for "
            "more than one vote a pair."
        )
    if alpha.low <= 0:
        return "From so few votes it cannot be told whether people agree more than by chance."
    for bound, words in _WORDS:
        if alpha.value >= bound:
            return words
    return _WORDS[-1][1]


_WORDS = (
    (0.8, "People nearly always say the same: one vote a pair is enough."),
    (0.667, "People agree well: conclusions from these votes are safe."),
    (0.4, "People agree more often than not; a second and third vote a pair still helps."),
    (
        0.2,
        "People agree clearly more than by chance, as is usual where both answers are passable. "
        "Several votes a pair and sharper guidelines help most.",
    ),
    (
        -1.0,
        "People hardly agree more than by chance: look at the disputed pairs, and say in the "
        "guidelines what decides them.",
    ),
)


# --- computing -------------------------------------------------------------------------------


def _state(s: Session, project_id: int) -> tuple[Any, ...]:
    """Something that changes whenever the figures may, with the marks of the votes."""
    project = projects.get_project(s, project_id)
    if project is None:
        raise NotFound(f"no project with id {project_id}; reload the page and choose one")
    gold = s.execute(  # a corrected file of known verdicts changes them, not their number
        select(Pair.id, Pair.gold_choice)
        .where(Pair.project_id == project_id, Pair.gold_choice.is_not(None))
        .order_by(Pair.id)
    )
    settings = json.dumps(project.aggregation, sort_keys=True)
    return hash(tuple(map(tuple, gold))), projects.count_pairs(s, project_id), settings


def _verdicts(table: VoteTable) -> VoteTable:
    labels = table.of_purpose("label")
    return labels.where(labels.choice < NUM_CLASSES)


def _compute(
    s: Session, project_id: int, marks: dict[str, Mark], state: tuple[Any, ...], kept: _Kept | None
) -> _Kept:
    """Of what was kept before, all that has not changed is used again; answers never change."""
    now = reread(s, project_id, kept.votes if kept else None, marks)
    table = now.table()
    if kept and kept.lengths.knows(table.pair):
        lengths = kept.lengths
    else:
        lengths = Lengths.of_rows(pair_columns.answer_lengths(s, project_id))
    return _Kept(state, now, lengths, _figures(s, project_id, table, lengths))


def _figures(s: Session, project_id: int, table: VoteTable, lengths: Lengths) -> Overview:
    import numpy as np

    verdicts = _verdicts(table)
    merged = merge(table.of_purpose(*TRAINING), votes.rules_of(s, project_id))
    pair, at = np.unique(verdicts.pair, return_inverse=True)
    counts = np.bincount(at * NUM_CLASSES + verdicts.choice, minlength=len(pair) * NUM_CLASSES)
    counts = counts.reshape(len(pair), NUM_CLASSES)
    patterns = Patterns.of_counts(counts)
    shared = agreement.common_verdicts(verdicts.pair, verdicts.annotator, verdicts.choice)
    cohen, num_couples = agreement.mean_cohen_kappa(shared)
    alpha, percent = agreement.alpha_and_percent(patterns)
    fleiss, fleiss_votes = agreement.fleiss_kappa(patterns)
    rows = describe(table, lengths, pair_columns.gold_choices(s, project_id))
    settled = table.pair[table.purpose == PURPOSE_CODE["adjudication"]]
    disputed, num_disputed = _disputed(pair, counts, settled)
    num_pairs = projects.count_pairs(s, project_id)
    never = {f"votes_{name}": len(table.of_purpose(name)) for name in ("gold", "repeat")}
    left_out = merged.left_out(num_pairs) | {why: number for why, number in never.items() if number}
    return Overview(
        num_votes=len(verdicts),
        num_pairs=num_pairs,
        num_judged=len(pair),
        num_shared=int((counts.sum(axis=1) >= 2).sum()),
        num_adjudicated=len(settled),
        alpha=alpha,
        fleiss=fleiss,
        fleiss_votes=fleiss_votes,
        cohen=cohen,
        num_couples=num_couples,
        percent=percent,
        ceiling=agreement.human_ceiling(patterns),
        with_others=_pooled([row.with_others for row in rows]),
        too_fast=_pooled([row.too_fast for row in rows]),
        gold=_pooled([row.gold for row in rows]),
        repeats=_pooled([row.repeats for row in rows]),
        annotators=rows,
        disputed=disputed,
        num_disputed=num_disputed,
        merged=merged,
        left_out=dict(sorted(left_out.items())),
    )


def _pooled(estimates: list[Estimate]) -> float | None:
    """The share over the votes of all annotators."""
    known = [each for each in estimates if each.value is not None]
    total = sum(each.num for each in known)
    return sum((each.value or 0) * each.num for each in known) / total if total else None


def _disputed(
    pair: np.ndarray, counts: np.ndarray, settled: np.ndarray
) -> tuple[list[Disputed], int]:
    """The most disputed first: by the entropy of the verdicts, then by how many there are."""
    import numpy as np

    total = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(total, 1)
    entropy = -(shares * np.log2(np.where(shares > 0, shares, 1))).sum(axis=1)
    entropy = entropy.round(9)
    is_open = (entropy > 0) & ~np.isin(pair, settled)
    places = np.flatnonzero(is_open)
    order = np.lexsort((pair[places], -total[places, 0], -entropy[places]))
    listed = [
        Disputed(
            int(pair[at]),
            {CHOICES[code]: int(n) for code, n in enumerate(counts[at]) if n},
            float(entropy[at]),
        )
        for at in places[order[:MAX_LISTED]]
    ]
    return listed, len(places)
