"""What the fit minimises, as rows and a quadratic form for rm_core.solver.

`outcome` (Bradley & Terry 1952): one row a pair, the difference of the answers' features; the loss
is -log sigma(r_chosen - r_rejected), soft targets in between.

`token`: the per-token loss of DeepSpeed-Chat and its descendants, -log sigma(v_chosen -
v_rejected) position by position, with its defects mended:

- positions are counted from where the two answers' *own* token ids part, each in its own answer, so
  a prompt never weighs and an end token inside it does no harm;
- the comparison ends with the shorter answer: no token is compared with padding;
- the term at each answer's own score position (its end token) always takes part, with weight 1
  beside `token_weight` for the mean of the others: what is scored is what was trained;
- equal answers have one row of zeros, which teaches nothing; both ends are kept whatever was cut.

`token_coherent`: the same rows, and two terms that make a token's value what the answer's end will
be worth (after TCRM's lookahead and smoothness, arXiv 2604.22981), of every answer:

    lookahead_weight * mean_t (v_t - v_T)²  +  smoothness_weight * mean_t (v_t - v_(t+1))²

Both are quadratic in the weights once v_T moves with them: (w·(h_t - h_T))², so two H x H sums over
the answers' states hold all that the solver needs, and the problem stays convex and exact.

Ties, target margins and a length column are the same for every objective. A length column is the
difference of the logs of the answers' lengths: fitted with the weights and dropped when scoring, it
takes upon itself what length explains (ODIN, arXiv 2402.07319, in its linear form).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rm_core.pairs import PreferencePair
from rm_core.solver import Rows

if TYPE_CHECKING:
    import numpy as np


def outcome_rows(
    pairs: Sequence[PreferencePair],
    blocks: Sequence[tuple[np.ndarray, np.ndarray]],
    margin_scale: float = 1.0,
) -> Rows:
    """One row a pair.

    Args:
        blocks: (answers a, answers b) of each pooled block, float [B, H]: see
            rm_core.heads.design_blocks.
        margin_scale: factor on the pairs' target margins.
    """
    import numpy as np

    _, group = np.unique(np.array([p.group for p in pairs]), return_inverse=True)
    target = np.array([p.target for p in pairs], dtype=np.float64)
    margin = margin_scale * np.array([p.target_margin for p in pairs]) * np.sign(target - 0.5)
    width = blocks[0][0].shape[1]
    features = np.empty((len(pairs), width * len(blocks)))
    for k, (a, b) in enumerate(blocks):
        np.subtract(a, b, out=features[:, k * width : (k + 1) * width], dtype=np.float64)
    return Rows(
        features=features,
        target=target,
        weight=np.array([p.weight for p in pairs], dtype=np.float64),
        group=group.astype(np.int64),
        tie=np.array([p.tie_share for p in pairs], dtype=np.float64),
        margin=margin if margin.any() else None,
    )


def token_rows(
    outcome: Rows,
    states_a: Sequence[np.ndarray],
    states_b: Sequence[np.ndarray],
    partings: Sequence[int] | np.ndarray,
    *,
    token_weight: float,
    max_positions: int,
) -> Rows:
    """The term at the score position and up to `max_positions` per-token terms a pair.

    Args:
        outcome: one row a pair, for target, ties, margin, weight and group.
        states_a, states_b: float32 [T_a, H] and [T_b, H] for every pair.
        partings: [B], how many token ids each pair's answers have in common first (`parting`).
    """
    import numpy as np

    features, weight, of_pair = [], [], []
    for number, (a, b, begin) in enumerate(zip(states_a, states_b, partings, strict=True)):
        positions = np.arange(begin, min(len(a), len(b)))
        if len(positions) > max_positions:
            positions = positions[np.linspace(0, len(positions) - 1, max_positions).astype(int)]
        features.append(np.concatenate([(a[-1] - b[-1])[None], a[positions] - b[positions]]))
        each = token_weight / max(len(positions), 1)
        weight.append(outcome.weight[number] * np.array([1.0] + [each] * len(positions)))
        of_pair.append(np.full(1 + len(positions), number))
    pair = np.concatenate(of_pair)
    return Rows(
        np.concatenate(features).astype(np.float64),
        outcome.target[pair],
        np.concatenate(weight),
        outcome.group[pair],
        None if outcome.tie is None else outcome.tie[pair],
        None if outcome.margin is None else outcome.margin[pair],
        first=np.flatnonzero(np.diff(pair, prepend=-1)),
    )


def parting(ids_a: np.ndarray, ids_b: np.ndarray) -> int:
    """How many token ids [T_a] and [T_b] have in common before they first differ."""
    common = min(len(ids_a), len(ids_b))
    differs = ids_a[:common] != ids_b[:common]
    return int(differs.argmax()) if differs.any() else common


def length_differences(pairs: Sequence[PreferencePair]) -> np.ndarray:
    """log of a's characters less log of b's (one added to each), float64 [B]."""
    import numpy as np

    return np.array(
        [np.log1p(len(p.answer_a.response)) - np.log1p(len(p.answer_b.response)) for p in pairs]
    )


def coherence_form(
    pairs: Sequence[PreferencePair],
    states_a: Sequence[np.ndarray],
    states_b: Sequence[np.ndarray],
    *,
    lookahead_weight: float,
    smoothness_weight: float,
) -> np.ndarray:
    """Q with ½ wᵀQw = the lookahead and smoothness terms of all pairs' answers: float64 [H, H]."""
    import numpy as np

    width = states_a[0].shape[1]
    form = np.zeros((width, width))
    part: list[np.ndarray] = []
    size = 0

    def add() -> None:
        nonlocal form, size
        if part:
            steps = np.concatenate(part)
            form += steps.T @ steps
            part.clear()
            size = 0

    for states, pair in [*zip(states_a, pairs, strict=True), *zip(states_b, pairs, strict=True)]:
        own = states.astype(np.float32)
        if len(own) < 2:
            continue
        ahead = np.sqrt(2 * pair.weight * lookahead_weight / len(own))
        smooth = np.sqrt(2 * pair.weight * smoothness_weight / (len(own) - 1))
        part += [
            (own[:-1] - own[-1]) * np.float32(ahead),
            np.diff(own, axis=0) * np.float32(smooth),
        ]
        size += 2 * len(own)
        if size > 8192:
            add()
    add()
    return form
