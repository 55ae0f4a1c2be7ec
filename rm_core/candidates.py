"""Layers and readouts compared on one set of pairs, and the best of them.

    best = best_candidate(pairs, features_of_each_layer, recipes)

Whoever wants figures of the *choice* has to make it again without the pairs that they are of: the
best of several candidates looks better on the pairs that chose it than it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rm_core.fitting import Candidate, Fit, PairFeatures, Recipe
from rm_core.pairs import PreferencePair


@dataclass(frozen=True)
class Best:
    """The candidate with the least left-out loss, and all that were compared."""

    fit: Fit
    features: PairFeatures
    candidate: Candidate
    compared: list[Candidate]


def best_candidate(
    pairs: Sequence[PreferencePair],
    layers: Iterable[PairFeatures],
    recipes: Sequence[Recipe],
    before_each: Callable[[int], None] = lambda done: None,
) -> Best:
    """Fit every layer and readout; of equals the first is taken.

    Args:
        layers: features of the pairs at each candidate layer; only the best one's are kept.
        before_each: told how many candidates are done; may raise to stop.
    """
    best: tuple[Fit, PairFeatures, Candidate] | None = None
    compared: list[Candidate] = []
    for features in layers:
        for recipe in recipes:
            before_each(len(compared))
            fit = Fit.of(pairs, features, recipe)
            # Penalties of neighbours are neighbours: the search begins where the last one ended.
            candidate = fit.candidate(compared[-1].choice.penalty if compared else 1.0)
            compared.append(candidate)
            if best is None or candidate.choice.log_loss < best[2].choice.log_loss:
                best = (fit, features, candidate)
    if best is None:
        raise ValueError("no layer or no readout to compare")
    return Best(*best, compared)
