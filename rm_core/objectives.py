"""What the fit minimises, as rows for rm_core.solver.

`outcome` (Bradley & Terry 1952): one row a pair, the difference of the answers' features; the loss
is -log sigma(r_chosen - r_rejected), soft targets in between.

`token`: the per-token loss of DeepSpeed-Chat and its descendants, -log sigma(v_chosen -
v_rejected) position by position, with its defects mended:

- positions are counted from where the two answers' *own* token ids part, each in its own answer, so
  a prompt never weighs and an end token inside it does no harm;
- the comparison ends with the shorter answer: no token is compared with padding;
- the term at each answer's own score position (its end token) always takes part, with weight 1
  beside `token_weight` for the mean of the others: what is scored is what was trained;
- equal answers have no row; both ends are kept whatever was cut.

A linear head makes both the same convex problem.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rm_core.pairs import PreferencePair
from rm_core.solver import Rows

if TYPE_CHECKING:
    import numpy as np


def outcome_rows(
    pairs: Sequence[PreferencePair], design_a: np.ndarray, design_b: np.ndarray
) -> Rows:
    """One row a pair.

    Args:
        design_a, design_b: float [B, d], see rm_core.heads.design.
    """
    import numpy as np

    _, group = np.unique(np.array([p.group for p in pairs]), return_inverse=True)
    return Rows(
        features=design_a.astype(np.float64) - design_b.astype(np.float64),
        target=np.array([p.target for p in pairs], dtype=np.float64),
        weight=np.array([p.weight for p in pairs], dtype=np.float64),
        group=group.astype(np.int64),
    )


def token_rows(
    pairs: Sequence[PreferencePair],
    states_a: Sequence[np.ndarray],
    states_b: Sequence[np.ndarray],
    *,
    token_weight: float,
    max_positions: int,
) -> Rows:
    """The term at the score position and up to `max_positions` per-token terms a pair.

    Args:
        states_a, states_b: float32 [T_a, H] and [T_b, H] for every pair. Answers part where their
            states do: equal ids behind one prompt have equal states.
    """
    import numpy as np

    _, group = np.unique(np.array([p.group for p in pairs]), return_inverse=True)
    features, target, weight, of_group = [], [], [], []
    for pair, number, a, b in zip(pairs, group, states_a, states_b, strict=True):
        common = min(len(a), len(b))
        same = np.isclose(a[:common], b[:common], rtol=1e-3, atol=1e-3).all(axis=1)
        parting = int(np.argmin(same)) if not same.all() else common
        positions = np.arange(parting, common)
        if len(positions) > max_positions:
            positions = positions[np.linspace(0, len(positions) - 1, max_positions).astype(int)]
        rows = [(a[-1] - b[-1])[None], a[positions] - b[positions]]
        features.append(np.concatenate(rows).astype(np.float64))
        each = token_weight / max(len(positions), 1)
        weight.append(pair.weight * np.array([1.0] + [each] * len(positions)))
        target.append(np.full(1 + len(positions), pair.target))
        of_group.append(np.full(1 + len(positions), number))
    return Rows(
        np.concatenate(features),
        np.concatenate(target),
        np.concatenate(weight),
        np.concatenate(of_group).astype(np.int64),
    )
