"""How a head's figures grow with the number of judged pairs, and what more of them would bring.

    curve = learning_curve(pairs, features, recipe, test=(heldout, heldout_features))
    curve["gains"][0]      # {"more": 200, "accuracy": .., "accuracy_ci": [..], ...}

Heads are fitted on nested random subsets of whole prompts, each with a penalty of its own, and
judged on the same unseen pairs. Every second order is the one before it from its end, so that
their halves share no prompt. What lies ahead is told by a law through the subsets
(rm_core.learning_law), not through the head on all pairs: that is one fit, which every order ends
at, and its luck would pass for certainty. A point's interval covers the draw of the pairs judged
and of the unseen ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rm_core.comparison import correct
from rm_core.errors import Stopped, TrainingDataError
from rm_core.fitting import Fit, PairFeatures, Recipe
from rm_core.learning_law import Law
from rm_core.pairs import PreferencePair
from rm_core.solver import calibration_scale

if TYPE_CHECKING:
    import numpy as np

SHARES = (0.125, 0.18, 0.25, 0.35, 0.5, 0.71, 1.0)
MIN_PAIRS = 40
MIN_PROMPTS = 10
MIN_SUBSET = 10
NUM_ORDERS = 10
MIN_ORDERS = 4
NUM_BOOTSTRAP = 400
MORE = (50, 100, 200, 500, 1000)
# Nothing is said beyond so many times the pairs there are: so far the backtest goes.
FARTHEST = 3

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
    more: Sequence[int] = MORE,
    budget_s: float = 20.0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Points, laws and gains.

    Args:
        pairs, features: what may be fitted, in the same order.
        test: unseen pairs; without, a quarter of the prompts is set aside in each order, another
            quarter each time.
        more: further pairs that are asked about; those beyond FARTHEST times the pairs are not.
        budget_s: no further order is begun after this time; MIN_ORDERS are always made.

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
        if number >= MIN_ORDERS and time.monotonic() - begin > budget_s:
            break
        rng = np.random.default_rng([seed, number // 2])
        order = _order(pairs, features, test, rng, is_reversed=number % 2 == 1)
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
    error, log_loss = (_Curve(sizes, each, groups, seed) for each in (errors, losses))
    laws = [
        curve.law(len(pairs), root=root, ends_in_one=whole is not None, seed=seed)
        for curve, root in ((error, True), (log_loss, False))
    ]
    asked = [each for each in more if each <= (FARTHEST - 1) * len(pairs)]
    return {
        "points": _points(error, log_loss),
        "gains": [_gain(len(pairs), each, *laws) for each in asked],
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
    *,
    is_reversed: bool = False,
) -> _Order:
    """Rows by a random order of their prompts, so that a shorter beginning is nested in a longer.

    The subsets end at whole prompts where that costs little; a prompt that straddles an end is cut.
    """
    import numpy as np

    _, group = np.unique(np.array([p.group for p in pairs]), return_inverse=True)
    rank = rng.permutation(group.max() + 1)
    if is_reversed:
        rank = rank.max() - rank
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
    """One figure by size.

    Attributes:
        by_order: float64 [orders, sizes], mean over the test pairs.
        mean: float64 [sizes].
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
        self.by_order = np.array([[_mean(v) for v in by_size] for by_size in values])
        self.mean = self.by_order.mean(axis=0)
        rng = np.random.default_rng(seed)
        self._of_tests = np.mean(
            [
                [_variance_by_prompt(v, names, rng) for v in by_size]
                for by_size, names in zip(values, groups, strict=True)
            ],
            axis=0,
        )

    def law(self, total: int, *, root: bool, ends_in_one: bool, seed: int) -> Law:
        """What the subsets say of larger ones; without the size that is one fit for all orders."""
        end = -1 if ends_in_one else None
        return Law(self.sizes[:end], self.by_order[:, :end], total, root=root, seed=seed)

    def interval(self) -> np.ndarray:
        """95 % of a head's figure at every size, float64 [sizes, 2].

        One draw's variance goes with 1/k. Subsets of k out of n differ by 1 - k/n of it, so it is
        taken from sizes up to the half and holds for all pairs too, where there is one fit only.
        """
        import numpy as np

        small = self.sizes <= 0.51 * self.sizes[-1]
        k = self.sizes[small]
        seen = self.by_order[:, small].var(axis=0, ddof=1)
        of_draws = float((seen * k / (1 - k / self.sizes[-1])).mean()) / self.sizes
        half = 1.96 * np.sqrt(of_draws + self._of_tests)
        return np.stack([self.mean - half, self.mean + half], axis=1)


def _mean(values: np.ndarray) -> float:
    import numpy as np

    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else 0.0


def _variance_by_prompt(values: np.ndarray, names: np.ndarray, rng: np.random.Generator) -> float:
    """Of the mean, by drawing test prompts anew."""
    import numpy as np

    there = ~np.isnan(values)
    _, group = np.unique(names[there], return_inverse=True)
    if not len(group):
        return 0.0
    count = np.bincount(group).astype(float)
    total = np.bincount(group, weights=values[there])
    drawn = rng.multinomial(len(count), np.full(len(count), 1 / len(count)), NUM_BOOTSTRAP)
    return float(np.var((drawn @ total) / (drawn @ count)))


def _points(error: _Curve, log_loss: _Curve) -> list[dict[str, Any]]:
    wrong, loss = error.interval(), log_loss.interval()
    return [
        {
            "pairs": round(float(size)),
            "accuracy": float(1 - error.mean[i]),
            "accuracy_ci": [max(0.0, 1 - float(wrong[i, 1])), min(1.0, 1 - float(wrong[i, 0]))],
            "log_loss": float(log_loss.mean[i]),
            "log_loss_ci": [float(loss[i, 0]), float(loss[i, 1])],
        }
        for i, size in enumerate(error.sizes)
    ]


def _gain(now: int, more: int, error: Law, log_loss: Law) -> dict[str, Any]:
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
