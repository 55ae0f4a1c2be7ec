"""Which pairs to ask people about: what a head is unsure of, and what would teach it most.

    head, manifest = checkpoint.load(directory).head, ...
    posterior = Posterior.load(directory)
    x, missing = pair_differences(head, store, info, limits, pairs)
    chosen, gains = greedy_d_optimal(posterior, x, 20, mean=x @ head.weights)

Needs numpy alone. `greedy_d_optimal` is the strategy *information*: after each choice the others
are worth what they would teach beside it, so that a batch is not twenty times the same pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rm_core.backbone import BackboneInfo
from rm_core.conversation import Answer, Limits
from rm_core.features import FeatureStore
from rm_core.heads import RewardHead, design
from rm_core.uncertainty import Posterior, outcome_curvature

if TYPE_CHECKING:
    import numpy as np


def pair_differences(
    head: RewardHead,
    store: FeatureStore,
    info: BackboneInfo,
    limits: Limits,
    pairs: Sequence[tuple[Answer, Answer]],
    dtype: str = "float32",
) -> tuple[np.ndarray, np.ndarray]:
    """Feature differences a - b in which the head's reward difference is linear.

    Args:
        pairs: (answer a, answer b), both to one prompt.
        dtype: of the backbone's arithmetic, `manifest["backbone"]["dtype"]`.

    Returns:
        x, float32 [n, d] in the order of `pairs`: `x @ head.weights` is r_a - r_b; and the indices
        (int64) of pairs with an answer that is not encoded yet: their rows are zeros.
    """
    import numpy as np

    answers = [answer for pair in pairs for answer in pair]
    width = len(head.weights)
    if not answers:
        return np.zeros((0, width), dtype=np.float32), np.zeros(0, dtype=np.int64)
    keys = store.keys_for(info, dtype, limits, answers)
    absent = np.zeros(len(keys), dtype=bool)
    absent[store.missing(keys, [head.layer])] = True
    features = np.zeros((len(keys), width), dtype=np.float32)
    present = np.flatnonzero(~absent)
    if len(present):
        summaries = store.summaries([keys[i] for i in present], head.layer)
        absent[present[summaries.damaged]] = True
        features[present] = design(head.readout, summaries.mean, summaries.end)
    x = features[0::2] - features[1::2]
    missing = np.flatnonzero(absent.reshape(-1, 2).any(axis=1))
    x[missing] = 0.0
    return x, missing


@dataclass(frozen=True)
class UncertaintyScores:
    """What a head thinks of n pairs and how sure it is; float64 [n] each.

    Attributes:
        mean, std: of the reward difference a - b.
        probability: P(a better), averaged over the posterior.
        entropy: of that probability, in nats: the strategy *uncertainty* asks the largest first.
        disagreement: how much of the entropy is the head's own ignorance, in nats (BALD, Houlsby
            et al. 2011, arXiv 1112.5745): the rest is people who would differ anyway.
        information: ½ log(1 + p(1-p) v), what one judgement would teach by itself.
    """

    mean: np.ndarray
    std: np.ndarray
    probability: np.ndarray
    entropy: np.ndarray
    disagreement: np.ndarray
    information: np.ndarray


def uncertainty_scores(posterior: Posterior, x: np.ndarray, mean: np.ndarray) -> UncertaintyScores:
    """Score candidate pairs.

    Args:
        x: float [n, d], see `pair_differences`.
        mean: float64 [n], `x @ head.weights`.
    """
    import numpy as np

    mean = np.asarray(mean, dtype=np.float64)
    variance = posterior.difference_variance(x)
    probability = posterior.probability(mean, variance)
    entropy = _entropy(probability)
    # The mean entropy of sigma(z), z ~ N(mean, variance), by Gauss-Hermite quadrature.
    nodes, weights = np.polynomial.hermite_e.hermegauss(15)
    c = posterior.calibration
    z = c * (mean[:, None] + np.sqrt(variance)[:, None] * nodes)
    within = _entropy(np.exp(-np.logaddexp(0.0, -z))) @ (weights / weights.sum())
    return UncertaintyScores(
        mean=mean,
        std=np.sqrt(variance),
        probability=probability,
        entropy=entropy,
        disagreement=np.maximum(entropy - within, 0.0),
        information=0.5 * np.log1p(outcome_curvature(mean, len(mean)) * variance),
    )


def _entropy(p: np.ndarray) -> np.ndarray:
    import numpy as np

    p = np.clip(p, 1e-15, 1 - 1e-15)
    return -(p * np.log(p) + (1 - p) * np.log1p(-p))


def greedy_d_optimal(
    posterior: Posterior,
    x: np.ndarray,
    count: int,
    mean: np.ndarray | None = None,
    pending: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Pick pairs one after another, each the one that teaches most beside those before it.

    The gain of a pair is ½ log(1 + p(1-p) v); choosing one lowers the others' variances by a
    rank-one update of the covariance (Sherman & Morrison), one product with the candidates each.

    Args:
        x: float [n, d] candidates, see `pair_differences`.
        count: how many, at most n.
        mean: float64 [n], `x @ head.weights`; without, every pair counts as p = ½.
        pending: indices of candidates that are already out with annotators: they are taken as
            judged first and are not picked again.

    Returns:
        indices int64 [k] in the order of the choice, and their gains in nats, float64 [k], which
        never rise. Equal gains go to the smaller index. Fewer than `count` come back only when
        there are not so many candidates.
    """
    import numpy as np

    out = np.unique([] if pending is None else pending).astype(np.int64)
    count = min(count, len(x) - len(out))
    remaining = _Remaining(posterior, x, mean, len(out) + max(count, 0))
    for index in out:
        remaining.judge(int(index))
    free = np.ones(len(x), dtype=bool)
    free[out] = False
    chosen: list[int] = []
    gains: list[float] = []
    while len(chosen) < count:
        gain = 0.5 * np.log1p(remaining.curvature * remaining.variance)
        pick = int(np.where(free, gain, -1.0).argmax())
        chosen.append(pick)
        gains.append(float(gain[pick]))
        free[pick] = False
        remaining.judge(pick)
    return np.array(chosen, dtype=np.int64), np.array(gains)


class _Remaining:
    """Variances of all candidates after some of them are taken as judged."""

    def __init__(
        self, posterior: Posterior, x: np.ndarray, mean: np.ndarray | None, max_judged: int
    ) -> None:
        import numpy as np

        self._inverse = posterior.inverse
        self._scaled, self._image = posterior.whitened(x)
        self.curvature = outcome_curvature(mean, len(x))
        self.variance = self._inverse.spread(self._scaled, self._image)
        self._columns = np.zeros((max_judged, len(x)))
        self._num = 0

    def judge(self, pick: int) -> None:
        """Take the judgement of one candidate as given."""
        import numpy as np

        past = self._columns[: self._num]
        one = slice(pick, pick + 1)
        covariance = self._inverse.inner(
            self._scaled, self._image, self._scaled[one], self._image[one]
        )[:, 0]
        covariance -= past.T @ past[:, pick]
        weight = self.curvature[pick]
        column = covariance * np.sqrt(weight / (1 + weight * self.variance[pick]))
        self._columns[self._num] = column
        self._num += 1
        self.variance = np.maximum(self.variance - column**2, 0.0)
