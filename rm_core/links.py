"""How a reward difference z becomes what people say: the likelihoods that a head is fitted by.

    link          P(a)                    P(b)                    P(tie)
    half          sigma(z)                sigma(-z)               -          a tie is half a win
    davidson      e^{z/2} / D             e^{-z/2} / D            nu / D     D = e^{z/2}+e^{-z/2}+nu
    rao-kupper    sigma(z - t)            sigma(-z - t)           the rest

Davidson 1970 (JASA 65:317), Rao & Kupper 1967 (JASA 62:194); `half` is Bradley & Terry 1952 with
soft targets. The threshold (eta = log nu, or t > 0) is learned with the weights: every loss is
convex in (z, threshold) together. A row says `target` = wins of a + ½ ties and `tie` = share of
ties. In the first two models z is the log odds of a against b where there is a winner; in all three
P(a) + ½ P(tie) is what `target` estimates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

if TYPE_CHECKING:
    import numpy as np

Ties = Literal["half", "davidson", "rao-kupper"]
TIES: tuple[Ties, ...] = get_args(Ties)


class Slopes(NamedTuple):
    """Loss and first derivatives by row: float64 [n] each."""

    loss: np.ndarray
    by_z: np.ndarray
    by_threshold: np.ndarray


@dataclass(frozen=True)
class Half:
    """Bradley–Terry: -target log sigma(z) - (1 - target) log sigma(-z)."""

    name: Ties = "half"
    has_threshold: bool = False

    def start(self, mean_tie: float) -> float:
        """A threshold that fits `mean_tie` at z = 0."""
        return 0.0

    def slopes(self, z: np.ndarray, target: np.ndarray, tie: np.ndarray, eta: float) -> Slopes:
        """Loss and slopes at z, float64 [n]."""
        import numpy as np

        return Slopes(np.logaddexp(0.0, z) - target * z, sigmoid(z) - target, np.zeros_like(z))

    def curvature(
        self, z: np.ndarray, target: np.ndarray, tie: np.ndarray, eta: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Second derivatives by z and by the threshold, float64 [n] each."""
        import numpy as np

        p = sigmoid(z)
        return p * (1 - p), np.zeros_like(z)

    def tie_probability(self, z: np.ndarray, eta: float) -> np.ndarray:
        """P(tie), float64 [n]; this model has none."""
        import numpy as np

        return np.zeros_like(z)


@dataclass(frozen=True)
class Davidson:
    """-log of the model's probabilities, each weighed by its share; threshold eta = log nu."""

    name: Ties = "davidson"
    has_threshold: bool = True

    def start(self, mean_tie: float) -> float:
        """A threshold that fits `mean_tie` at z = 0: nu / (2 + nu)."""
        share = min(max(mean_tie, 1e-3), 0.999)
        return math.log(2 * share / (1 - share))

    def _probabilities(
        self, z: np.ndarray, eta: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """log D, P(a), P(b), P(tie)."""
        import numpy as np

        log_d = np.logaddexp(np.logaddexp(z / 2, -z / 2), eta)
        return log_d, np.exp(z / 2 - log_d), np.exp(-z / 2 - log_d), np.exp(eta - log_d)

    def slopes(self, z: np.ndarray, target: np.ndarray, tie: np.ndarray, eta: float) -> Slopes:
        """Loss and slopes at z, float64 [n]."""
        log_d, p_a, p_b, p_tie = self._probabilities(z, eta)
        loss = log_d - (target - 0.5) * z - tie * eta
        return Slopes(loss, (p_a - p_b) / 2 - (target - 0.5), p_tie - tie)

    def curvature(
        self, z: np.ndarray, target: np.ndarray, tie: np.ndarray, eta: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Second derivatives by z and by the threshold, float64 [n] each."""
        _, p_a, p_b, p_tie = self._probabilities(z, eta)
        return (p_a + p_b - (p_a - p_b) ** 2) / 4, p_tie * (1 - p_tie)

    def tie_probability(self, z: np.ndarray, eta: float) -> np.ndarray:
        """P(tie), float64 [n]."""
        return self._probabilities(z, eta)[3]


@dataclass(frozen=True)
class RaoKupper:
    """A win needs a lead of more than the threshold t > 0."""

    name: Ties = "rao-kupper"
    has_threshold: bool = True

    def start(self, mean_tie: float) -> float:
        """A threshold that fits `mean_tie` at z = 0."""
        share = min(max(mean_tie, 1e-3), 0.999)
        return math.log((1 + share) / (1 - share))

    def slopes(self, z: np.ndarray, target: np.ndarray, tie: np.ndarray, eta: float) -> Slopes:
        """Loss and slopes at z, float64 [n]; an infinite loss where the threshold is not above 0.

        -(P(a) won or tied) log sigma(z - t) - (b won or tied) log sigma(-z - t)
        - tied log(e^{2t} - 1)
        """
        import numpy as np

        if eta <= 0:
            return Slopes(np.full_like(z, np.inf), np.zeros_like(z), np.zeros_like(z))
        not_b, not_a = target + tie / 2, 1 - target + tie / 2
        up, down = sigmoid(eta - z), sigmoid(eta + z)
        growth = eta * 2 + math.log(-math.expm1(-2 * eta))
        loss = not_b * np.logaddexp(0.0, eta - z) + not_a * np.logaddexp(0.0, eta + z)
        by_threshold = not_b * up + not_a * down - tie * 2 / -math.expm1(-2 * eta)
        return Slopes(loss - tie * growth, not_a * down - not_b * up, by_threshold)

    def curvature(
        self, z: np.ndarray, target: np.ndarray, tie: np.ndarray, eta: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Second derivatives by z and by the threshold, float64 [n] each."""
        not_b, not_a = target + tie / 2, 1 - target + tie / 2
        up, down = sigmoid(eta - z), sigmoid(eta + z)
        by_z = not_b * up * (1 - up) + not_a * down * (1 - down)
        return by_z, by_z + tie / math.sinh(eta) ** 2

    def tie_probability(self, z: np.ndarray, eta: float) -> np.ndarray:
        """P(tie), float64 [n]."""
        return 1 - sigmoid(z - eta) - sigmoid(-z - eta)


Link = Half | Davidson | RaoKupper
LINKS: dict[Ties, Link] = {"half": Half(), "davidson": Davidson(), "rao-kupper": RaoKupper()}


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-x) without overflow."""
    import numpy as np

    return np.exp(-np.logaddexp(0.0, -x))
