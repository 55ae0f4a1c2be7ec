"""The learning curve rises where there is something to learn, and owns up where there is not."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rm_core import learning_curve as module
from rm_core.conversation import Answer
from rm_core.errors import Stopped, TrainingDataError
from rm_core.fitting import PairFeatures, Recipe
from rm_core.learning_curve import learning_curve, power_law
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


def test_the_law_finds_the_curve_it_was_given() -> None:
    sizes = np.array([20.0, 40, 80, 160, 320])
    level, slope, exponent = power_law(sizes, 0.3 + 2.0 * sizes**-0.5)
    assert (level, slope, exponent) == pytest.approx((0.3, 2.0, 0.5))
    falling = power_law(sizes, 0.001 + 5.0 * sizes**-1.5)
    assert falling[0] >= 0
