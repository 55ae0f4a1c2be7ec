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
NUM_BLOCKS = 50  # into which pairs are put at random for the interval of the mean Cohen's kappa
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
    return _bootstrapped(patterns.where(patterns.num_votes >= 2), _alpha)


def fleiss_kappa(patterns: Patterns) -> tuple[Estimate, int]:
    """Fleiss' kappa over the pairs with exactly n verdicts, and n: the most usual number."""
    import numpy as np

    shared = patterns.where(patterns.num_votes >= 2)
    if not len(shared.frequency):
        return UNKNOWN, 0
    usual = int(np.bincount(shared.num_votes, shared.frequency).argmax())
    return _bootstrapped(shared.where(shared.num_votes == usual), _fleiss), usual


def percent_agreement(patterns: Patterns) -> Estimate:
    """How often two verdicts on the same pair are the same: over all pairs of such verdicts."""
    return _bootstrapped(patterns.where(patterns.num_votes >= 2), _percent)


def human_ceiling(patterns: Patterns) -> Estimate:
    """How often one person's choice of the better answer is that of the majority of the others.

    Over votes `a` and `b` on pairs where the others are not divided evenly: what a model that says
    what the majority would say can be expected to reach against one person's verdict.
    """
    decided = Patterns(patterns.counts[:, :2], patterns.frequency)
    return _bootstrapped(decided.where(decided.num_votes >= 2), _ceiling)


def _bootstrapped(patterns: Patterns, statistic: Statistic) -> Estimate:
    """The statistic with a percentile interval over pairs drawn anew."""
    import numpy as np

    num_pairs = int(patterns.frequency.sum())
    if not num_pairs:
        return UNKNOWN
    (value,) = statistic(patterns.counts, patterns.frequency[None, :].astype(float))
    if np.isnan(value):
        return UNKNOWN._replace(num=num_pairs)
    chance = np.random.default_rng(SEED)
    drawn = chance.multinomial(num_pairs, patterns.frequency / num_pairs, NUM_DRAWS)
    low, high = np.nanpercentile(statistic(patterns.counts, drawn.astype(float)), [2.5, 97.5])
    return Estimate(float(value), float(low), float(high), num_pairs)


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
    """

    first: np.ndarray
    second: np.ndarray
    tables: np.ndarray

    @property
    def num_common(self) -> np.ndarray:
        return self.tables.sum(axis=(1, 2))


def common_verdicts(pair: np.ndarray, rater: np.ndarray, choice: np.ndarray) -> Shared:
    """Count what every two annotators said of the same pairs."""
    import numpy as np

    keys, _ = _common_keys(pair, rater, choice)
    num_raters = int(rater.max(initial=-1)) + 1
    cells, counts = _counted(keys, num_raters**2 * NUM_CLASSES**2)
    couple, cell = cells // NUM_CLASSES**2, cells % NUM_CLASSES**2
    couples, at = np.unique(couple, return_inverse=True)
    tables = np.zeros((len(couples), NUM_CLASSES**2))
    tables[at, cell] = counts
    first, second = couples // max(num_raters, 1), couples % max(num_raters, 1)
    return Shared(first, second, tables.reshape(-1, NUM_CLASSES, NUM_CLASSES))


def _common_keys(
    pair: np.ndarray, rater: np.ndarray, choice: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """One number for every two verdicts on a pair: who, who, what, what; and the pair of each."""
    import numpy as np

    num_raters = int(rater.max(initial=-1)) + 1
    order = np.lexsort((rater, pair))
    pair, rater, choice = pair[order], rater[order].astype(np.int64), choice[order].astype(np.int64)
    keys, pairs, step = [np.empty(0, np.int64)], [pair[:0]], 1
    while True:  # every vote with the one `step` places on, while that is on the same pair
        same = np.flatnonzero(pair[step:] == pair[:-step])
        if not len(same):
            return np.concatenate(keys), np.concatenate(pairs)
        couple = rater[same] * num_raters + rater[same + step]
        keys.append((couple * NUM_CLASSES + choice[same]) * NUM_CLASSES + choice[same + step])
        pairs.append(pair[same])
        step += 1


def _counted(keys: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The distinct keys and how often each occurs."""
    import numpy as np

    if size <= 4_000_000:
        counts = np.bincount(keys)
        present = np.flatnonzero(counts)
        return present, counts[present]
    return np.unique(keys, return_counts=True)


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
    import numpy as np

    total = tables.sum(axis=(1, 2))
    observed = _divided(np.trace(tables, axis1=1, axis2=2).astype(float), total)
    product = (tables.sum(axis=1) * tables.sum(axis=2)).sum(axis=1).astype(float)
    expected = _divided(product, total.astype(float) ** 2)
    return _divided(observed - expected, 1 - expected)


def mean_cohen_kappa(
    pair: np.ndarray, rater: np.ndarray, choice: np.ndarray, shared: Shared
) -> tuple[Estimate, int]:
    """The mean of Cohen's kappa over all annotators with MIN_COMMON pairs in common, and how many.

    The interval is 1.96 standard deviations of a bootstrap that draws blocks of pairs: pairs go
    into NUM_BLOCKS blocks at random. With very many annotators it makes fewer draws.
    """
    import numpy as np

    is_enough = shared.num_common >= MIN_COMMON
    kappas = cohen_kappas(shared.tables[is_enough])
    known = ~np.isnan(kappas)
    if not known.any():
        return UNKNOWN, 0
    value, num = float(kappas[known].mean()), int(known.sum())
    blocks = _tables_by_block(pair, rater, choice, shared, np.flatnonzero(is_enough)[known])
    num_draws = int(np.clip(4_000_000 // blocks[0].size, 25, 400))
    weights = np.random.default_rng(SEED).multinomial(
        NUM_BLOCKS, np.full(NUM_BLOCKS, 1 / NUM_BLOCKS), num_draws
    )
    drawn = [
        np.nanmean(cohen_kappas(np.tensordot(weight.astype(np.float32), blocks, 1)))
        for weight in weights
    ]
    spread = 1.96 * float(np.std(drawn))
    return Estimate(value, value - spread, value + spread, int(shared.num_common.sum())), num


def _tables_by_block(
    pair: np.ndarray, rater: np.ndarray, choice: np.ndarray, shared: Shared, chosen: np.ndarray
) -> np.ndarray:
    """The tables of the chosen couples, float32 [NUM_BLOCKS, Q, K, K]."""
    import numpy as np

    num_raters, cells = int(rater.max(initial=-1)) + 1, NUM_CLASSES**2
    keys, pairs = _common_keys(pair, rater, choice)
    couples = shared.first[chosen] * num_raters + shared.second[chosen]  # sorted
    couple = keys // cells
    at = np.minimum(np.searchsorted(couples, couple), len(couples) - 1)
    keep = couples[at] == couple
    # A fixed scramble of the id: neighbours, which share a prompt, go to different blocks.
    block = (pairs[keep].astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)
    place = (block % np.uint64(NUM_BLOCKS)).astype(np.int64) * len(couples) + at[keep]
    counts = np.bincount(
        place * cells + keys[keep] % cells, minlength=NUM_BLOCKS * len(couples) * cells
    )
    shape = (NUM_BLOCKS, len(couples), NUM_CLASSES, NUM_CLASSES)
    return counts.reshape(shape).astype(np.float32)


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
