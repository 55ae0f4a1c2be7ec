"""Figures agree with independent implementations and say what they leave out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss

from rm_core.errors import TrainingDataError
from rm_core.evaluation import evaluate_pairs, learn_baselines, vote_agreement
from rm_core.pairs import PreferencePair, from_chosen


def pairs(count: int, prompts: int | None = None) -> list[PreferencePair]:
    made = []
    for i in range(count):
        prompt = [{"role": "user", "content": f"q{i % (prompts or count)}"}]
        made.append(from_chosen(f"p{i}", prompt, f"good {i}" + "!" * (i % 3), f"bad {i}"))
    return made


def margins(some: list[PreferencePair], seed: int = 0, skill: float = 1.0) -> np.ndarray:
    """Rewards a - b that lean towards the better answer."""
    rng = np.random.default_rng(seed)
    sign = np.array([1 if p.target > 0.5 else -1 for p in some])
    return skill * sign + rng.normal(size=len(some)) * 1.5


def evaluate(some: list[PreferencePair], margin: np.ndarray, **manifest):
    return evaluate_pairs(some, margin, np.zeros(len(some)), manifest)


def test_accuracy_log_loss_and_brier_are_those_of_scikit_learn() -> None:
    some = pairs(300)
    margin = margins(some)
    figures = evaluate(some, margin, calibration_scale=0.7)
    y = [p.target for p in some]
    p = 1 / (1 + np.exp(-0.7 * margin))
    assert figures["accuracy"] == pytest.approx(accuracy_score(y, margin > 0))
    assert figures["log_loss"] == pytest.approx(log_loss(y, p))
    assert figures["brier"] == pytest.approx(brier_score_loss(y, p))


def test_swapping_the_sides_changes_no_figure() -> None:
    some = pairs(80)
    margin = margins(some)
    turned = [
        replace(p, answer_a=p.answer_b, answer_b=p.answer_a, target=1 - p.target) for p in some
    ]
    one, two = evaluate(some, margin), evaluate(turned, -margin)
    for name in ("accuracy", "accuracy_ci", "log_loss", "brier", "ece", "reward_margin"):
        assert one[name] == pytest.approx(two[name])


def test_equal_rewards_are_half_right_and_cost_ln_2() -> None:
    figures = evaluate(pairs(10), np.zeros(10))
    assert figures["accuracy"] == 0.5
    assert figures["log_loss"] == pytest.approx(np.log(2))


def test_ties_of_people_are_left_out_of_accuracy_and_counted() -> None:
    some = [replace(p, target=0.5) if i < 3 else p for i, p in enumerate(pairs(10))]
    figures = evaluate(some, margins(pairs(10), skill=10))
    assert figures["ties_left_out_of_accuracy"] == 3
    assert figures["pairs"] == 10
    assert figures["accuracy"] == 1.0
    only_ties = evaluate([replace(p, target=0.5) for p in pairs(4)], np.ones(4))
    assert only_ties["accuracy"] is None
    assert only_ties["ece"] is None


def test_intervals_are_by_prompt_wider_where_few_prompts_have_many_pairs() -> None:
    independent, clustered = pairs(400), pairs(400, prompts=8)
    rng = np.random.default_rng(0)
    per_prompt = rng.normal(size=8)
    margin = np.array([per_prompt[i % 8] for i in range(400)])
    sign = np.array([1 if p.target > 0.5 else -1 for p in clustered])
    wide = evaluate(clustered, margin * sign)["accuracy_ci"]
    sign = np.array([1 if p.target > 0.5 else -1 for p in independent])
    narrow = evaluate(independent, margin * sign)["accuracy_ci"]
    assert wide[1] - wide[0] > 3 * (narrow[1] - narrow[0])


def test_the_interval_of_independent_pairs_is_the_binomial_one() -> None:
    some = pairs(400)
    figures = evaluate(some, margins(some))
    low, high = figures["accuracy_ci"]
    spread = 1.96 * np.sqrt(figures["accuracy"] * (1 - figures["accuracy"]) / 400)
    assert high - low == pytest.approx(2 * spread, rel=0.12)


def test_a_calibrated_model_has_an_ece_at_its_noise_floor_and_a_boastful_one_above() -> None:
    some = pairs(2000)
    rng = np.random.default_rng(0)
    margin = rng.normal(size=2000) * 2
    wins = rng.random(2000) < 1 / (1 + np.exp(-margin))
    drawn = [replace(p, target=float(w)) for p, w in zip(some, wins, strict=True)]
    honest = evaluate(drawn, margin)
    boastful = evaluate(drawn, margin * 5)
    assert honest["ece"] < 2 * honest["ece_noise_floor"]
    assert boastful["ece"] > 4 * boastful["ece_noise_floor"]
    assert sum(b["pairs"] for b in honest["reliability"]) == 2000


def test_baselines_use_the_directions_learned_on_training_pairs() -> None:
    def lengths(chosen: int, rejected: int, n: int) -> list[PreferencePair]:
        return [
            from_chosen(f"{i}", [{"role": "user", "content": f"{i}"}], "g" * chosen, "b" * rejected)
            for i in range(n)
        ]

    learned = learn_baselines(lengths(3, 30, 20))
    assert learned["length"] == "shorter"
    mixed = lengths(3, 30, 6) + lengths(30, 3, 2)
    figures = evaluate(mixed, np.zeros(8), baselines=learned)
    assert figures["length_only_accuracy"] == 0.75
    assert figures["by_length"]["chosen_shorter"]["pairs"] == 6
    assert figures["by_length"]["chosen_longer"]["pairs"] == 2
    assert evaluate(mixed, np.zeros(8))["length_only_accuracy"] is None


def of_lengths(lengths: list[tuple[int, int]]) -> list[PreferencePair]:
    prompt = [{"role": "user", "content": "q"}]
    return [
        from_chosen(str(i), prompt, "g" * chosen, "b" * rejected)
        for i, (chosen, rejected) in enumerate(lengths)
    ]


def test_how_far_rewards_follow_length_is_pearsons_r_of_reward_and_log_length() -> None:
    rng = np.random.default_rng(3)
    some = of_lengths([tuple(rng.integers(1, 900, size=2).tolist()) for _ in range(60)])
    lengths = np.array(
        [np.log1p(len(p.answer_a.response)) - np.log1p(len(p.answer_b.response)) for p in some]
    )
    noisy = 2 * lengths + rng.normal(size=60)
    expected = np.corrcoef(noisy, lengths)[0, 1]
    assert evaluate(some, noisy)["reward_length_correlation"] == pytest.approx(expected)
    assert evaluate(some, -lengths)["reward_length_correlation"] == pytest.approx(-1)


def test_a_correlation_that_is_undefined_is_none() -> None:
    equal_lengths = of_lengths([(5, 5), (9, 9), (7, 7)])
    assert evaluate(equal_lengths, np.arange(3.0))["reward_length_correlation"] is None
    uneven = of_lengths([(5, 9), (9, 2), (7, 30)])
    assert evaluate(uneven, np.full(3, 0.1))["reward_length_correlation"] is None
    assert evaluate(uneven[:2], np.arange(2.0))["reward_length_correlation"] is None
    assert evaluate(uneven, np.array([1.0, -2.0, 0.5]))["reward_length_correlation"] is not None


def test_categories_are_shown_where_known() -> None:
    some = pairs(4)
    some[0] = replace(some[0], category="code")
    assert evaluate(some, np.ones(4))["by_category"]["code"]["pairs"] == 1


@pytest.mark.parametrize(
    ("target", "tie", "num", "expected"),
    [
        (0.8, 0.0, 5, 4 / 5),  # four see three against one, the fifth sees four against it
        (0.5, 0.0, 2, 0.0),  # each sees the other alone, who disagrees
        (2 / 3, 0.0, 3, 1 / 3),  # two see a tie of the others, the third sees both against it
        (0.7, 0.2, 5, 3 / 4),  # three, one and a tie, which has no verdict
        (0.75, 0.5, 2, None),  # one verdict beside a tie
        (1.0, 0.0, 1, None),
        (0.83, 0.0, 3, None),  # weighted votes: no share of three
    ],
)
def test_vote_agreement_is_of_one_vote_with_the_others(target, tie, num, expected) -> None:
    one = replace(pairs(1)[0], target=target, tie_share=tie, num_votes=num)
    found = vote_agreement([one])
    assert found == (None if expected is None else pytest.approx(expected))
    assert ("vote_agreement" in evaluate([one], np.ones(1))) == (expected is not None)


@pytest.mark.parametrize("num", [2, 3, 5])
def test_voters_who_toss_coins_agree_as_often_as_chance(num: int) -> None:
    shares = np.random.default_rng(num).binomial(num, 0.5, 4000) / num
    some = [replace(p, target=t, num_votes=num) for p, t in zip(pairs(4000), shares, strict=True)]
    assert vote_agreement(some) == pytest.approx(0.5, abs=0.02)


def test_no_pairs_is_an_error() -> None:
    with pytest.raises(TrainingDataError, match="no pair to evaluate"):
        evaluate([], np.array([]))
