"""The learning curve rises where there is something to learn, and owns up where there is not."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rm_core import learning_curve as module
from rm_core.conversation import Answer
from rm_core.errors import Stopped, TrainingDataError
from rm_core.fitting import PairFeatures, Recipe
from rm_core.learning_curve import learning_curve
from rm_core.learning_law import Law
from rm_core.pairs import PreferencePair

HIDDEN = 24


@pytest.fixture(autouse=True)
def fewer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NUM_BOOTSTRAP", 80)
    monkeypatch.setattr(module, "NUM_ORDERS", 4)


def make(count: int, signal: float, seed: int = 0) -> tuple[list[PreferencePair], PairFeatures]:
    """Pairs whose verdicts follow a direction in feature space as far as `signal` says."""
    rng = np.random.default_rng(seed)
    direction = np.random.default_rng(99).normal(size=HIDDEN) / np.sqrt(HIDDEN)
    a, b = rng.normal(size=(2, count, HIDDEN)).astype(np.float32)
    won = rng.random(count) < 1 / (1 + np.exp(-signal * (a - b) @ direction))
    pairs = [
        PreferencePair(
            pair_id=str(number),
            answer_a=Answer([], "a"),
            answer_b=Answer([], "b"),
            target=float(won[number]),
            group=f"prompt {number // 2}",
        )
        for number in range(count)
    ]
    return pairs, PairFeatures(3, a, a, b, b)


def test_more_pairs_give_better_heads_and_the_law_says_so() -> None:
    pairs, features = make(300, signal=4.0)
    curve = learning_curve(pairs, features, Recipe("mean"), make(200, 4.0, seed=1))
    json.dumps(curve)
    accuracies = [point["accuracy"] for point in curve["points"]]
    assert accuracies[-1] > accuracies[0] + 0.05
    assert [point["pairs"] for point in curve["points"]][-1] == 300
    for point in curve["points"]:
        assert point["accuracy_ci"][0] <= point["accuracy"] <= point["accuracy_ci"][1]
    gains = [gain["accuracy"] for gain in curve["gains"]]
    assert gains == sorted(gains)
    assert gains[0] > 0
    assert (curve["test"], curve["test_pairs"]) == ("heldout", 200)


def test_where_nothing_can_be_learned_no_gain_is_promised() -> None:
    pairs, features = make(160, signal=0.0)
    curve = learning_curve(pairs, features, Recipe("mean"))
    low, high = curve["gains"][2]["accuracy_ci"]
    assert low < 0 < high
    assert curve["test"] == "set aside"


def test_the_same_seed_gives_the_same_curve() -> None:
    pairs, features = make(80, signal=3.0)
    one, other = (learning_curve(pairs, features, Recipe("mean"), seed=5) for _ in range(2))
    assert one["points"] == other["points"]
    assert one["gains"] == other["gains"]


def test_too_little_is_said_and_a_stop_is_heeded() -> None:
    pairs, features = make(20, signal=1.0)
    with pytest.raises(TrainingDataError, match="there are 20 of 10"):
        learning_curve(pairs, features, Recipe("mean"))
    pairs, features = make(60, signal=1.0)
    with pytest.raises(Stopped):
        learning_curve(pairs, features, Recipe("mean"), should_stop=lambda: True)


def test_the_law_goes_on_as_the_curve_did_and_its_interval_grows_with_the_distance() -> None:
    sizes = np.array([30.0, 45, 60, 85, 120, 170])
    rng = np.random.default_rng(0)
    noise = 0.002 * rng.normal(size=(10, len(sizes)))
    law = Law(sizes, 0.3 + 1.0 * sizes**-0.5 + noise, 240, root=False)
    near, far = law.change(240, 60), law.change(240, 480)
    assert far[0] == pytest.approx(720**-0.5 - 240**-0.5, abs=0.01)
    assert far[0] < near[0] < 0
    assert far[1][1] - far[1][0] > near[1][1] - near[1][0] > 0


def test_the_luck_of_the_votes_that_come_is_in_the_interval_however_many_orders_there_are() -> None:
    """Increments of known variance: half the interval is no smaller than what they alone make."""
    sizes = np.array([50.0, 70, 100, 140])
    rng = np.random.default_rng(1)
    steps = rng.normal(size=(400, 3)) * 0.2 * np.sqrt(1 / sizes[:-1] - 1 / sizes[1:])
    figures = 0.6 - np.concatenate([np.zeros((400, 1)), np.cumsum(steps, axis=1)], axis=1)
    _, (low, high) = Law(sizes, figures, 200, root=False).change(200, 200)
    alone = 1.96 * 0.2 * np.sqrt(1 / 200 - 1 / 400)
    assert (high - low) / 2 > 0.95 * alone


def test_the_one_head_on_all_pairs_does_not_bend_the_law(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lucky last fit, which every order shares, would pass for a gain that is certain."""
    pairs, features = make(120, signal=3.0)
    test = make(100, 3.0, seed=1)
    honest = learning_curve(pairs, features, Recipe("mean"), test)["gains"]
    fit = module._fit_and_judge

    def lucky(*arguments):
        wrong, loss = fit(*arguments)
        return (wrong * 0, loss * 0.5) if arguments[-1] == len(pairs) else (wrong, loss)

    monkeypatch.setattr(module, "_fit_and_judge", lucky)
    assert learning_curve(pairs, features, Recipe("mean"), test)["gains"] == honest


def test_the_point_of_all_pairs_has_an_interval_of_the_draw_too() -> None:
    pairs, features = make(200, signal=2.0)
    large = learning_curve(pairs, features, Recipe("mean"), make(4000, 2.0, seed=1))["points"][-1]
    low, high = large["accuracy_ci"]
    of_tests_alone = 2 * 1.96 * np.sqrt(large["accuracy"] * (1 - large["accuracy"]) / 4000)
    assert high - low > 1.3 * of_tests_alone


def test_nothing_is_said_beyond_what_was_tested() -> None:
    pairs, features = make(60, signal=2.0)
    gains = learning_curve(pairs, features, Recipe("mean"), make(80, 2.0, seed=1))["gains"]
    assert [gain["more"] for gain in gains] == [50, 100]
    asked = learning_curve(pairs, features, Recipe("mean"), make(80, 2.0, seed=1), more=(60,))
    assert [gain["more"] for gain in asked["gains"]] == [60]
