"""What a head would have said of each prompt without having seen it, and the penalty that follows.

For every prompt: its pairs' logits at the optimum without them, after one Newton step from the full
optimum (Rad & Maleki 2020, arXiv 1801.10243; Giordano et al. 2019, arXiv 1806.00550, for leaving
groups out). No validation data is spent, every vote trains.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rm_core.hessian import Inverse, RowsInverse
from rm_core.solver import Optimum, Problem, Rows

if TYPE_CHECKING:
    import numpy as np

# From strong to weak; features have unit scale, so these are in units of information a pair.
PENALTIES = (30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
_PATH_TOLERANCE = 1e-4  # enough to compare penalties
_PATH_ROWS = 4096  # along the path about so many rows are looked at ...
_PATH_PROMPTS = 200  # ... of at least so many prompts: rows of one prompt say much the same


def left_out_logits(
    problem: Problem,
    at: Optimum,
    penalty: float,
    inverse: Inverse | RowsInverse | None = None,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """Approximate leave-one-prompt-out logits of the scored rows, float64 [N].

    With rows Z of a prompt, curvatures C and slopes r, all weighted, and its scored rows X:
    X·theta + X H^-1 Zᵀ (I - C Z H^-1 Zᵀ)^-1 r. The threshold is held: all rows share it.

    Args:
        inverse: of the Hessian; the exact one without.
        groups: only these prompts; other rows keep x·theta.
    """
    inverse = inverse or problem.inverse(at, penalty * problem.num)
    rows, scored = problem.rows, problem.scored
    curvature, _ = problem.curvature(at)
    residual = problem.residual(at)
    left_out = scored.features @ at.theta
    for members, judged in _blocks(rows.group, scored.group, groups):
        if isinstance(inverse, RowsInverse):
            leverage = inverse.within(members)
            left_out[judged] += _moved(leverage, leverage, curvature[members], residual[members])
            continue
        own, theirs = _features(problem, rows, members, inverse), None
        if scored is not rows:
            theirs = _features(problem, scored, judged, inverse)
        left_out[judged] += _without(
            inverse, own, theirs or own, curvature[members], residual[members]
        )
    return left_out


def _features(
    problem: Problem, rows: Rows, members: np.ndarray, inverse: Inverse
) -> tuple[np.ndarray, np.ndarray]:
    """Features [G, m, d] and their images [G, m, r] in the inverse's precision."""
    kind = inverse.factor.dtype
    source = problem.single if rows is problem.rows and kind == "float32" else rows.features
    x = source[members.ravel()].astype(kind, copy=False)
    shape = (*members.shape, -1)
    return x.reshape(shape), inverse.images(x).reshape(shape)


def _without(
    inverse: Inverse,
    own: tuple[np.ndarray, np.ndarray],
    theirs: tuple[np.ndarray, np.ndarray],
    curvature: np.ndarray,
    residual: np.ndarray,
) -> np.ndarray:
    """What leaving prompts out changes in their logits: [G, m] rows fitted, [G, s] rows scored."""
    import numpy as np

    x, image = own
    if x.shape[1] == 1 and theirs is own:
        leverage = inverse.spread(x[:, 0], image[:, 0])[:, None]
        return leverage * residual / np.maximum(1 - curvature * leverage, 1e-6)
    leverage = inverse.inner(x, image, x, image)  # [G, m, m]
    towards = leverage if theirs is own else inverse.inner(*theirs, x, image)
    return _moved(leverage, towards, curvature, residual)


def _moved(
    leverage: np.ndarray, towards: np.ndarray, curvature: np.ndarray, residual: np.ndarray
) -> np.ndarray:
    """[G, s] from leverages Z H^-1 Zᵀ [G, m, m] and X H^-1 Zᵀ [G, s, m]."""
    import numpy as np

    lhs = np.eye(leverage.shape[1]) - curvature[:, :, None] * leverage
    return (towards @ np.linalg.solve(lhs, residual[:, :, None]))[:, :, 0]


def _blocks(
    group: np.ndarray, scored: np.ndarray, wanted: np.ndarray | None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Row indices of prompts of one shape stacked: fitted int64 [G, m] and scored [G, s].

    A block has at most as many rows as keep its features small, whole prompts though.
    """
    import numpy as np

    names, starts, counts = _runs(group)
    scored_names, scored_starts, scored_counts = _runs(scored)
    order, scored_order = np.argsort(group, kind="stable"), np.argsort(scored, kind="stable")
    where = np.searchsorted(names, scored_names)
    starts, counts = starts[where], counts[where]
    keep = np.ones(len(where), dtype=bool) if wanted is None else np.isin(scored_names, wanted)
    blocks = []
    shapes = np.stack([counts, scored_counts], axis=1)
    for m, s in np.unique(shapes[keep], axis=0):
        alike = np.flatnonzero(keep & (counts == m) & (scored_counts == s))
        size = max(_PATH_ROWS // int(m), 1)
        for begin in range(0, len(alike), size):
            part = alike[begin : begin + size]
            fitted = order[starts[part][:, None] + np.arange(m)]
            blocks.append((fitted, scored_order[scored_starts[part][:, None] + np.arange(s)]))
    return blocks


def _runs(group: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Names, first positions and lengths of the groups in sorted order."""
    import numpy as np

    return np.unique(np.sort(group), return_index=True, return_counts=True)


@dataclass(frozen=True)
class PenaltyChoice:
    """The penalty that predicts prompts best that it has not seen.

    Attributes:
        penalty: the chosen one.
        optimum: the solution there.
        left_out: float64 [N], the logits that each scored row gets without its prompt.
        log_loss: their mean loss under the problem's link.
        path: (penalty, mean left-out loss) of every penalty tried. Where the walk only
            estimated them, all are shifted so that the chosen one's is `log_loss`.
        edge: "strongest" or "weakest" where the chosen one is the last of several that may be
            chosen, and one beyond might be better; else None.
    """

    penalty: float
    optimum: Optimum
    left_out: np.ndarray
    log_loss: float
    path: list[tuple[float, float]]
    edge: Literal["strongest", "weakest"] | None = None


def edge_of(penalty: float, penalties: Sequence[float]) -> Literal["strongest", "weakest"] | None:
    """Whether a penalty is the last of several on either side."""
    if len(penalties) < 2 or min(penalties) < penalty < max(penalties):
        return None
    return "strongest" if penalty == max(penalties) else "weakest"


def choose_penalty(
    problem: Problem, penalties: Sequence[float] = PENALTIES, first: float = 1.0
) -> PenaltyChoice:
    """The penalty with the least approximate leave-one-out loss, and the optimum there.

    From the penalty nearest to `first` the walk goes downhill until the loss has risen on both
    sides: stronger penalties predict chance and weaker ones only fit more closely. Where rows are
    many, the walk looks at some of them and the figures of the winner are taken on all.
    """
    walk = _Walk(problem, sorted(penalties, reverse=True))
    best = walk.nearest(first)
    for direction in (1, -1):
        while walk.is_better(best + direction, best):
            best += direction
    penalty = walk.penalties[best]
    at, inverse, logits = walk.visited[best]
    at = problem.solve(penalty, at, inverse=inverse)
    if not walk.is_exact:
        logits = left_out_logits(problem, at, penalty)
    loss = left_out_loss(problem, logits, at)
    shift = 0.0 if walk.is_exact else loss - walk.losses[best]
    path = [(walk.penalties[k], walk.losses[k] + shift) for k in sorted(walk.losses)]
    return PenaltyChoice(penalty, at, logits, loss, path, edge_of(penalty, penalties))


class _Walk:
    """Penalties tried, with their left-out losses, each solved from its neighbour."""

    def __init__(self, problem: Problem, penalties: list[float]) -> None:
        self._problem, self.penalties = problem, penalties
        self.groups, self._sampled = _sample(problem)
        # Of many rows one Gram matrix is taken, which shows which penalty is the better one.
        self.is_exact = len(problem.rows.target) < 2 * _PATH_ROWS
        self.losses: dict[int, float] = {}
        self.visited: dict[int, tuple[Optimum, Inverse | RowsInverse, np.ndarray]] = {}

    def nearest(self, penalty: float) -> int:
        """The index of the penalty nearest to this one, tried."""
        near = [abs(math.log(p / penalty)) for p in self.penalties]
        index = near.index(min(near))
        self._try(index, self._problem.zero, None)
        return index

    def is_better(self, index: int, than: int) -> bool:
        """Whether the penalty of one index has a smaller loss; False where there is none."""
        if not 0 <= index < len(self.penalties):
            return False
        if index not in self.losses:
            self._try(index, *self.visited[than][:2])
        return self.losses[index] < self.losses[than]

    def _try(self, index: int, start: Optimum, near: Inverse | RowsInverse | None) -> None:
        problem, penalty = self._problem, self.penalties[index]
        ridge = penalty * problem.num
        near = near or problem.path_inverse(start, ridge, exact=False)
        at = problem.solve(penalty, start, tolerance=_PATH_TOLERANCE, inverse=near)
        inverse = problem.path_inverse(at, ridge, exact=self.is_exact)
        logits = left_out_logits(problem, at, penalty, inverse, self.groups)
        self.losses[index] = left_out_loss(problem, logits, at, self._sampled)
        self.visited[index] = (at, inverse, logits)


def _sample(problem: Problem) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Evenly spaced prompts with about _PATH_ROWS rows, and their scored rows; None for all.

    Never fewer than _PATH_PROMPTS prompts, however many rows these have.
    """
    import numpy as np

    groups = np.unique(problem.scored.group)
    step = min(len(problem.rows.target) // _PATH_ROWS, len(groups) // _PATH_PROMPTS)
    if step < 2:
        return None, None
    groups = groups[::step]
    return groups, np.flatnonzero(np.isin(problem.scored.group, groups))


def left_out_loss(
    problem: Problem, logits: np.ndarray, at: Optimum, where: np.ndarray | None = None
) -> float:
    """Weighted mean loss of the scored rows under the problem's link, in nats."""
    import numpy as np

    scored = problem.scored if where is None else problem.scored.take(where)
    logits = logits if where is None else logits[where]
    tie = np.zeros_like(scored.target) if scored.tie is None else scored.tie
    slopes = problem.link.slopes(logits, scored.target, tie, at.threshold)
    return float(scored.weight @ slopes.loss / scored.weight.sum())
