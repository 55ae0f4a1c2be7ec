"""How a head's figures grow with the number of judged pairs, and what more of them would bring.

    curve = learning_curve(pairs, features, recipe, test=(heldout, heldout_features))
    curve["gains"][0]      # {"more": 200, "accuracy": .., "accuracy_ci": [..], ...}

Heads are fitted on nested random subsets of whole prompts, each with a penalty of its own, and
judged on the same unseen pairs. A power law a + b n^-c (c and a not below 0) goes through the mean
losses and another through the mean error rates; what lies ahead is the law's difference, and its
interval comes from fitting the laws again to resampled orders and resampled test prompts. That
covers the luck of the draw; that the law goes on beyond what was seen is an assumption.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rm_core.comparison import correct
from rm_core.errors import Stopped, TrainingDataError
from rm_core.fitting import Fit, PairFeatures, Recipe
from rm_core.pairs import PreferencePair
from rm_core.solver import calibration_scale

if TYPE_CHECKING:
    import numpy as np

SHARES = (0.125, 0.18, 0.25, 0.35, 0.5, 0.71, 1.0)
MIN_PAIRS = 40
MIN_PROMPTS = 10
MIN_SUBSET = 10
NUM_ORDERS = 6
NUM_BOOTSTRAP = 400
MORE = (50, 100, 200, 500, 1000)
# Candidate exponents of the power law.
_EXPONENTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 1.0, 1.25, 1.5, 2.0)

Test = tuple[Sequence[PreferencePair], PairFeatures]


@dataclass
class _Order:
    """One random order of prompts: row numbers [N] and the test pairs of it."""

    rows: np.ndarray
    ends: list[int]  # how many of the rows each size takes
    test: Test


def learning_curve(
    pairs: Sequence[PreferencePair],
    features: PairFeatures,
    recipe: Recipe,
    test: Test | None = None,
    *,
    seed: int = 0,
    budget_s: float = 30.0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Points, laws and gains.

    Args:
        pairs, features: what may be fitted, in the same order.
        test: unseen pairs; without, a quarter of the prompts is set aside in each order, another
            quarter each time.
        budget_s: no further order is begun after this time; two are always made.

    Returns:
        JSON-able: `points` of {"pairs", "accuracy", "log_loss", "*_ci"}, `gains` of
        {"more", "accuracy", "accuracy_ci", "log_loss", "log_loss_ci"}, how it was made.

    Raises:
        TrainingDataError: too few pairs or prompts.
        Stopped: `should_stop` said so.
    """
    import numpy as np

    num_prompts = len({p.group for p in pairs})
    if len(pairs) < MIN_PAIRS or num_prompts < MIN_PROMPTS:
        raise TrainingDataError(
            f"A learning curve needs at least {MIN_PAIRS} judged pairs of {MIN_PROMPTS} prompts, "
            f"and there are {len(pairs)} of {num_prompts}; judge more pairs first."
        )
    begin = time.monotonic()
    orders: list[_Order] = []
    errors: list[list[np.ndarray]] = []  # [order][size] -> 1 - correct, of the test pairs
    losses: list[list[np.ndarray]] = []
    whole: tuple[np.ndarray, np.ndarray] | None = None
    for number in range(NUM_ORDERS):
        if number >= 2 and time.monotonic() - begin > budget_s:
            break
        order = _order(pairs, features, test, np.random.default_rng([seed, number]))
        errors.append([])
        losses.append([])
        orders.append(order)
        for size, end in enumerate(order.ends):
            if should_stop():
                raise Stopped("The learning curve was stopped.")
            is_whole = end == len(pairs)  # whatever the order: fitted once
            judged = whole if is_whole and whole is not None else None
            judged = judged or _fit_and_judge(pairs, features, recipe, order, end)
            whole = judged if is_whole else whole
            errors[-1].append(judged[0])
            losses[-1].append(judged[1])
            on_progress(number * len(order.ends) + size + 1, NUM_ORDERS * len(order.ends))
    sizes = np.mean([order.ends for order in orders], axis=0)
    groups = [np.array([p.group for p in order.test[0]]) for order in orders]
    error = _Curve(sizes, errors, groups, seed)
    log_loss = _Curve(sizes, losses, groups, seed)
    return {
        "points": _points(error, log_loss),
        "gains": [_gain(len(pairs), more, error, log_loss) for more in MORE],
        "pairs": len(pairs),
        "test_pairs": len(orders[0].test[0]),
        "test": "heldout" if test is not None else "set aside",
        "orders": len(orders),
        "elapsed_s": time.monotonic() - begin,
    }


def _order(
    pairs: Sequence[PreferencePair],
    features: PairFeatures,
    test: Test | None,
    rng: np.random.Generator,
) -> _Order:
    """Rows by a random order of their prompts, so that a shorter beginning is nested in a longer.

    The subsets end at whole prompts where that costs little; a prompt that straddles an end is cut.
    """
    import numpy as np

    _, group = np.unique(np.array([p.group for p in pairs]), return_inverse=True)
    rank = rng.permutation(group.max() + 1)
    rows = np.argsort(rank[group], kind="stable")
    if test is None:
        first_out = int((rank.max() + 1) * 0.75)
        out = rows[rank[group[rows]] >= first_out]
        rows = rows[rank[group[rows]] < first_out]
        test = ([pairs[int(i)] for i in out], features.take(out))
    ends = sorted({max(MIN_SUBSET, round(share * len(rows))) for share in SHARES})
    return _Order(rows, ends, test)


def _fit_and_judge(
    pairs: Sequence[PreferencePair],
    features: PairFeatures,
    recipe: Recipe,
    order: _Order,
    end: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Error (0, ½, 1; nan where people tied) and log loss of every test pair."""
    import numpy as np

    target = np.array([p.target for p in order.test[0]])
    some = order.rows[:end]
    chosen = [pairs[int(i)] for i in some]
    logits = np.zeros(len(target))
    # A few pairs may all be ties, or of one prompt: such a head says nothing.
    if len({p.group for p in chosen}) >= 2 and any(p.target != 0.5 for p in chosen):
        fit = Fit.of(chosen, features.take(some), recipe)
        choice = fit.choose()
        scale = calibration_scale(choice.left_out, fit.outcome.target, fit.outcome.weight)
        logits = scale * order.test[1].margins(fit.refit(choice.penalty))
    wrong = np.where(target == 0.5, np.nan, 1 - correct(logits, target))
    return wrong, np.logaddexp(0.0, logits) - target * logits


class _Curve:
    """One figure by size: its mean, and what resampled orders and test prompts make of it.

    Attributes:
        mean: float64 [sizes].
        draws: float64 [NUM_BOOTSTRAP, sizes].
    """

    def __init__(
        self,
        sizes: np.ndarray,
        values: list[list[np.ndarray]],
        groups: list[np.ndarray],
        seed: int,
    ) -> None:
        import numpy as np

        self.sizes = sizes
        totals, counts = [], []  # of each order: [sizes, prompts] and [prompts]
        for by_size, names in zip(values, groups, strict=True):
            _, number = np.unique(names, return_inverse=True)
            there = ~np.isnan(by_size[0])
            counts.append(np.bincount(number, weights=there.astype(float)))
            totals.append(
                np.array([np.bincount(number, weights=np.where(there, v, 0.0)) for v in by_size])
            )
        shared = all(np.array_equal(g, groups[0]) for g in groups)
        self.mean = np.mean(
            [t.sum(axis=1) / max(c.sum(), 1.0) for t, c in zip(totals, counts, strict=True)], axis=0
        )
        rng = np.random.default_rng(seed)
        draws = []
        for _ in range(NUM_BOOTSTRAP):
            which = rng.integers(0, len(counts[0]), size=len(counts[0]))
            rows = []
            for order in rng.integers(0, len(totals), size=len(totals)):
                if not shared:
                    which = rng.integers(0, len(counts[order]), size=len(counts[order]))
                many = np.bincount(which, minlength=len(counts[order]))
                rows.append(totals[order] @ many / max(counts[order] @ many, 1.0))
            draws.append(np.mean(rows, axis=0))
        self.draws = np.array(draws)
        self._law = power_law(sizes, self.mean)
        self._laws = [power_law(sizes, draw) for draw in draws]

    def interval(self) -> np.ndarray:
        """95 % of the mean at every size, float64 [sizes, 2]."""
        import numpy as np

        return np.quantile(self.draws, [0.025, 0.975], axis=0).T

    def change(self, now: int, more: int) -> tuple[float, list[float]]:
        """What the laws say happens from `now` pairs to `more` further ones, with 95 %."""
        import numpy as np

        def ahead(law: tuple[float, float, float]) -> float:
            _, slope, exponent = law
            return slope * ((now + more) ** -exponent - now**-exponent)

        low, high = np.quantile([ahead(law) for law in self._laws], [0.025, 0.975])
        return float(ahead(self._law)), [float(low), float(high)]


def _points(error: _Curve, log_loss: _Curve) -> list[dict[str, Any]]:
    wrong, loss = error.interval(), log_loss.interval()
    return [
        {
            "pairs": round(float(size)),
            "accuracy": float(1 - error.mean[i]),
            "accuracy_ci": [float(1 - wrong[i, 1]), float(1 - wrong[i, 0])],
            "log_loss": float(log_loss.mean[i]),
            "log_loss_ci": [float(loss[i, 0]), float(loss[i, 1])],
        }
        for i, size in enumerate(error.sizes)
    ]


def _gain(now: int, more: int, error: _Curve, log_loss: _Curve) -> dict[str, Any]:
    """What `more` further pairs bring: accuracy gained, and the change in log loss."""
    fewer_errors, (low, high) = error.change(now, more)
    loss, loss_interval = log_loss.change(now, more)
    return {
        "more": more,
        "accuracy": -fewer_errors,
        "accuracy_ci": [-high, -low],
        "log_loss": loss,
        "log_loss_ci": loss_interval,
    }


def power_law(sizes: np.ndarray, values: np.ndarray) -> tuple[float, float, float]:
    """(a, b, c) of a + b n^-c by least squares, with a not below 0; b may have either sign.

    A curve that rises gets a negative b: more pairs are then said to do harm, as was seen.
    """

    best: tuple[float, float, float, float] | None = None
    for exponent in _EXPONENTS:
        x = sizes**-exponent
        centred = x - x.mean()
        slope = float(centred @ values / max(centred @ centred, 1e-300))
        level = float(values.mean() - slope * x.mean())
        if level < 0:  # the law may not promise less than no error
            level, slope = 0.0, float(x @ values / (x @ x))
        residual = values - level - slope * x
        missed = float(residual @ residual)
        if best is None or missed < best[0]:
            best = (missed, level, slope, exponent)
    assert best is not None
    return best[1:]
