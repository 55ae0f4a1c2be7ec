"""What an annotator's votes say about the annotator: pace, agreement, habits, and checks passed.

    rows = describe(table, lengths, golds)        # one Annotator each, most votes first

Every share comes with its 95 % interval; with few votes it is wide, and the page colours a figure
only when the interval leaves out the value that says nothing (one half for the sides, the
project's own mean elsewhere). Of twenty annotators without any habit, one is coloured by chance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from db.vote_table import CHOICE_CODE, UNKNOWN_MS, VoteTable
from studio.services.agreement import NUM_CLASSES, Estimate, wilson

if TYPE_CHECKING:
    import numpy as np

# Nobody reads 120 characters a second (about 1,200 words a minute): a verdict given in less time
# than the two answers take at that pace was given unread. Between one second and ten, since short
# answers take a moment too and a long pair can be clear at a glance.
MAX_CHARACTERS_PER_S = 120
MIN_READING_MS, MAX_READING_MS = 1_000, 10_000
MIN_COMPARED = 10  # pairs decided by others too, for an interval by the normal approximation
SKIP, FLAG = CHOICE_CODE["skip"], CHOICE_CODE["flag"]


@dataclass(frozen=True)
class Annotator:
    """One annotator's figures; an Estimate's `num` says how many votes stand behind it.

    Attributes:
        num_verdicts: labels that judge: left, right, tie, both bad.
        median_ms: of verdicts whose time was measured; None without any.
        too_fast: share of those given faster than anyone reads.
        with_others: how often the verdict is that of the majority of the others on the pair.
        left: how often, of two answers, the one on the left was chosen.
        longer: how often the one with more characters was chosen.
        longer_than_others: by how much more often than the others did on the same pairs.
        gold: how often a gold pair was judged as known.
        repeats: how often the own earlier verdict was given again.
    """

    name: str
    imported: bool
    num_verdicts: int
    num_skips: int
    num_flags: int
    median_ms: int | None
    too_fast: Estimate
    with_others: Estimate
    left: Estimate
    longer: Estimate
    longer_than_others: Estimate
    gold: Estimate
    repeats: Estimate


@dataclass(frozen=True)
class Lengths:
    """Characters of the two answers of pairs: the pair `first + i` has a[i] and b[i].

    A pair that is not known has -1.
    """

    first: int
    a: np.ndarray
    b: np.ndarray

    @classmethod
    def of_rows(cls, rows: np.ndarray) -> Lengths:
        """From int64 [M, 3]: pair, characters of a, of b; in order of pair."""
        import numpy as np

        first = int(rows[0, 0]) if len(rows) else 0
        size = int(rows[-1, 0]) - first + 1 if len(rows) else 0
        filled = np.full((2, size), -1, dtype=np.int32)
        filled[:, rows[:, 0] - first] = rows[:, 1:].T
        return cls(first, filled[0], filled[1])

    def of(self, pair: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of these pairs, all of which must be known."""
        return self.a[pair - self.first], self.b[pair - self.first]

    def knows(self, pair: np.ndarray) -> bool:
        """Whether it has all of these pairs."""
        if not len(pair):
            return True
        is_inside = pair.min() >= self.first and pair.max() < self.first + len(self.a)
        return bool(is_inside and (self.of(pair)[0] >= 0).all())


def describe(table: VoteTable, lengths: Lengths, golds: np.ndarray) -> list[Annotator]:
    """Everybody's figures, most verdicts first; `golds` is (pair, code) in order of pair."""
    import numpy as np

    size = len(table.names)
    labels = table.of_purpose("label")
    is_verdict = labels.choice < NUM_CLASSES
    verdicts = labels.where(is_verdict)
    shown = table.of_purpose("label", "gold", "repeat")
    has_labelled = np.bincount(shown.annotator, minlength=size) > 0  # not adjudicated only
    imported = np.zeros(size, dtype=bool)
    imported[table.annotator[table.imported == 1]] = True
    medians = _medians(shown, size)
    too_fast, left = _too_fast(shown, lengths, size), _left(shown, size)
    with_others = _with_others(verdicts, size)
    longer = _longer(shown, lengths, size)
    longer_than_others = _longer_than_others(verdicts, lengths, size)
    gold = _gold(table.of_purpose("gold"), golds, size)
    repeats = _repeats(table.of_purpose("repeat"), verdicts, size)
    num_verdicts = np.bincount(verdicts.annotator, minlength=size)
    num_skips = np.bincount(labels.annotator[labels.choice == SKIP], minlength=size)
    num_flags = np.bincount(labels.annotator[labels.choice == FLAG], minlength=size)
    rows = [
        Annotator(
            name=name,
            imported=bool(imported[at]),
            num_verdicts=int(num_verdicts[at]),
            num_skips=int(num_skips[at]),
            num_flags=int(num_flags[at]),
            median_ms=medians[at],
            too_fast=too_fast[at],
            with_others=with_others[at],
            left=left[at],
            longer=longer[at],
            longer_than_others=longer_than_others[at],
            gold=gold[at],
            repeats=repeats[at],
        )
        for at, name in enumerate(table.names)
        if has_labelled[at]
    ]
    return sorted(rows, key=lambda row: (-row.num_verdicts, row.name))


def reading_ms(len_a: np.ndarray, len_b: np.ndarray) -> np.ndarray:
    """The least time in which anyone reads two answers of so many characters."""
    import numpy as np

    needed = (len_a + len_b) * (1000 / MAX_CHARACTERS_PER_S)
    return np.clip(needed, MIN_READING_MS, MAX_READING_MS)


def _shares(annotator: np.ndarray, holds: np.ndarray, size: int) -> list[Estimate]:
    """For each annotator the share of votes of which it holds, with its Wilson interval."""
    import numpy as np

    total = np.bincount(annotator, minlength=size)
    return _estimates(wilson(np.bincount(annotator[holds], minlength=size), total), total)


def _estimates(figures: np.ndarray, total: np.ndarray) -> list[Estimate]:
    return [
        Estimate(None, None, None, num) if math.isnan(share) else Estimate(share, low, high, num)
        for (share, low, high), num in zip(figures.tolist(), total.tolist(), strict=True)
    ]


def _medians(shown: VoteTable, size: int) -> list[int | None]:
    """Median milliseconds of each annotator's timed verdicts."""
    import numpy as np

    timed = shown.where((shown.duration_ms != UNKNOWN_MS) & (shown.choice < NUM_CLASSES))
    # One sort of one number each: much faster than a sort by two columns.
    ordered = np.sort((timed.annotator.astype(np.int64) << 32) + timed.duration_ms)
    durations = ordered & 0xFFFFFFFF
    bounds = np.searchsorted(ordered, np.arange(size + 1, dtype=np.int64) << 32).tolist()
    middles = [
        (durations[(start + end - 1) // 2] + durations[(start + end) // 2]) // 2
        if end > start
        else None
        for start, end in pairwise(bounds)
    ]
    return [None if middle is None else int(middle) for middle in middles]


def _too_fast(shown: VoteTable, lengths: Lengths, size: int) -> list[Estimate]:
    timed = shown.where((shown.duration_ms != UNKNOWN_MS) & (shown.choice < NUM_CLASSES))
    is_fast = timed.duration_ms < reading_ms(*lengths.of(timed.pair))
    return _shares(timed.annotator, is_fast, size)


def _with_others(verdicts: VoteTable, size: int) -> list[Estimate]:
    """Against the most frequent verdict of the others, where one is more frequent than the rest."""
    import numpy as np

    _, at = np.unique(verdicts.pair, return_inverse=True)
    num_pairs = int(at.max(initial=-1)) + 1
    counts = np.bincount(at * NUM_CLASSES + verdicts.choice, minlength=num_pairs * NUM_CLASSES)
    others = counts.reshape(num_pairs, NUM_CLASSES)[at]
    others[np.arange(len(at)), verdicts.choice] -= 1
    most = others.max(axis=1, initial=0)
    is_decided = (most > 0) & ((others == most[:, None]).sum(axis=1) == 1)
    agrees = others[np.arange(len(at)), verdicts.choice] == most
    return _shares(verdicts.annotator[is_decided], agrees[is_decided], size)


def _left(shown: VoteTable, size: int) -> list[Estimate]:
    decided = shown.where((shown.choice < 2) & (shown.left > 0))
    return _shares(decided.annotator, decided.choice == decided.left - 1, size)


def _chose_longer(votes: VoteTable, lengths: Lengths) -> tuple[VoteTable, np.ndarray]:
    """The votes for one of two answers of different length, and whether for the longer one."""
    votes = votes.where(votes.choice < 2)
    len_a, len_b = lengths.of(votes.pair)
    differ = len_a != len_b
    return votes.where(differ), (votes.choice[differ] == 0) == (len_a > len_b)[differ]


def _longer(shown: VoteTable, lengths: Lengths, size: int) -> list[Estimate]:
    votes, chose_longer = _chose_longer(shown, lengths)
    return _shares(votes.annotator, chose_longer, size)


def _longer_than_others(verdicts: VoteTable, lengths: Lengths, size: int) -> list[Estimate]:
    """The mean, over pairs that others have decided too, of own choice less the others' share."""
    import numpy as np

    votes, longer = _chose_longer(verdicts, lengths)
    _, at = np.unique(votes.pair, return_inverse=True)
    num_others = np.bincount(at)[at] - 1 if len(at) else np.zeros(0)
    others = (np.bincount(at, longer)[at] - longer) if len(at) else np.zeros(0)
    has_others = num_others > 0
    excess = longer[has_others] - others[has_others] / num_others[has_others]
    who = votes.annotator[has_others]
    total = np.bincount(who, minlength=size)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(who, excess, size) / total
        variance = np.bincount(who, (excess - mean[who]) ** 2, size) / (total - 1)
        half = 1.96 * np.sqrt(variance / total)
    figures = np.stack([mean, mean - half, mean + half], axis=1)
    return _estimates(np.where(total[:, None] >= MIN_COMPARED, figures, np.nan), total)


def _gold(given: VoteTable, golds: np.ndarray, size: int) -> list[Estimate]:
    import numpy as np

    given = given.where((given.choice < NUM_CLASSES) & np.isin(given.pair, golds[:, 0]))
    known = golds[np.searchsorted(golds[:, 0], given.pair), 1]
    return _shares(given.annotator, given.choice == known, size)


def _repeats(again: VoteTable, verdicts: VoteTable, size: int) -> list[Estimate]:
    """A repeat against the same annotator's standing label of the pair."""
    import numpy as np

    again = again.where(again.choice < NUM_CLASSES)
    wanted = (again.pair.astype(np.int64) << 32) + again.annotator
    own = (verdicts.pair.astype(np.int64) << 32) + verdicts.annotator
    keep = np.isin(own, wanted)
    order = np.argsort(own[keep])
    first, said = own[keep][order], verdicts.choice[keep][order]
    if not len(first):
        return _shares(again.annotator[:0], np.zeros(0, dtype=bool), size)
    at = np.minimum(np.searchsorted(first, wanted), len(first) - 1)
    is_known = first[at] == wanted
    agrees = said[at] == again.choice
    return _shares(again.annotator[is_known], agrees[is_known], size)
