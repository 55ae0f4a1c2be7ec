"""Two heads on the same pairs: what a paired test says, and what it must not."""

from __future__ import annotations

import numpy as np
import pytest

from rm_core.comparison import compare, mcnemar_p, slice_figures

NUM = 200
GROUPS = [f"prompt {number // 2}" for number in range(NUM)]
TARGETS = [1.0 if number % 3 else 0.0 for number in range(NUM)]
RIGHT = np.array([2.0 if target == 1 else -2.0 for target in TARGETS])


def with_errors(*wrong: int) -> np.ndarray:
    logits = RIGHT.copy()
    logits[list(wrong)] *= -1
    return logits


def test_equal_heads_do_not_differ() -> None:
    same = compare(TARGETS, GROUPS, with_errors(1, 5), with_errors(1, 5))
    assert same["accuracy_difference"] == 0
    assert same["accuracy_difference_ci"] == [0, 0]
    assert (same["mcnemar_p"], same["outcome"]) == (1.0, "no difference shown")


def test_swapping_the_heads_negates_every_difference() -> None:
    one, other = with_errors(*range(40)), with_errors(*range(30, 50))
    there, back = compare(TARGETS, GROUPS, one, other), compare(TARGETS, GROUPS, other, one)
    for name in ("accuracy_difference", "log_loss_difference"):
        assert there[name] == pytest.approx(-back[name])
        low, high = there[f"{name}_ci"]
        assert back[f"{name}_ci"] == pytest.approx([-high, -low])
    assert (there["only_new_right"], there["only_old_right"]) == (10, 30)
    assert (there["outcome"], back["outcome"]) == ("worse", "better")


def test_a_few_more_errors_are_not_called_worse() -> None:
    assert compare(TARGETS, GROUPS, with_errors(1, 2, 3), with_errors(4))["outcome"] == (
        "no difference shown"
    )


def test_ties_of_people_count_in_the_loss_alone() -> None:
    targets = [0.5, *TARGETS[1:]]
    found = compare(targets, GROUPS, with_errors(), with_errors(0))
    assert found["pairs"] == NUM - 1
    assert found["accuracy_difference"] == 0
    assert compare([0.5] * 4, GROUPS[:4], [1] * 4, [1] * 4) == {"pairs": 0, "outcome": None}


def test_pairs_of_one_prompt_are_drawn_together() -> None:
    """Twenty errors in one prompt are one piece of evidence, not twenty."""
    groups = ["same"] * 20 + GROUPS[20:]
    clustered = compare(TARGETS, groups, with_errors(*range(20)), with_errors())
    apart = compare(TARGETS, list(map(str, range(NUM))), with_errors(*range(20)), with_errors())
    assert clustered["outcome"] == "no difference shown"
    assert apart["outcome"] == "worse"


def test_one_prompt_alone_gives_no_interval_and_no_verdict() -> None:
    found = compare(TARGETS[:4], ["same"] * 4, RIGHT[:4], -RIGHT[:4])
    assert (found["accuracy_difference_ci"], found["outcome"]) == (None, None)


@pytest.mark.parametrize(("one", "other"), [(0, 0), (3, 9), (10, 2), (40, 41), (300, 200)])
def test_mcnemars_p_is_the_exact_binomial_one(one: int, other: int) -> None:
    from scipy.stats import binomtest

    expected = binomtest(one, one + other).pvalue if one + other else 1.0
    assert mcnemar_p(one, other) == pytest.approx(expected)


def test_slices_count_pairs_with_a_winner() -> None:
    targets = [0.5, *TARGETS[1:]]
    slices = {"first": [0, 1, 2], "tie": [0], "rest": list(range(3, NUM))}
    found = slice_figures(targets, GROUPS, with_errors(1), slices)
    assert (found["first"]["pairs"], found["first"]["accuracy"]) == (2, 0.5)
    assert found["tie"] == {"pairs": 0, "accuracy": None, "accuracy_ci": None}
    assert found["rest"]["accuracy"] == 1
    assert found["rest"]["accuracy_ci"] == [1, 1]
