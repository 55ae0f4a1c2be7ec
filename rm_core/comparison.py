"""Two heads on the same judged pairs, and one head on slices of them.

    compared = compare(targets, groups, new_logits, old_logits)
    compared["accuracy_difference_ci"]

Logits are calibrated log odds that answer a is better. Differences are paired: the same pairs, and
the bootstrap draws whole prompts for both heads at once. A head is *significantly worse* when the
95 % interval of the difference in accuracy lies wholly below zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rm_core.evaluation import PromptBootstrap

if TYPE_CHECKING:
    import numpy as np


def compare(
    targets: Sequence[float],
    groups: Sequence[str],
    new_logits: Sequence[float],
    old_logits: Sequence[float],
    seed: int = 0,
) -> dict[str, Any]:
    """Paired differences, new minus old.

    Args:
        targets: wanted probability that a is better; 0.5 is a tie and is left out of accuracy.
        groups: pairs of one prompt share it.

    Returns:
        JSON-able: counts, both accuracies, both differences with their intervals, McNemar's exact
        p (which takes pairs for independent; the intervals do not), and the outcome: "better",
        "worse" or "no difference shown". None where there is nothing to say.
    """
    import numpy as np

    target = np.asarray(targets, dtype=float)
    new, old = np.asarray(new_logits, dtype=float), np.asarray(old_logits, dtype=float)
    decided = target != 0.5
    if not decided.any():
        return {"pairs": 0, "outcome": None}
    prompts = PromptBootstrap(groups, seed)
    right_new, right_old = correct(new, target), correct(old, target)
    loss = _log_loss(new, target) - _log_loss(old, target)
    difference = right_new - right_old
    interval = prompts.interval(difference, decided)
    only_new = int((decided & (difference > 0)).sum())
    only_old = int((decided & (difference < 0)).sum())
    return {
        "pairs": int(decided.sum()),
        "prompts": len(set(np.asarray(groups)[decided].tolist())),
        "accuracy_new": float(right_new[decided].mean()),
        "accuracy_old": float(right_old[decided].mean()),
        "accuracy_difference": float(difference[decided].mean()),
        "accuracy_difference_ci": interval,
        "log_loss_difference": float(loss.mean()),
        "log_loss_difference_ci": prompts.interval(loss),
        "only_new_right": only_new,
        "only_old_right": only_old,
        "mcnemar_p": mcnemar_p(only_new, only_old),
        "outcome": _outcome(interval),
    }


def _outcome(interval: list[float] | None) -> str | None:
    if interval is None:
        return None
    if interval[1] < 0:
        return "worse"
    return "better" if interval[0] > 0 else "no difference shown"


def correct(logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    """1 right, 0 wrong, ½ where the logit is 0; float [B], of no meaning where people tied."""
    import numpy as np

    return 0.5 + 0.5 * np.sign(logits) * np.sign(target - 0.5)


def _log_loss(logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.logaddexp(0.0, logits) - target * logits


def mcnemar_p(only_new: int, only_old: int) -> float:
    """Exact two-sided p of so uneven a split of the pairs on which two heads disagree."""
    total, fewer = only_new + only_old, min(only_new, only_old)
    if total == 0:
        return 1.0
    log_terms = [
        math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1)
        for k in range(fewer + 1)
    ]
    tail = sum(math.exp(term - total * math.log(2)) for term in log_terms)
    return min(1.0, 2 * tail)


def slice_figures(
    targets: Sequence[float],
    groups: Sequence[str],
    logits: Sequence[float],
    slices: Mapping[str, Sequence[int]],
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Accuracy with its interval on named subsets, given as positions in the lists.

    A pair may stand in several slices, and a slice may hold a pair once only. Slices without a pair
    that has a winner are given with `pairs` 0.
    """
    import numpy as np

    target, logit = np.asarray(targets, dtype=float), np.asarray(logits, dtype=float)
    right = correct(logit, target)
    prompts = PromptBootstrap(groups, seed)
    figures = {}
    for name, positions in slices.items():
        where = np.zeros(len(target), dtype=bool)
        where[list(positions)] = True
        where &= target != 0.5
        figures[name] = {
            "pairs": int(where.sum()),
            "accuracy": float(right[where].mean()) if where.any() else None,
            "accuracy_ci": prompts.interval(right, where) if where.any() else None,
        }
    return figures
