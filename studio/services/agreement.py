"""How far people agree: Krippendorff's alpha, Cohen's and Fleiss' kappa, with bootstrap intervals.

    patterns = Patterns.of(pair, choice)              # arrays, one entry a verdict
    alpha(patterns)                                   # Estimate(value, low, high, num)

Everything but Cohen's kappa depends on a pair's votes only through how many of them said what. A
project of 100,000 pairs has a few hundred such patterns, so the bootstrap over pairs draws how
often each pattern occurs instead of pairs: the same distribution, in milliseconds. The figures are
checked against the packages `krippendorff` and scikit-learn and on published data in
tests/services/test_agreement.py; neither package computes intervals.

Categories are nominal: `a`, `b`, `tie` and `both_bad` (an answer, not a side of the screen).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

NUM_CLASSES = 4  # the verdicts a, b, tie, both_bad: the first codes of db.models.CHOICES
NUM_DRAWS = 1000
MIN_COMMON = 20  # pairs that two annotators must share for a Cohen's kappa of theirs
MAX_DENSE = 4_000_000  # couples of annotators that are counted without sorting
SEED = 20_261_122  # of every bootstrap: the same votes give the same interval


class Estimate(NamedTuple):
    """A figure with its 95 % interval; None where it is not defined, and `num` says of how many."""

    value: float | None
    low: float | None
    high: float | None
    num: int

    @property
    def is_known(self) -> bool:
        return self.value is not None


UNKNOWN = Estimate(None, None, None, 0)


@dataclass(frozen=True)
class Patterns:
    """The different ways in which pairs were judged.

    Attributes:
        counts: int64 [P, K], how many verdicts of each class a pair of this pattern has.
        frequency: int64 [P], how many pairs have it.
    """

    counts: np.ndarray
    frequency: np.ndarray

    @classmethod
    def of(cls, pair: np.ndarray, choice: np.ndarray) -> Patterns:
        """From verdicts: the pair of each, and its class."""
        import numpy as np

        _, at = np.unique(pair, return_inverse=True)
        num_pairs = int(at.max(initial=-1)) + 1
        counts = np.bincount(at * NUM_CLASSES + choice, minlength=num_pairs * NUM_CLASSES)
        return cls.of_counts(counts.reshape(num_pairs, NUM_CLASSES))

    @classmethod
    def of_counts(cls, counts: np.ndarray) -> Patterns:
        """From the number of verdicts of each class on each pair, int [M, K]."""
        import numpy as np

        bits = int(counts.max(initial=0)).bit_length()
        shifts = bits * np.arange(counts.shape[1])
        keys = (counts.astype(np.int64) << shifts).sum(axis=1)
        distinct, frequency = np.unique(keys, return_counts=True)
        return cls((distinct[:, None] >> shifts) & ((1 << bits) - 1), frequency)

    def where(self, keep: np.ndarray) -> Patterns:
        return Patterns(self.counts[keep], self.frequency[keep])

    @property
    def num_votes(self) -> np.ndarray:
        return self.counts.sum(axis=1)


# A statistic of [B, P] frequencies of the patterns: [B], NaN where it is not defined.
Statistic = Callable[["np.ndarray", "np.ndarray"], "np.ndarray"]


def alpha(patterns: Patterns) -> Estimate:
    """Krippendorff's alpha, nominal, over the pairs with two verdicts or more."""
    return alpha_and_percent(patterns)[0]


def alpha_and_percent(patterns: Patterns) -> tuple[Estimate, Estimate]:
    """Alpha, and how often two verdicts on the same pair are the same, of all such couples."""
    found, percent = _bootstrapped(patterns.where(patterns.num_votes >= 2), _alpha, _percent)
    return found, percent


def fleiss_kappa(patterns: Patterns) -> tuple[Estimate, int]:
    """Fleiss' kappa over the pairs with exactly n verdicts, and n: the most usual number."""
    import numpy as np

    shared = patterns.where(patterns.num_votes >= 2)
    if not len(shared.frequency):
        return UNKNOWN, 0
    usual = int(np.bincount(shared.num_votes, shared.frequency).argmax())
    return _bootstrapped(shared.where(shared.num_votes == usual), _fleiss)[0], usual


def human_ceiling(patterns: Patterns) -> Estimate:
    """How often one person's choice of the better answer is that of the majority of the others.

    Over votes `a` and `b` on pairs where the others are not divided evenly: what a model that says
    what the majority would say can be expected to reach against one person's verdict.
    """
    decided = Patterns(patterns.counts[:, :2], patterns.frequency)
    return _bootstrapped(decided.where(decided.num_votes >= 2), _ceiling)[0]


def _bootstrapped(patterns: Patterns, *statistics: Statistic) -> list[Estimate]:
    """The statistics with percentile intervals over pairs drawn anew."""
    import numpy as np

    num_pairs = int(patterns.frequency.sum())
    if not num_pairs:
        return [UNKNOWN for _ in statistics]
    chance = np.random.default_rng(SEED)
    drawn = chance.multinomial(num_pairs, patterns.frequency / num_pairs, NUM_DRAWS).astype(float)
    found = []
    for statistic in statistics:
        (value,) = statistic(patterns.counts, patterns.frequency[None, :].astype(float))
        if np.isnan(value):
            found.append(UNKNOWN._replace(num=num_pairs))
        else:
            low, high = np.nanpercentile(statistic(patterns.counts, drawn), [2.5, 97.5])
            found.append(Estimate(float(value), float(low), float(high), num_pairs))
    return found


def _divided(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom != 0)


def _alpha(counts: np.ndarray, frequency: np.ndarray) -> np.ndarray:
    votes = counts.sum(axis=1)
    disagreeing = (votes**2 - (counts**2).sum(axis=1)) / (votes - 1)
    by_class = frequency @ counts
    total = by_class.sum(axis=1)
    observed = _divided(frequency @ disagreeing, total)
    expected = _divided(total**2 - (by_class**2).sum(axis=1), total * (total - 1))
    return 1 - _divided(observed, expected)


def _fleiss(counts: np.ndarray, frequency: np.ndarray) -> np.ndarray:
    votes = counts.sum(axis=1)
    agreeing = ((counts**2).sum(axis=1) - votes) / (votes * (votes - 1))
    observed = _divided(frequency @ agreeing, frequency.sum(axis=1))
    by_class = frequency @ counts
    shares = by_class / by_class.sum(axis=1, keepdims=True)
    expected = (shares**2).sum(axis=1)
    return _divided(observed - expected, 1 - expected)


def _percent(counts: np.ndarray, frequency: np.ndarray) -> np.ndarray:
    votes = counts.sum(axis=1)
    agreeing = (counts**2).sum(axis=1) - votes
    return _divided(frequency @ agreeing, frequency @ (votes * (votes - 1)))


def _ceiling(counts: np.ndarray, frequency: np.ndarray) -> np.ndarray:
    a, b = counts.T
    # Of a voter for a, the others are a - 1 and b.
    right = a * (a - 1 > b) + b * (b - 1 > a)
    wrong = a * (b > a - 1) + b * (a > b - 1)
    return _divided(frequency @ right, frequency @ (right + wrong))


# --- two annotators at a time ----------------------------------------------------------------


@dataclass(frozen=True)
class Shared:
    """What every two annotators said of the pairs that both have judged.

    Attributes:
        first, second: int64 [Q], the annotators, first < second.
        tables: float64 [Q, K, K], how often the first said the one and the second the other.
        couple, cell, pair: [E], one entry for every two verdicts on a pair: whose they are, which
            cell of the table, and the pair, counted from 0.
    """

    first: np.ndarray
    second: np.ndarray
    tables: np.ndarray
    couple: np.ndarray
    cell: np.ndarray
    pair: np.ndarray

    @property
    def num_common(self) -> np.ndarray:
        return self.tables.sum(axis=(1, 2))


def common_verdicts(pair: np.ndarray, rater: np.ndarray, choice: np.ndarray) -> Shared:
    """Count what every two annotators said of the same pairs."""
    import numpy as np

    num_raters, cells = int(rater.max(initial=-1)) + 1, NUM_CLASSES**2
    couple, cell, pairs = _every_two(pair, rater, choice, num_raters)
    if num_raters**2 <= MAX_DENSE:
        present = np.flatnonzero(np.bincount(couple, minlength=1))
        place = np.zeros(num_raters**2, dtype=np.int32)
        place[present] = np.arange(len(present))
        at = place[couple]
    else:
        present, at = np.unique(couple, return_inverse=True)
    tables = np.bincount(at * cells + cell, minlength=len(present) * cells).astype(float)
    return Shared(
        present // max(num_raters, 1),
        present % max(num_raters, 1),
        tables.reshape(-1, NUM_CLASSES, NUM_CLASSES),
        at,
        cell,
        pairs,
    )


def _every_two(
    pair: np.ndarray, rater: np.ndarray, choice: np.ndarray, num_raters: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every two verdicts on a pair: a number for whose, the table's cell, and the pair's place."""
    import numpy as np

    order = np.argsort((pair.astype(np.int64) << 32) + rater)
    kind = np.int32 if num_raters**2 < 2**31 else np.int64  # half the memory to go through
    pair, rater, choice = pair[order], rater[order].astype(kind), choice[order].astype(kind)
    place = np.cumsum(np.diff(pair, prepend=pair[:1]) != 0)
    couples, cells, places, step = [rater[:0]], [choice[:0]], [place[:0]], 1
    while True:  # every vote with the one `step` places on, while that is on the same pair
        same = np.flatnonzero(pair[step:] == pair[:-step])
        if not len(same):
            return np.concatenate(couples), np.concatenate(cells), np.concatenate(places)
        couples.append(rater[same] * num_raters + rater[same + step])
        cells.append(choice[same] * NUM_CLASSES + choice[same + step])
        places.append(place[same])
        step += 1


def cohen_kappa(table: np.ndarray) -> Estimate:
    """Cohen's kappa of two annotators from their table [K, K]; the bootstrap is over pairs."""
    import numpy as np

    num = int(table.sum())
    if not num:
        return UNKNOWN
    (value,) = cohen_kappas(table[None])
    if np.isnan(value):
        return UNKNOWN._replace(num=num)
    chance = np.random.default_rng(SEED)
    drawn = chance.multinomial(num, table.ravel() / num, NUM_DRAWS)
    low, high = np.nanpercentile(cohen_kappas(drawn.reshape(-1, *table.shape)), [2.5, 97.5])
    return Estimate(float(value), float(low), float(high), num)


def cohen_kappas(tables: np.ndarray) -> np.ndarray:
    """Cohen's kappa of each table, [Q] from [Q, K, K]; NaN where both always say the same."""
    observed, expected = _observed_and_expected(tables)
    return _divided(observed - expected, 1 - expected)


def _observed_and_expected(tables: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    import numpy as np

    total = tables.sum(axis=(1, 2)).astype(float)
    observed = _divided(np.trace(tables, axis1=1, axis2=2).astype(float), total)
    product = (tables.sum(axis=1) * tables.sum(axis=2)).sum(axis=1).astype(float)
    return observed, _divided(product, total**2)


def mean_cohen_kappa(shared: Shared) -> tuple[Estimate, int]:
    """The mean of Cohen's kappa over all couples with MIN_COMMON pairs in common, and how many.

    The interval is what a bootstrap over pairs tends to, by its first-order term (the
    infinitesimal jackknife): drawing anew would count millions of couples of verdicts each time.
    """
    import numpy as np

    kappas = cohen_kappas(shared.tables)
    counts = (shared.num_common >= MIN_COMMON) & ~np.isnan(kappas)
    num = int(counts.sum())
    if not num:
        return UNKNOWN, 0
    value = float(kappas[counts].mean())
    slopes = np.zeros((len(kappas), NUM_CLASSES**2))
    slopes[counts] = _slopes(shared.tables[counts]) / num
    of_entry = slopes.ravel()[shared.couple * NUM_CLASSES**2 + shared.cell]
    half = 1.96 * float(np.sqrt((np.bincount(shared.pair, of_entry) ** 2).sum()))
    return Estimate(value, value - half, value + half, int(shared.num_common[counts].sum())), num


def _slopes(tables: np.ndarray) -> np.ndarray:
    """How much each kappa grows with one more in each cell, [Q, K * K]."""
    import numpy as np

    total = tables.sum(axis=(1, 2))[:, None, None]
    observed, expected = (each[:, None, None] for each in _observed_and_expected(tables))
    rows, columns = tables.sum(axis=2), tables.sum(axis=1)
    of_observed = (np.eye(NUM_CLASSES) - observed) / total
    of_expected = (columns[:, :, None] + rows[:, None, :]) / total**2 - 2 * expected / total
    slopes = (of_observed * (1 - expected) - of_expected * (1 - observed)) / (1 - expected) ** 2
    return slopes.reshape(len(tables), -1)


# --- shares ----------------------------------------------------------------------------------


def wilson(successes: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Share and its 95 % Wilson interval, [N, 3]; NaN where the total is 0."""
    import numpy as np

    z2 = 1.959963984540054**2
    total = np.asarray(total, dtype=float)
    share = _divided(np.asarray(successes, dtype=float), total)
    with np.errstate(invalid="ignore", divide="ignore"):
        middle = (share + z2 / (2 * total)) / (1 + z2 / total)
        half = np.sqrt(z2 * (share * (1 - share) / total + z2 / (4 * total**2))) / (1 + z2 / total)
    return np.stack([share, middle - half, middle + half], axis=-1)
