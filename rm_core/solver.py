"""The convex problem behind every head, solved exactly: no learning rate, no seed.

    minimise over theta   sum_i omega_i * loss(x_i·theta, y_i)  +  (penalty * n / 2) |theta|²

with loss(s, y) = log(1 + e^s) - y s (Bradley–Terry with soft targets y in [0, 1]) and n the sum of
the weights omega. The rows are rotated once into the eigenbasis of their Gram matrix (of the
smaller side: rows or columns); there the Hessian is close to diagonal, so Newton's steps are
solved by a few preconditioned conjugate-gradient steps of two matrix-vector products each, and a
whole path of penalties costs little more than one solution.

The penalty is chosen by approximate leave-one-out: what would each prompt's pairs have been given
by the optimum without them, after one Newton step from the full optimum (Rad & Maleki 2020,
arXiv 1801.10243; Giordano et al. 2019, arXiv 1806.00550, for leaving groups out).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

# From strong to weak; features have unit scale, so these are in units of information a pair.
PENALTIES = (30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
_MAX_NEWTON = 50
_MAX_CG = 60
_GRADIENT_TOLERANCE = 1e-9  # of the gradient at zero


@dataclass(frozen=True)
class Rows:
    """A fitting problem: N rows of d features.

    Attributes:
        features: float64 [N, d], differences a - b.
        target: float64 [N], wanted probability that a wins.
        weight: float64 [N].
        group: int64 [N], which prompt a row belongs to.
    """

    features: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    group: np.ndarray

    def take(self, chosen: np.ndarray) -> Rows:
        """The rows of a boolean mask or an index array."""
        return Rows(
            self.features[chosen], self.target[chosen], self.weight[chosen], self.group[chosen]
        )


class Problem:
    """Rows rotated into their eigenbasis, ready to be solved at any penalty.

    `theta` is in the given features' coordinates, `phi` [r] in the rotated ones.
    """

    def __init__(self, rows: Rows) -> None:
        import numpy as np

        self.rows = rows
        self.num = float(rows.weight.sum())
        x = rows.features
        scale = np.sqrt(rows.weight)[:, None]
        if x.shape[0] >= x.shape[1]:
            spread, basis = np.linalg.eigh((x * scale).T @ (x * scale))
            kept = spread > max(spread[-1], 1e-300) * 1e-12
            self.spread, self.basis = spread[kept], basis[:, kept]
        else:
            spread, left = np.linalg.eigh((x * scale) @ (x * scale).T)
            kept = spread > max(spread[-1], 1e-300) * 1e-12
            self.spread = spread[kept]
            self.basis = (x * scale).T @ (left[:, kept] / np.sqrt(spread[kept]))
        self.rotated = x @ self.basis  # [N, r]

    def theta(self, phi: np.ndarray) -> np.ndarray:
        """Back to the given features' coordinates: float64 [d]."""
        return self.basis @ phi

    def loss(self, phi: np.ndarray, penalty: float) -> float:
        """The objective at `phi`."""
        import numpy as np

        z = self.rotated @ phi
        data = self.rows.weight @ (np.logaddexp(0.0, z) - self.rows.target * z)
        return float(data + 0.5 * penalty * self.num * (phi @ phi))

    def solve(
        self,
        penalty: float,
        start: np.ndarray | None = None,
        on_step: Callable[[int, np.ndarray], None] | None = None,
    ) -> np.ndarray:
        """The optimum `phi`, float64 [r], by Newton's method with exact line safeguards.

        Args:
            start: a warm start; zeros without.
            on_step: called with (step, phi), step 0 being the start.
        """
        import numpy as np

        phi = np.zeros(len(self.spread)) if start is None else start.copy()
        ridge = penalty * self.num
        at_zero = self.rotated.T @ (self.rows.weight * (0.5 - self.rows.target))
        goal = _GRADIENT_TOLERANCE * max(float(np.linalg.norm(at_zero)), 1e-300)
        if on_step is not None:
            on_step(0, phi)
        for step in range(1, _MAX_NEWTON + 1):
            p = sigmoid(self.rotated @ phi)
            gradient = self.rotated.T @ (self.rows.weight * (p - self.rows.target)) + ridge * phi
            if np.linalg.norm(gradient) <= goal:
                break
            move = self._newton_direction(gradient, self.rows.weight * p * (1 - p), ridge)
            phi = phi + self._step_length(phi, move, gradient, penalty) * move
            if on_step is not None:
                on_step(step, phi)
        return phi

    def _newton_direction(
        self, gradient: np.ndarray, curvature: np.ndarray, ridge: float
    ) -> np.ndarray:
        """-H^-1 g by conjugate gradients; the Gram eigenvalues make the preconditioner."""
        import numpy as np

        mean_curvature = curvature.sum() / self.num
        inverse = 1.0 / (mean_curvature * self.spread + ridge)
        x = np.zeros_like(gradient)
        residual = -gradient
        z = inverse * residual
        direction = z.copy()
        rz = residual @ z
        goal = 1e-6 * np.linalg.norm(gradient)
        for _ in range(_MAX_CG):
            product = self.rotated.T @ (curvature * (self.rotated @ direction)) + ridge * direction
            alpha = rz / (direction @ product)
            x += alpha * direction
            residual = residual - alpha * product
            if np.linalg.norm(residual) <= goal:
                break
            z = inverse * residual
            previous, rz = rz, residual @ z
            direction = z + (rz / previous) * direction
        return x

    def _step_length(
        self, phi: np.ndarray, move: np.ndarray, gradient: np.ndarray, penalty: float
    ) -> float:
        """1 nearly always; halved while the objective does not fall enough (Armijo)."""
        before, slope, length = self.loss(phi, penalty), float(gradient @ move), 1.0
        slack = 1e-12 * abs(before)
        while length > 1e-6:
            if self.loss(phi + length * move, penalty) <= before + 1e-4 * length * slope + slack:
                break
            length /= 2
        return length

    def left_out_logits(self, phi: np.ndarray, penalty: float, exact: bool = True) -> np.ndarray:
        """Approximate leave-one-prompt-out logits, float64 [N].

        For a group g with rows Z_g, Hessian H and leverage A = Z_g H^-1 Z_gᵀ:
        z_g + (I - A W_g)^-1 A (p_g - y_g), weights omega inside W and the residual.

        Args:
            exact: with the true Hessian; else with its diagonal approximation in the eigenbasis,
                cheap enough for a whole path.
        """
        import numpy as np

        z = self.rotated @ phi
        p = sigmoid(z)
        curvature = self.rows.weight * p * (1 - p)
        residual = self.rows.weight * (p - self.rows.target)
        ridge = penalty * self.num
        if exact:
            hessian = (self.rotated * curvature[:, None]).T @ self.rotated
            hessian[np.diag_indices_from(hessian)] += ridge
            solved = np.linalg.solve(hessian, self.rotated.T).T
        else:
            solved = self.rotated / (curvature.sum() / self.num * self.spread + ridge)
        left_out = z.copy()
        for members in _groups_by_size(self.rows.group):
            rows, towards = self.rotated[members], solved[members]  # [G, m, r]
            leverage = rows @ towards.transpose(0, 2, 1)  # [G, m, m]
            lhs = np.eye(members.shape[1]) - leverage * curvature[members][:, None, :]
            rhs = leverage @ residual[members][:, :, None]
            left_out[members] += np.linalg.solve(lhs, rhs)[:, :, 0]
        return left_out


def _groups_by_size(group: np.ndarray) -> list[np.ndarray]:
    """Row indices of all groups, those of one size stacked: a list of int64 [G, m]."""
    import numpy as np

    order = np.argsort(group, kind="stable")
    _, starts, counts = np.unique(group[order], return_index=True, return_counts=True)
    return [order[starts[counts == size][:, None] + np.arange(size)] for size in np.unique(counts)]


@dataclass(frozen=True)
class PenaltyChoice:
    """The penalty that predicts prompts best that it has not seen.

    Attributes:
        penalty: the chosen one.
        phi: the optimum there.
        left_out: float64 [N], the logits that each row gets without its prompt.
        log_loss: their mean loss.
        path: (penalty, mean left-out log loss) of every penalty tried.
    """

    penalty: float
    phi: np.ndarray
    left_out: np.ndarray
    log_loss: float
    path: list[tuple[float, float]]


def choose_penalty(problem: Problem, penalties: Sequence[float] = PENALTIES) -> PenaltyChoice:
    """Walk the penalties from strong to weak and keep the best by approximate leave-one-out.

    The walk stops when the left-out loss has risen twice in a row: weaker penalties only fit more
    closely. The figures of the winner are then taken with the true Hessian.
    """
    best: tuple[float, float, np.ndarray] | None = None
    path: list[tuple[float, float]] = []
    phi = None
    rises = 0
    for penalty in sorted(penalties, reverse=True):
        phi = problem.solve(penalty, start=phi)
        logits = problem.left_out_logits(phi, penalty, exact=False)
        loss = mean_log_loss(logits, problem.rows.target, problem.rows.weight)
        path.append((penalty, loss))
        if best is None or loss < best[0]:
            best, rises = (loss, penalty, phi), 0
        else:
            rises += 1
            if rises == 2:
                break
    assert best is not None
    _, penalty, phi = best
    left_out = problem.left_out_logits(phi, penalty)
    loss = mean_log_loss(left_out, problem.rows.target, problem.rows.weight)
    return PenaltyChoice(penalty, phi, left_out, loss, path)


def calibration_scale(logits: np.ndarray, target: np.ndarray, weight: np.ndarray) -> float:
    """The factor c > 0 that makes sigma(c * logits) fit the targets best (one-parameter Newton).

    Taken on left-out logits it costs no extra split. 1.0 where the logits say nothing.
    """
    import numpy as np

    c = 1.0
    for _ in range(50):
        p = sigmoid(c * logits)
        gradient = weight @ ((p - target) * logits)
        curvature = weight @ (p * (1 - p) * logits**2)
        if curvature <= 1e-12:
            return 1.0
        step = float(np.clip(gradient / curvature, -0.5, 0.5))
        c = min(max(c - step, 0.02), 20.0)
        if abs(step) < 1e-10:
            break
    return c


def mean_log_loss(logits: np.ndarray, target: np.ndarray, weight: np.ndarray) -> float:
    """Weighted mean of log(1 + e^s) - y s, in nats; ln 2 at logits of zero."""
    import numpy as np

    return float(weight @ (np.logaddexp(0.0, logits) - target * logits) / weight.sum())


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-x) without overflow."""
    import numpy as np

    return np.exp(-np.logaddexp(0.0, -x))
