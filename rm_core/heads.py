"""The reward head: linear, no bias, and the readouts that make one reward from token values.

With h_t the backbone's state at response token t = 1 … T (the end token is T):

    readout      reward                     contribution of token t
    last         v_T                        v_T at the end token, 0 elsewhere
    mean         (1/T) sum_t v_t            v_t / T
    mean+last    (1/T) sum_t v_t + u·h_T    v_t / T, and u·h_T more at the end token

where v_t = w·h_t is the *token value*. The contributions add up to the reward for every readout.
`last` is what `*ForSequenceClassification` computes; `mean` is the return decomposition of
Q-RM (arXiv 2505.23363); their sum was the most accurate in trials.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    import numpy as np

Readout = Literal["last", "mean", "mean+last"]
READOUTS: tuple[Readout, ...] = get_args(Readout)


@dataclass(frozen=True)
class RewardHead:
    """A linear map on the states of one layer.

    Attributes:
        readout: how token values become a reward.
        layer: the backbone layer that is read (1 = the first).
        value_weight: float64 [H], w: gives the token values.
        end_weight: float64 [H], u: the end token's own term; only for `mean+last`.
    """

    readout: Readout
    layer: int
    value_weight: np.ndarray
    end_weight: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.readout not in READOUTS:
            raise ValueError(f"unknown readout {self.readout!r}; one of {', '.join(READOUTS)}")
        if (self.end_weight is not None) != (self.readout == "mean+last"):
            raise ValueError(f"readout {self.readout!r} and end_weight do not fit together")

    @property
    def weights(self) -> np.ndarray:
        """One vector on the features of `design`: float64 [H], or [2H] for `mean+last`."""
        import numpy as np

        if self.end_weight is None:
            return self.value_weight
        return np.concatenate([self.value_weight, self.end_weight])

    def rewards(self, mean: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Rewards float64 [B] from summaries: `mean` and `end` are float [B, H]."""
        if self.readout == "last":
            return end @ self.value_weight
        if self.end_weight is None:
            return mean @ self.value_weight
        return mean @ self.value_weight + end @ self.end_weight

    def token_values(self, states: np.ndarray) -> np.ndarray:
        """v_t, float64 [T], from states float [T, H]."""
        return states.astype("float64") @ self.value_weight

    def end_term(self, states: np.ndarray) -> float:
        """u·h_T, the end token's own term; 0 where the readout has none."""
        if self.end_weight is None:
            return 0.0
        return float(states[-1].astype("float64") @ self.end_weight)

    def contributions(self, states: np.ndarray) -> np.ndarray:
        """Shares of the reward, float64 [T], that add up to it; states are float [T, H]."""
        import numpy as np

        values = self.token_values(states)
        if self.readout == "last":
            shares = np.zeros_like(values)
            shares[-1] = values[-1]
            return shares
        shares = values / len(values)
        shares[-1] += self.end_term(states)
        return shares


def split_weights(readout: Readout, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """(value_weight, end_weight) from the solver's one vector of features (see `design`)."""
    if readout != "mean+last":
        return theta, None
    half = len(theta) // 2
    return theta[:half], theta[half:]


def design_blocks(readout: Readout, mean: Any, end: Any) -> list[Any]:
    """The pooled blocks that `design` concatenates, in its order."""
    return {"last": [end], "mean": [mean], "mean+last": [mean, end]}[readout]


def design(readout: Readout, mean: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Features in which the reward is linear: float [B, H], or [B, 2H] for `mean+last`."""
    import numpy as np

    blocks = design_blocks(readout, mean, end)
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)
