"""How sure a head is: the Laplace posterior of its weights, for differences of two answers.

Around the optimum of a convex fit the posterior of the weights is close to a Gaussian with the
inverse Hessian as its covariance (MacKay 1992, "A practical Bayesian framework for backpropagation
networks"; for linear heads it is a good one). The reward *difference* of two answers x = a - b then
has variance x·H^-1·x. It is taken of the difference, never of each answer by itself: what both
answers share cancels, and bounds of the two would be far too wide.

    posterior = Posterior.load(checkpoint_directory)          # no torch needed
    std = np.sqrt(posterior.difference_variance(x))           # x [n, d]: rm_core.selection
    p = posterior.probability(x @ head.weights, std**2)       # averaged over the posterior

It is kept beside the head as `posterior.safetensors`, in the smaller of two forms:

- `dense`: the inverse F of the Hessian's Cholesky factor, H^-1 = FᵀF; its lower triangle, float32;
- `low_rank`, where there are fewer rows than features (Woodbury): H^-1 = I/ridge - FᵀF, float64
  [rows, d], since the two parts cancel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rm_core.errors import CheckpointError
from rm_core.hessian import Inverse
from rm_core.solver import CALIBRATION_SPREAD

if TYPE_CHECKING:
    import numpy as np

POSTERIOR = "posterior.safetensors"
Centre = list[tuple[slice, "np.ndarray"]]


@dataclass(frozen=True)
class Posterior:
    """Gaussian posterior of a head's weights.

    Attributes:
        factor: float [r, d] in scaled features, see the module.
        isotropic: 1/ridge for the low-rank form, 0 for the dense one.
        scale: float64 [d], the features' root mean square that the fit divided by.
        centre: for each pooled block the unit direction that the head is held orthogonal to.
        calibration: factor on reward differences inside `probability`, fitted on left-out pairs
            together with their variances (the head's own `calibration_scale` has no variance
            beside it, and applying both would flatten twice).
    """

    factor: np.ndarray
    isotropic: float
    scale: np.ndarray
    centre: Centre
    calibration: float = 1.0

    @classmethod
    def of(cls, inverse: Inverse, scale: np.ndarray, centre: Centre, lead: int = 0) -> Posterior:
        """From the inverse Hessian at an optimum.

        Args:
            lead: how many columns in front the head does not keep (the length's): what they
                explain stays in the variances of the others.
        """
        import numpy as np

        factor = inverse.factor
        if inverse.isotropic:
            return cls(factor[:, lead:], inverse.isotropic, scale, centre)
        # F is lower triangular: of the rows that are dropped nothing reaches the kept columns.
        return cls(factor[lead:, lead:].astype(np.float32), 0.0, scale, centre)

    @property
    def inverse(self) -> Inverse:
        """H^-1 in scaled and centred features."""
        return Inverse(self.factor, self.isotropic)

    @property
    def width(self) -> int:
        """d, the number of features: H, or 2H for `mean+last`."""
        return len(self.scale)

    def whitened(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scaled and centred features [n, d], and their images under the factor [n, r].

        Args:
            x: float [n, d], differences of raw features (see rm_core.selection).
        """
        import numpy as np

        scaled = x.astype(np.float64) / self.scale
        for block, direction in self.centre:
            scaled[:, block] -= np.outer(scaled[:, block] @ direction, direction)
        scaled = scaled.astype(self.factor.dtype)
        return scaled, self.inverse.images(scaled)

    def difference_variance(self, x: np.ndarray) -> np.ndarray:
        """Variance of the reward difference x·theta, in squared reward units: float64 [n]."""
        return self.inverse.spread(*self.whitened(x))

    def probability(self, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
        """P(a better), the posterior averaged out: float64 of the arguments' shape.

        sigma(c m / sqrt(1 + pi c² v / 8)) (MacKay 1992, "The evidence framework applied to
        classification networks"): a head that is unsure says something closer to ½.
        """
        return averaged_probability(mean, variance, self.calibration)

    def information(self, x: np.ndarray, mean: np.ndarray | None = None) -> np.ndarray:
        """What one judgement of each pair would teach, in nats: ½ log(1 + p(1-p) v), float64 [n].

        It is half the growth of log det of the Hessian (D-optimality).

        Args:
            mean: float64 [n], the reward differences x·theta; without, p = ½ everywhere.
        """
        import numpy as np

        return 0.5 * np.log1p(outcome_curvature(mean, len(x)) * self.difference_variance(x))

    def calibrated(self, calibration: float) -> Posterior:
        """The same with another factor inside `probability`."""
        return replace(self, calibration=calibration)

    def to_bytes(self) -> bytes:
        """As a safetensors file."""
        import numpy as np
        from safetensors.numpy import save

        centre = np.zeros((len(self.centre), max((len(c) for _, c in self.centre), default=0)))
        for row, (_, direction) in zip(centre, self.centre, strict=True):
            row[:] = direction
        starts = np.array([block.start for block, _ in self.centre], dtype=np.int64)
        dense = self.isotropic == 0
        factor = (
            np.concatenate([row[: i + 1] for i, row in enumerate(self.factor)])
            if dense
            else np.ascontiguousarray(self.factor)
        )
        return save(
            {
                "factor": factor,
                "scale": self.scale,
                "centre": centre,
                "centre_start": starts,
                "isotropic": np.array([self.isotropic]),
                "calibration": np.array([self.calibration]),
            },
            {"form": "dense" if dense else "low_rank"},
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Posterior:
        """Read what `to_bytes` wrote."""
        import numpy as np
        from safetensors.numpy import load

        tensors = load(data)
        factor, scale = tensors["factor"], tensors["scale"]
        if factor.ndim == 1:  # a lower triangle
            full = np.zeros((len(scale), len(scale)), dtype=factor.dtype)
            begin = 0
            for i, row in enumerate(full):
                row[: i + 1] = factor[begin : begin + i + 1]
                begin += i + 1
            factor = full
        centre = [
            (slice(int(start), int(start) + len(direction)), direction)
            for start, direction in zip(tensors["centre_start"], tensors["centre"], strict=True)
        ]
        return cls(
            factor,
            float(tensors["isotropic"][0]),
            scale,
            centre,
            float(tensors["calibration"][0]),
        )

    @classmethod
    def load(cls, directory: Path) -> Posterior | None:
        """The posterior of a checkpoint directory; None for one that was saved without.

        Raises:
            CheckpointError: the file is damaged.
        """
        from safetensors import SafetensorError

        path = Path(directory) / POSTERIOR
        if not path.exists():
            return None
        try:
            return cls.from_bytes(path.read_bytes())
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise CheckpointError(
                f"The posterior {path} cannot be read: {error}; the checkpoint is damaged: train "
                "again."
            ) from error


def averaged_probability(
    mean: np.ndarray, variance: np.ndarray, calibration: float = 1.0
) -> np.ndarray:
    """sigma(c m / sqrt(1 + pi c² v / 8)), see `Posterior.probability`."""
    import numpy as np

    mean, variance = np.asarray(mean, dtype=float), np.asarray(variance, dtype=float)
    shrunk = calibration * mean / np.sqrt(1 + math.pi / 8 * calibration**2 * variance)
    return np.exp(-np.logaddexp(0.0, -shrunk))


def averaged_calibration(
    mean: np.ndarray, variance: np.ndarray, target: np.ndarray, weight: np.ndarray
) -> float:
    """The factor c > 0 with which `averaged_probability` fits the targets best.

    Taken on left-out logits and variances it costs no extra split; log c has the prior that
    `rm_core.solver.calibration_scale` has. The loss has one valley in log c on all but contrived
    data; golden sections find it without derivatives.
    """
    import numpy as np

    def loss(log_c: float) -> float:
        p = np.clip(averaged_probability(mean, variance, math.exp(log_c)), 1e-12, 1 - 1e-12)
        loss = -(weight @ (target * np.log(p) + (1 - target) * np.log(1 - p)))
        return float(loss) + log_c**2 / (2 * CALIBRATION_SPREAD**2)

    low, high = math.log(0.02), math.log(20.0)
    ratio = (math.sqrt(5) - 1) / 2
    inner = [high - ratio * (high - low), low + ratio * (high - low)]
    values = [loss(point) for point in inner]
    while high - low > 1e-6:
        if values[0] <= values[1]:
            high, inner[1], values[1] = inner[1], inner[0], values[0]
            inner[0] = high - ratio * (high - low)
            values[0] = loss(inner[0])
        else:
            low, inner[0], values[0] = inner[0], inner[1], values[1]
            inner[1] = low + ratio * (high - low)
            values[1] = loss(inner[1])
    return math.exp((low + high) / 2)


def outcome_curvature(mean: Sequence[float] | np.ndarray | None, num: int) -> np.ndarray:
    """p(1-p) at reward differences `mean`, ¼ without: what a judgement adds to the Hessian, [n]."""
    import numpy as np

    if mean is None:
        return np.full(num, 0.25)
    p = np.exp(-np.logaddexp(0.0, -np.asarray(mean, dtype=float)))
    return p * (1 - p)
