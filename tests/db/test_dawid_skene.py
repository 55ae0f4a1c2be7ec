"""Dawid and Skene's model against the paper's own example, a slow reference, and known truth."""

from __future__ import annotations

import numpy as np
import pytest

from db import dawid_skene

# Table 1 of Dawid and Skene (1979): for each of 45 patients the classes given by observer 1 (three
# times) and by observers 2 to 5.
PATIENTS = """
1111111 3334334 1122122 2223121 2223222 2223322 1222111 3333433 2222223 2322223 4444444 2223343
1111111 2223212 1211111 1112111 1111111 1111111 2222221 2221322 2222222 2222221 2223222 2212222
1111111 1111111 2322222 1111111 1111111 1121121 1111111 3333233 1111111 2222222 2223232 4334343
2212232 2323233 3333432 1111111 1111111 1212111 2322222 1211111 2222222
""".split()  # noqa: SIM905 - a table, as it was printed
OBSERVERS = (0, 0, 0, 1, 2, 3, 4)


def _paper() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = [
        (patient, observer, int(given) - 1)
        for patient, answers in enumerate(PATIENTS)
        for observer, given in zip(OBSERVERS, answers, strict=True)
    ]
    item, rater, label = np.array(rows).T
    return item, rater, label


def test_the_papers_example_gives_the_papers_figures() -> None:
    found = dawid_skene.fit(*_paper(), num_classes=4, tolerance=1e-9)
    assert found.has_converged
    # Section 4 of the paper: the estimated proportions of the four classes.
    assert found.prior.round(2).tolist() == [0.40, 0.42, 0.11, 0.07]
    # Its patients 1 and 11, on whom all observers agree, are certain.
    assert found.posterior[[0, 10], [0, 3]] == pytest.approx([1, 1], abs=1e-6)


def test_it_does_what_the_formulas_say() -> None:
    item, rater, label = _paper()
    fast = dawid_skene.fit(item, rater, label, num_classes=4, tolerance=1e-9)
    truth = np.zeros((45, 4))
    for i, k in zip(item, label, strict=True):
        truth[i, k] += 1 / 7
    for _ in range(fast.num_iterations):
        prior = truth.mean(axis=0)
        error = np.zeros((5, 4, 4))
        for i, j, k in zip(item, rater, label, strict=True):
            error[j, :, k] += truth[i]
        error /= error.sum(axis=2, keepdims=True)
        for i in range(45):
            votes = item == i
            joint = [prior[k] * np.prod(error[rater[votes], k, label[votes]]) for k in range(4)]
            truth[i] = np.array(joint) / sum(joint)
    assert fast.posterior == pytest.approx(truth, abs=1e-9)
    assert fast.confusion == pytest.approx(error, abs=1e-9)


def _simulated(accuracies: list[float], num_items: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 2, num_items)
    item = np.repeat(np.arange(num_items), len(accuracies))
    rater = np.tile(np.arange(len(accuracies)), num_items)
    is_right = rng.random(len(item)) < np.array(accuracies)[rater]
    return truth, item, rater, np.where(is_right, truth[item], 1 - truth[item])


def test_reliable_annotators_are_found_and_outvote_a_careless_majority() -> None:
    accuracies = [0.95, 0.9, 0.55, 0.55, 0.5]
    truth, item, rater, label = _simulated(accuracies, 1500)
    found = dawid_skene.fit(
        item, rater, label, num_classes=2, mirror=(1, 0), pseudo_votes=4, tolerance=1e-6
    )
    assert found.confusion[:, 0, 0] == pytest.approx(accuracies, abs=0.04)
    majority = np.bincount(item, label) > 2.5
    assert (found.posterior.argmax(axis=1) == truth).mean() > (majority == truth).mean() + 0.07


def test_the_mirror_image_of_the_votes_gives_the_mirror_image() -> None:
    _, item, rater, label = _simulated([0.9, 0.7, 0.6], 200)
    ways = [
        dawid_skene.fit(item, rater, each, num_classes=2, mirror=(1, 0), pseudo_votes=4)
        for each in (label, 1 - label)
    ]
    assert ways[0].posterior == pytest.approx(ways[1].posterior[:, ::-1], abs=1e-9)
    assert ways[0].prior == pytest.approx([0.5, 0.5])


def test_somebody_with_few_votes_is_thought_average() -> None:
    _, item, rater, label = _simulated([0.8, 0.8, 0.8], 300)
    item, rater, label = np.append(item, 0), np.append(rater, 3), np.append(label, 1)
    found = dawid_skene.fit(item, rater, label, num_classes=2, mirror=(1, 0), pseudo_votes=4)
    assert 0.7 < found.confusion[3, 0, 0] < 0.9


def test_votes_of_somebody_who_seems_to_be_wrong_are_not_taken_for_their_opposite() -> None:
    _, item, rater, label = _simulated([0.9, 0.9, 0.9, 0.2], 300)
    item, rater, label = np.append(item, 300), np.append(rater, 3), np.append(label, 1)
    found = dawid_skene.fit(item, rater, label, num_classes=2, mirror=(1, 0), pseudo_votes=4)
    assert found.confusion[3] == pytest.approx(np.full((2, 2), 0.5))
    assert found.posterior[300] == pytest.approx([0.5, 0.5])
    assert found.confusion[0, 0, 0] > 0.8


def test_a_known_item_stays_as_it_is() -> None:
    _, item, rater, label = _simulated([0.9, 0.9, 0.9], 50)
    known = np.full(50, -1)
    known[7] = 1 - np.bincount(label[item == 7]).argmax()
    found = dawid_skene.fit(item, rater, label, num_classes=2, known=known)
    assert found.posterior[7, known[7]] == 1
