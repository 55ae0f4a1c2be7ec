"""Layers and readouts compared on one set of pairs, and the best of them.

    best = best_candidate(pairs, features_of_each_layer, recipes)

Whoever wants figures of the *choice* has to make it again without the pairs that they are of: the
best of several candidates looks better on the pairs that chose it than it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from rm_core.cores import num_cores, one_blas_thread
from rm_core.fitting import Candidate, Fit, PairFeatures, Recipe
from rm_core.pairs import PreferencePair

# Above this BLAS has enough to do in one fit for all cores, and two fits at once take memory.
MAX_ROWS_AT_ONCE = 10_000


@dataclass(frozen=True)
class Best:
    """The candidate with the least left-out loss, and all that were compared."""

    fit: Fit
    features: PairFeatures
    candidate: Candidate
    compared: list[Candidate]


Layer = tuple[PairFeatures, list[tuple[Fit, Candidate]]]


def best_candidate(
    pairs: Sequence[PreferencePair],
    layers: Iterable[PairFeatures],
    recipes: Sequence[Recipe],
    before_each: Callable[[int], None] = lambda done: None,
) -> Best:
    """Fit every layer and readout; of equals the first is taken.

    Small layers are fitted side by side, one a core; the numbers do not depend on how many.

    Args:
        layers: features of the pairs at each candidate layer; only the best one's are kept.
        before_each: told between two layers how many candidates are done; may raise to stop.
    """
    best: tuple[Fit, PairFeatures, Candidate] | None = None
    compared: list[Candidate] = []
    for features, fitted in _fitted(pairs, layers, recipes, before_each):
        for fit, candidate in fitted:
            compared.append(candidate)
            if best is None or candidate.choice.log_loss < best[2].choice.log_loss:
                best = (fit, features, candidate)
    if best is None:
        raise ValueError("no layer or no readout to compare")
    return Best(*best, compared)


def _fitted(
    pairs: Sequence[PreferencePair],
    layers: Iterable[PairFeatures],
    recipes: Sequence[Recipe],
    before_each: Callable[[int], None],
) -> Iterator[Layer]:
    """Every layer with its candidates, in the order of the layers."""
    if len(pairs) * max(recipe.rows_a_pair for recipe in recipes) > MAX_ROWS_AT_ONCE:
        for number, features in enumerate(layers):
            before_each(number * len(recipes))
            yield features, _candidates(pairs, features, recipes)
        return
    done = 0
    waiting: deque[tuple[PairFeatures, Future[list[tuple[Fit, Candidate]]]]] = deque()
    with one_blas_thread(), ThreadPoolExecutor(num_cores()) as pool:
        for features in layers:
            before_each(done)
            waiting.append((features, pool.submit(_candidates, pairs, features, recipes)))
            if len(waiting) == num_cores():
                first, found = waiting.popleft()
                yield first, found.result()
                done += len(recipes)
        for features, found in waiting:
            yield features, found.result()


def _candidates(
    pairs: Sequence[PreferencePair],
    features: PairFeatures,
    recipes: Sequence[Recipe],
) -> list[tuple[Fit, Candidate]]:
    """One layer's readouts."""
    found: list[tuple[Fit, Candidate]] = []
    for recipe in recipes:
        fit = Fit.of(pairs, features, recipe)
        # Penalties of neighbours are neighbours: the search begins where the last one ended.
        found.append((fit, fit.candidate(found[-1][1].choice.penalty if found else 1.0)))
    return found
