"""What a head says before an answer has ended: rewards of prefixes, and how often they are right.

A token value read as *the reward if the answer went on as it has begun* should rank two answers
long before their ends. The figure `prefix_accuracy` measures it: each answer is cut after the same
share of its tokens and the two prefixes are compared. Heads fitted to whole answers are near chance
early on; the terms of the objective `token_coherent` are there to change that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rm_core.heads import RewardHead

if TYPE_CHECKING:
    import numpy as np

SHARES = (0.25, 0.5, 0.75, 1.0)


def prefix_rewards(head: RewardHead, states: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """The readout's reward of the first ⌈share * T⌉ tokens, float64 [len(shares)].

    Args:
        states: float [T, H]. At share 1 it is the reward itself.
    """
    import numpy as np

    last = np.ceil(np.array(shares) * len(states)).astype(int).clip(1, len(states)) - 1
    values = head.token_values(states)
    if head.readout == "last":
        return values[last]
    running = np.cumsum(values)[last] / (last + 1)
    if head.end_weight is None:
        return running
    return running + states[last].astype("float64") @ head.end_weight


def prefix_correct(
    head: RewardHead,
    states_a: Sequence[np.ndarray],
    states_b: Sequence[np.ndarray],
    target: np.ndarray,
    shares: Sequence[float] = SHARES,
) -> np.ndarray:
    """1 right, 0 wrong, ½ where the prefixes' rewards are equal: float64 [B, len(shares)]."""
    import numpy as np

    margin = np.array(
        [
            prefix_rewards(head, a, shares) - prefix_rewards(head, b, shares)
            for a, b in zip(states_a, states_b, strict=True)
        ]
    )
    return 0.5 + 0.5 * np.sign(margin) * np.sign(target - 0.5)[:, None]


def by_share(correct: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """Accuracy of prefixes by share ("0.5": half of each answer); pairs with a winner only.

    Args:
        correct: float64 [B, len(SHARES)], from `prefix_correct`.
    """
    decided = target != 0.5
    if not decided.any():
        return {}
    shares = correct[decided].mean(axis=0)
    return {str(share): float(value) for share, value in zip(SHARES, shares, strict=True)}
