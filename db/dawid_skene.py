"""Dawid and Skene's model of annotators: how reliable each one is, and what each item truly is.

    found = fit(item, rater, label, num_classes=3, mirror=(1, 0, 2), pseudo_votes=4)
    found.posterior[i]       # probability of each class for item i, given every vote on it

Every annotator has a matrix: how often they give each label when the true class is k. The matrices
and the true classes are estimated together by expectation-maximisation (Dawid and Skene, 1979,
Applied Statistics 28(1), 20-28, https://doi.org/10.2307/2346806).

Two things are added, both off by default, so that the plain model can be checked against the
paper's figures (tests/db/test_dawid_skene.py). `mirror`: which label stands for which when the two
answers of a pair change places; the matrices are then held to be the same in the mirror, since
which answer is `a` is chance, and that halves what has to be learned of each annotator. Nobody is
held to be wrong more often than right either: who seems to be counts as saying nothing, where the
plain model would take each of their votes for its opposite.
`pseudo_votes`: each annotator's matrix is drawn towards that of all annotators together, as if it
were so many votes: somebody with three votes is thought average until shown otherwise.

Numpy and eighty lines rather than a library: the one that is kept up (crowd-kit 1.4) brings pandas
and scikit-learn into every installation, and has neither of the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

MAX_ITERATIONS = 200
TOLERANCE = 1e-4  # largest change of a posterior probability in the last iteration


@dataclass(frozen=True)
class DawidSkene:
    """What was estimated.

    Attributes:
        posterior: float64 [I, K], probability of each class of each item.
        prior: float64 [K], how common each class is.
        confusion: float64 [R, K, K]: [r, k, l] is how often r says l where the truth is k.
        num_iterations: how many it took.
        has_converged: the last iteration changed no probability by more than TOLERANCE.
    """

    posterior: np.ndarray
    prior: np.ndarray
    confusion: np.ndarray
    num_iterations: int
    has_converged: bool


def fit(
    item: np.ndarray,
    rater: np.ndarray,
    label: np.ndarray,
    *,
    num_classes: int,
    known: np.ndarray | None = None,
    mirror: Sequence[int] | None = None,
    pseudo_votes: float = 0.0,
    tolerance: float = TOLERANCE,
) -> DawidSkene:
    """Fit the model to N votes.

    Args:
        item, rater, label: int [N], counted from 0.
        num_classes: K; a label is one of the classes.
        known: int [I], an item's true class where it is known, else -1.
        mirror: for each class the one that takes its place in the mirror.
        pseudo_votes: how many votes the average annotator's matrix weighs.
        tolerance: stop when no probability changes by more.
    """
    import numpy as np

    num_items = len(known) if known is not None else int(item.max(initial=-1)) + 1
    num_raters = int(rater.max(initial=-1)) + 1
    cell = rater.astype(np.int64) * num_classes + label
    shares = np.bincount(item * num_classes + label, minlength=num_items * num_classes)
    posterior = _with_known(_normalised(shares.reshape(num_items, num_classes) + 0.0), known)
    change, iteration = np.inf, 0
    while change > tolerance and iteration < MAX_ITERATIONS:
        prior, confusion = _maximise(
            posterior, item, cell, num_raters, num_classes, mirror, pseudo_votes
        )
        updated = _with_known(_expect(prior, confusion, item, cell, num_items), known)
        change = float(np.abs(updated - posterior).max(initial=0.0))
        posterior, iteration = updated, iteration + 1
    return DawidSkene(posterior, prior, confusion, iteration, change <= tolerance)


def _maximise(
    posterior: np.ndarray, item: np.ndarray, cell: np.ndarray, num_raters: int, num_classes: int,
    mirror: Sequence[int] | None, pseudo_votes: float,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """The prior [K] and the matrices [R, K, K] that fit these posteriors best."""
    import numpy as np

    size = num_raters * num_classes
    by_cell = [np.bincount(cell, column[item], size) for column in posterior.T.copy()]
    by_label = np.stack(by_cell, axis=1).reshape(num_raters, num_classes, num_classes)
    counts: np.ndarray = by_label.transpose(0, 2, 1)  # [rater, truth, label]
    prior = posterior.mean(axis=0)
    if mirror is not None:
        there = list(mirror)
        counts = counts + counts[:, there][:, :, there]
        prior = (prior + prior[there]) / 2
    if pseudo_votes:
        counts = counts + pseudo_votes * _normalised(counts.sum(axis=0))
    if mirror is not None:
        counts = _never_reversed(counts, list(mirror))
    return prior, _normalised(counts)


def _never_reversed(counts: np.ndarray, mirror: list[int]) -> np.ndarray:
    """Where the mirror image of the truth is said more often than the truth: both equally often."""
    import numpy as np

    classes = np.arange(len(mirror))
    right, wrong = counts[:, classes, classes], counts[:, classes, mirror]
    both = np.where(wrong > right, (right + wrong) / 2, np.nan)
    held = counts.copy()
    held[:, classes, classes] = np.where(np.isnan(both), right, both)
    is_other = classes != np.array(mirror)
    rows, columns = classes[is_other], np.array(mirror)[is_other]
    held[:, rows, columns] = np.where(np.isnan(both), wrong, both)[:, is_other]
    return held


def _expect(
    prior: np.ndarray, confusion: np.ndarray, item: np.ndarray, cell: np.ndarray, num_items: int
) -> np.ndarray:
    """The posteriors [I, K] given the matrices."""
    import numpy as np

    tiny = np.finfo(float).tiny  # an impossible label rules a class out without infinities
    logs = np.log(np.maximum(confusion, tiny)).transpose(1, 0, 2).reshape(len(prior), -1)
    evidence = [np.bincount(item, by_cell[cell], num_items) for by_cell in logs]
    joint = np.stack(evidence, axis=1) + np.log(np.maximum(prior, tiny))
    return _normalised(np.exp(joint - joint.max(axis=1, keepdims=True)))


def _normalised(counts: np.ndarray) -> np.ndarray:
    """Rows that add up to one; a row of zeros says nothing, and becomes uniform."""
    import numpy as np

    total = counts.sum(axis=-1, keepdims=True)
    return np.where(total > 0, counts / np.where(total > 0, total, 1), 1 / counts.shape[-1])


def _with_known(posterior: np.ndarray, known: np.ndarray | None) -> np.ndarray:
    import numpy as np

    if known is None:
        return posterior
    certain = np.eye(posterior.shape[1])[np.maximum(known, 0)]
    return np.where((known >= 0)[:, None], certain, posterior)
