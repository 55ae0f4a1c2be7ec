"""The convex problem behind every head, solved exactly: no learning rate, no seed.

    minimise over theta, t   sum_i w_i loss(x_i·theta - m_i; y_i, t) + ½ thetaᵀ (ridge I + Q) theta

with the loss of a link (rm_core.links: Bradley–Terry, or a model of ties with its threshold t), m a
target margin, Q the quadratic terms of an objective, and ridge = penalty * sum of the weights.

The curvature of such losses hardly changes over the values that rewards take, so one Cholesky
factor of the Hessian with an average curvature is nearly Newton's: a few quasi-Newton steps
(L-BFGS, Nocedal 1980) preconditioned by it end at a gradient of 1e-9, one pass over the rows each.
Factors may be in float32, since they only direct; objective and gradient are float64, so the
optimum is exact. Where progress is slow the factor is taken anew with the true curvatures, which is
Newton's method and cannot fail on a strictly convex problem.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from rm_core.errors import TrainingDataError
from rm_core.hessian import (
    Inverse,
    RowsInverse,
    dense_inverse,
    low_rank_inverse,
    prefers_low_rank,
)
from rm_core.links import Half, Link, sigmoid

if TYPE_CHECKING:
    import numpy as np

CALIBRATION_SPREAD = 0.5  # of log c, see calibration_scale
GRADIENT_TOLERANCE = 1e-9  # of the gradient at zero
_MAX_ROUNDS, _MAX_STEPS, _MEMORY = 25, 20, 10
_MIN_CURVATURE = 1e-6  # of the largest: RowsInverse divides by each
_PASS_ELEMENTS = 1 << 21  # rows are passed over in parts that stay in the processor's cache

OnStep = Callable[[int, "Optimum"], None]


@dataclass(frozen=True)
class Rows:
    """A fitting problem: n rows of d features.

    Attributes:
        features: float64 [n, d], differences a - b.
        target: float64 [n], wanted probability that a wins, a tie counting half.
        weight: float64 [n].
        group: int64 [n], which prompt a row belongs to.
        tie: float64 [n], share of ties; None for none.
        margin: float64 [n], by how much x·theta should lead 0, signed; None for none.
        first: int64 [B], where each pair's score-position row is, if it has several rows.
    """

    features: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    group: np.ndarray
    tie: np.ndarray | None = None
    margin: np.ndarray | None = None
    first: np.ndarray | None = None

    def take(self, chosen: np.ndarray) -> Rows:
        """The rows of a boolean mask or an index array."""
        return Rows(
            self.features[chosen],
            self.target[chosen],
            self.weight[chosen],
            self.group[chosen],
            None if self.tie is None else self.tie[chosen],
            None if self.margin is None else self.margin[chosen],
        )


@dataclass(frozen=True)
class Optimum:
    """A point of the problem: weights theta float64 [d], and the link's threshold."""

    theta: np.ndarray
    threshold: float = 0.0


class Problem:
    """Rows ready to be solved at any penalty.

    Args:
        scored: the rows that left-out logits are wanted for, of the same groups: one a pair, where
            the fitted rows are others (per token) or have a column that scoring lacks. None: the
            fitted ones.
        quadratic: Q, float64 [d, d].
    """

    def __init__(
        self,
        rows: Rows,
        link: Link | None = None,
        scored: Rows | None = None,
        quadratic: np.ndarray | None = None,
    ) -> None:
        import numpy as np

        self.rows = rows
        self.link = link or Half()
        self.scored = scored or rows
        self.quadratic = quadratic
        self.num = float(rows.weight.sum())
        self._tie = np.zeros_like(rows.target) if rows.tie is None else rows.tie
        mean_tie = float(rows.weight @ self._tie) / self.num
        self.zero = Optimum(np.zeros(rows.features.shape[1]), self.link.start(mean_tie))

    @cached_property
    def single(self) -> np.ndarray:
        """The features in float32, for factors and leverages."""
        import numpy as np

        return self.rows.features.astype(np.float32)

    @cached_property
    def _gram(self) -> np.ndarray:
        """XᵀWX, float32 [d, d]."""
        import numpy as np

        root = np.sqrt(self.rows.weight).astype(np.float32)[:, None]
        weighted = self.single * root
        return weighted.T @ weighted

    @cached_property
    def _kernel(self) -> np.ndarray:
        """XXᵀ, float32 [n, n]."""
        return self.single @ self.single.T

    @cached_property
    def _slope_at_zero(self) -> float:
        """The gradient's norm at zero, where no penalty has a part in it."""
        import numpy as np

        return float(np.linalg.norm(self.value(self.zero, 0.0)[1]))

    def _logits(self, theta: np.ndarray) -> np.ndarray:
        """x·theta less the target margin, float64 [n]."""
        z = self.rows.features @ theta
        return z if self.rows.margin is None else z - self.rows.margin

    def value(self, at: Optimum, ridge: float) -> tuple[float, np.ndarray]:
        """The objective and its gradient by (theta, threshold): float64 [d + 1]."""
        import numpy as np

        rows = self.rows
        width = len(at.theta)
        gradient = np.zeros(width + 1)
        step = max(_PASS_ELEMENTS // width, 64)
        total = 0.0
        for begin in range(0, len(rows.target), step):
            part = slice(begin, begin + step)
            x, weight = rows.features[part], rows.weight[part]
            z = x @ at.theta
            if rows.margin is not None:
                z -= rows.margin[part]
            slopes = self.link.slopes(z, rows.target[part], self._tie[part], at.threshold)
            total += float(weight @ slopes.loss)
            gradient[:width] += (weight * slopes.by_z) @ x
            gradient[width] += weight @ slopes.by_threshold
        pull = ridge * at.theta
        if self.quadratic is not None:
            pull = pull + self.quadratic @ at.theta
        gradient[:width] += pull
        return total + 0.5 * float(at.theta @ pull), gradient

    def loss(self, at: Optimum, penalty: float) -> float:
        """The objective at a point."""
        return self.value(at, penalty * self.num)[0]

    def curvature(self, at: Optimum) -> tuple[np.ndarray, float]:
        """Weighted second derivatives by z, float64 [n], and by the threshold, summed."""
        z = self._logits(at.theta)
        by_z, by_threshold = self.link.curvature(z, self.rows.target, self._tie, at.threshold)
        return self.rows.weight * by_z, float(self.rows.weight @ by_threshold)

    def residual(self, at: Optimum) -> np.ndarray:
        """Weighted first derivatives by z, float64 [n]."""
        slopes = self.link.slopes(self._logits(at.theta), self.rows.target, self._tie, at.threshold)
        return self.rows.weight * slopes.by_z

    def inverse(self, at: Optimum, ridge: float, exact: bool = True) -> Inverse:
        """H^-1 at a point; not exact: with the rows' mean curvature, from one Gram matrix."""
        import numpy as np

        curvature, _ = self.curvature(at)
        if self.quadratic is None and prefers_low_rank(*self.rows.features.shape):
            return low_rank_inverse(self.rows.features, curvature, ridge)
        if exact:
            weighted = self.single * np.sqrt(curvature).astype(np.float32)[:, None]
            hessian = weighted.T @ weighted
        else:
            hessian = self._gram * np.float32(curvature.sum() / self.num)
        if self.quadratic is not None:
            hessian = hessian + self.quadratic
        hessian[np.diag_indices(len(hessian))] += ridge
        return dense_inverse(hessian, ridge)

    def path_inverse(self, at: Optimum, ridge: float, exact: bool) -> Inverse | RowsInverse:
        """The same in the form that is cheapest for many penalties, and for leaving rows out."""
        curvature, _ = self.curvature(at)
        is_small = len(curvature) <= self.rows.features.shape[1]
        is_plain = self.quadratic is None and self.scored is self.rows
        if is_small and is_plain and curvature.min() > _MIN_CURVATURE * curvature.max():
            return RowsInverse.of(self.single, self._kernel, curvature, ridge)
        return self.inverse(at, ridge, exact)

    def solve(
        self,
        penalty: float,
        start: Optimum | None = None,
        on_step: OnStep | None = None,
        tolerance: float = GRADIENT_TOLERANCE,
        inverse: Inverse | RowsInverse | None = None,
    ) -> Optimum:
        """The optimum.

        Args:
            start: a warm start; zero without.
            on_step: called with (step, point), step 0 being the start.
            tolerance: of the gradient's norm, as a share of what it is at zero.
            inverse: an approximate H^-1 to begin with; made here without.

        Raises:
            TrainingDataError: no optimum is found (features that are not finite).
        """
        ridge = penalty * self.num
        at = start or self.zero
        goal = tolerance * max(self._slope_at_zero, 1e-4 * self.num**0.5)
        search = _Search(self, ridge, goal, on_step)
        search.begin(at)
        for _ in range(_MAX_ROUNDS):
            at = search.run(inverse or self.inverse(at, ridge, exact=search.num_rounds > 0))
            inverse = None
            if search.done:
                return at
        raise TrainingDataError(
            f"The fit at penalty {penalty:g} ends with a gradient of {search.size:.2g} where "
            f"{goal:.2g} was wanted: the features may hold values that are not finite or far too "
            "large; encode the answers again, or set a larger penalty."
        )


class _Search:
    """Preconditioned L-BFGS, in rounds of one preconditioner each."""

    def __init__(self, problem: Problem, ridge: float, goal: float, on_step: OnStep | None) -> None:
        self._problem, self._ridge, self._goal, self._on_step = problem, ridge, goal, on_step
        self.num_rounds = self._num_steps = 0

    def begin(self, at: Optimum) -> None:
        """Stand at a point."""
        self._at = at
        self._value, self._gradient = self._problem.value(at, self._ridge)
        if self._on_step is not None:
            self._on_step(0, at)

    @property
    def size(self) -> float:
        """The gradient's norm."""
        import numpy as np

        return float(np.linalg.norm(self._gradient))

    @property
    def done(self) -> bool:
        """Whether the gradient is small enough."""
        return self.size <= self._goal

    def run(self, inverse: Inverse | RowsInverse) -> Optimum:
        """Go on with this preconditioner until done or until progress is slow."""
        import numpy as np

        self.num_rounds += 1
        _, threshold_curvature = self._problem.curvature(self._at)
        past: deque[tuple[np.ndarray, np.ndarray, float]] = deque(maxlen=_MEMORY)

        def precondition(gradient: np.ndarray) -> np.ndarray:
            last = gradient[-1] / threshold_curvature if threshold_curvature > 0 else 0.0
            return np.append(inverse.solve(gradient[:-1]), last)

        for _ in range(_MAX_STEPS):
            if self.done:
                break
            move = -_two_loops(self._gradient, past, precondition)
            if not self._step(move, past):
                break
        return self._at

    def _step(self, move: np.ndarray, past: deque[tuple[np.ndarray, np.ndarray, float]]) -> bool:
        """Move, halving until the objective falls enough (Armijo); False where it does not."""
        slope, length = float(self._gradient @ move), 1.0
        slack = 1e-13 * abs(self._value)
        while length > 1e-8:
            to = Optimum(
                self._at.theta + length * move[:-1], self._at.threshold + length * move[-1]
            )
            value, gradient = self._problem.value(to, self._ridge)
            if value <= self._value + 1e-4 * length * slope + slack:
                difference = gradient - self._gradient
                product = float(difference @ move) * length
                if product > 0:
                    past.append((length * move, difference, product))
                self._at, self._value, self._gradient = to, value, gradient
                self._num_steps += 1
                if self._on_step is not None:
                    self._on_step(self._num_steps, to)
                return True
            length /= 2
        return False


def _two_loops(
    gradient: np.ndarray,
    past: deque[tuple[np.ndarray, np.ndarray, float]],
    precondition: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """L-BFGS's product of the inverse Hessian and the gradient."""
    direction = gradient.copy()
    shares = []
    for move, difference, product in reversed(past):
        share = float(move @ direction) / product
        shares.append(share)
        direction -= share * difference
    direction = precondition(direction)
    for (move, difference, product), share in zip(past, reversed(shares), strict=True):
        direction += (share - float(difference @ direction) / product) * move
    return direction


def calibration_scale(logits: np.ndarray, target: np.ndarray, weight: np.ndarray) -> float:
    """The factor c > 0 that makes sigma(c * logits) fit the targets best.

    Taken on left-out logits it costs no extra split. log c has a prior, normal around 0 with
    CALIBRATION_SPREAD: a few dozen pairs hardly say what it is (docs/decisions/0014), and 1 is
    what a fit that is right needs. Gauss-Newton in log c.
    """
    import numpy as np

    log_c = 0.0
    for _ in range(100):
        c = float(np.exp(log_c))
        p = sigmoid(c * logits)
        slope = c * float(weight @ ((p - target) * logits)) + log_c / CALIBRATION_SPREAD**2
        curvature = c**2 * float(weight @ (p * (1 - p) * logits**2)) + CALIBRATION_SPREAD**-2
        step = min(max(slope / curvature, -0.5), 0.5)
        log_c -= step
        if abs(step) < 1e-10:
            break
    return float(np.exp(log_c))


def mean_log_loss(logits: np.ndarray, target: np.ndarray, weight: np.ndarray) -> float:
    """Weighted mean of log(1 + e^s) - y s, in nats; ln 2 at logits of zero."""
    import numpy as np

    return float(weight @ (np.logaddexp(0.0, logits) - target * logits) / weight.sum())
