"""Where a learning curve leads: a power law through what was seen, and how sure that is.

    law = Law(sizes, figures, root=False)          # figures [orders, sizes] of one kind of figure
    law.change(now=300, more=200)                  # expected change and its 95 % interval

The orders are nested subsets of the same votes, so the steps from one size to the next are all but
independent. Through their means goes b (k^-c - l^-c) for every exponent c of a grid; each weighs as
much as the steps speak for it, and b may not say that more pairs do harm on average. The interval
then covers

- which exponent and slope it is, the steps' means being as sure as their spread says, plus SHARED
  of one order's variance that no number of orders takes away: all are drawn from the same votes;
- the luck of the votes that come: the step ahead varies as the steps behind did. A step's variance
  goes with 1/k - 1/l for a smooth figure, and with its root for a share of right answers (`root`),
  where what counts is how many verdicts flip. SPREAD widens the latter: both ends of the step
  ahead are single fits.

SHARED and SPREAD were set on HH; benchmarks/bench_learning_curve.py says how often the intervals
hold, there and on pairs that played no part in it. The change is that on the same unseen pairs.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

EXPONENTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 1.0, 1.25, 1.5, 2.0)
SHARED = 0.5
SPREAD = {True: 1.5, False: 1.0}  # by `root`
# Heads on few pairs vary more than the law of the step says: the step ahead is told by these.
LARGE = 0.35
NUM_DRAWS = 2000


class Law:
    """The law of one figure (errors or losses: less is better).

    Args:
        sizes: float64 [K], rising, all below the number of pairs there are.
        figures: float64 [orders, K], each order's mean at each size.
        total: how many pairs there are.
        root: the figure is a share of right or wrong answers.
    """

    def __init__(
        self, sizes: np.ndarray, figures: np.ndarray, total: int, *, root: bool, seed: int = 0
    ) -> None:
        import numpy as np

        self._root, self._total = root, total
        rng = np.random.default_rng(seed)
        orders = len(figures)
        steps = figures[:, :-1] - figures[:, 1:]
        mean = steps.mean(axis=0)
        unit = self._unit(sizes[:-1], sizes[1:])
        scale = ((steps - mean) ** 2).sum(axis=0) / (orders - 1) / unit
        large = sizes[:-1] >= LARGE * sizes[-1]
        self._scale = float(scale[large].mean())
        variance = np.maximum(scale, self._scale) * unit * (1 / orders + SHARED)
        self._draw(sizes, mean, np.maximum(variance, 1e-12), rng)
        # The scale itself is known from few orders.
        freedom = int(large.sum()) * (orders - 1)
        self._scales = self._scale * freedom / rng.chisquare(freedom, NUM_DRAWS)
        self._luck = rng.normal(size=NUM_DRAWS)

    def _unit(self, small: np.ndarray | float, large: np.ndarray | float) -> np.ndarray:
        """What a step's variance is in proportion to."""
        import numpy as np

        apart = 1 / np.asarray(small, dtype=float) - 1 / np.asarray(large, dtype=float)
        return np.sqrt(apart) if self._root else apart

    def _draw(
        self, sizes: np.ndarray, mean: np.ndarray, variance: np.ndarray, rng: np.random.Generator
    ) -> None:
        """Exponents, and how much the step from half the pairs to all of them brings, drawn."""
        import numpy as np

        exponents = np.array(EXPONENTS)
        half = self._fall(exponents, self._total / 2, self._total)
        x = self._fall(exponents, sizes[:-1, None], sizes[1:, None]) / half  # [K - 1, exponents]
        weight = 1 / variance[:, None]
        precision = (weight * x * x).sum(axis=0)
        slope = (weight * x * mean[:, None]).sum(axis=0) / precision
        missed = (weight * (mean[:, None] - slope * x) ** 2).sum(axis=0)
        positive = [
            0.5 * math.erfc(-b * math.sqrt(p / 2)) for b, p in zip(slope, precision, strict=True)
        ]
        log_weight = -0.5 * missed - 0.5 * np.log(precision)
        log_weight += np.log(np.maximum(positive, 1e-300))
        share = np.exp(log_weight - log_weight.max())
        which = rng.choice(len(exponents), size=NUM_DRAWS, p=share / share.sum())
        centre, spread = slope[which], 1 / np.sqrt(precision[which])
        drawn = centre + spread * rng.normal(size=NUM_DRAWS)
        for _ in range(100):  # more pairs do no harm on average
            wrong = drawn < 0
            if not wrong.any():
                break
            drawn[wrong] = centre[wrong] + spread[wrong] * rng.normal(size=int(wrong.sum()))
        self._exponents, self._slopes = exponents[which], np.maximum(drawn, 0.0) / half[which]

    @staticmethod
    def _fall(
        exponent: np.ndarray, small: np.ndarray | float, large: np.ndarray | float
    ) -> np.ndarray:
        import numpy as np

        fall: np.ndarray = np.asarray(small, dtype=float) ** -exponent
        return fall - np.asarray(large, dtype=float) ** -exponent

    def change(self, now: int, more: int) -> tuple[float, list[float]]:
        """What `more` further pairs are expected to change, and what a new fit shows, with 95 %."""
        import numpy as np

        mean = -self._slopes * self._fall(self._exponents, now, now + more)
        variance = self._scales * SPREAD[self._root] * self._unit(now, now + more)
        low, high = np.quantile(mean + np.sqrt(variance) * self._luck, [0.025, 0.975])
        return float(mean.mean()), [float(low), float(high)]
