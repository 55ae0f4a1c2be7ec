"""The exact optimum, its left-out logits and its invariances."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import check_grad, minimize

from rm_core.heads import RewardHead
from rm_core.objectives import token_rows
from rm_core.pairs import PreferencePair, from_chosen
from rm_core.solver import (
    Problem,
    Rows,
    calibration_scale,
    choose_penalty,
    mean_log_loss,
    sigmoid,
)


def rows(n: int, d: int, seed: int = 0, groups: int | None = None) -> Rows:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    truth = rng.normal(size=d) / np.sqrt(d)
    target = (rng.random(n) < sigmoid(2 * x @ truth)).astype(float)
    target[:: max(n // 7, 1)] = 0.5  # ties
    target[1 :: max(n // 5, 1)] = 0.75  # split votes
    return Rows(x, target, rng.uniform(0.5, 2, n), rng.integers(0, groups or n, n))


def by_scipy(r: Rows, penalty: float) -> np.ndarray:
    ridge = penalty * r.weight.sum()

    def value(theta):
        z = r.features @ theta
        return r.weight @ (np.logaddexp(0, z) - r.target * z) + ridge / 2 * theta @ theta

    def gradient(theta):
        p = 1 / (1 + np.exp(-r.features @ theta))
        return r.features.T @ (r.weight * (p - r.target)) + ridge * theta

    assert check_grad(value, gradient, np.full(r.features.shape[1], 0.1)) < 1e-3
    found = minimize(
        value,
        np.zeros(r.features.shape[1]),
        jac=gradient,
        method="BFGS",
        options={"gtol": 1e-10, "maxiter": 5000},
    )
    return found.x


@pytest.mark.parametrize(("n", "d"), [(80, 12), (20, 40), (30, 30)])
@pytest.mark.parametrize("penalty", [1.0, 0.01])
def test_the_optimum_is_the_one_scipy_finds(n: int, d: int, penalty: float) -> None:
    r = rows(n, d)
    problem = Problem(r)
    theta = problem.theta(problem.solve(penalty))
    np.testing.assert_allclose(theta, by_scipy(r, penalty), atol=2e-6)


def test_the_same_rows_give_the_same_bits_and_a_warm_start_the_same_optimum() -> None:
    one, two = Problem(rows(60, 90)), Problem(rows(60, 90))
    assert np.array_equal(one.solve(0.1), two.solve(0.1))
    warm = one.solve(0.1, start=one.solve(10.0))
    np.testing.assert_allclose(warm, two.solve(0.1), atol=1e-7)


def test_separable_rows_with_a_tiny_penalty_still_converge() -> None:
    x = np.concatenate([np.eye(6), -np.eye(6)]) * 50
    r = Rows(x, np.repeat([1.0, 0.0], 6), np.ones(12), np.arange(12))
    problem = Problem(r)
    phi = problem.solve(1e-6)
    assert np.isfinite(phi).all()
    assert mean_log_loss(problem.rotated @ phi, r.target, r.weight) < 0.01


@pytest.mark.parametrize("groups", [None, 12])
def test_left_out_logits_are_close_to_truly_leaving_prompts_out(groups: int | None) -> None:
    r = rows(60, 10, groups=groups)
    problem = Problem(r)
    phi = problem.solve(0.1)
    approximate = problem.left_out_logits(phi, 0.1)
    true = np.empty(60)
    for g in np.unique(r.group):
        rest = r.take(r.group != g)
        # the same ridge as with all rows: that is what the approximation leaves out
        scaled = 0.1 * r.weight.sum() / rest.weight.sum()
        part = Problem(rest)
        true[r.group == g] = r.features[r.group == g] @ part.theta(part.solve(scaled))
    fitted = problem.rotated @ phi
    assert np.abs(approximate - true).max() < 0.12 * np.abs(fitted - true).max()
    assert np.corrcoef(approximate, true)[0, 1] > 0.995


def test_the_chosen_penalty_is_the_best_of_the_path_and_noise_gets_a_strong_one() -> None:
    rng = np.random.default_rng(0)
    noise = Rows(
        rng.normal(size=(100, 50)),
        rng.integers(0, 2, 100).astype(float),
        np.ones(100),
        np.arange(100),
    )
    chosen = choose_penalty(Problem(noise))
    assert chosen.penalty >= 3.0
    signal = rows(400, 10)
    weak = choose_penalty(Problem(signal))
    assert weak.penalty < 1.0
    assert weak.penalty == min(weak.path, key=lambda entry: entry[1])[0]
    assert weak.log_loss < np.log(2) < chosen.log_loss + 0.02


def test_swapping_every_pair_negates_the_head() -> None:
    r = rows(50, 8)
    swapped = Rows(-r.features, 1 - r.target, r.weight, r.group)
    one, two = Problem(r), Problem(swapped)
    np.testing.assert_allclose(one.theta(one.solve(0.1)), two.theta(two.solve(0.1)), atol=1e-8)
    np.testing.assert_allclose(
        r.features @ one.theta(one.solve(0.1)),
        -(swapped.features @ two.theta(two.solve(0.1))),
        atol=1e-8,
    )


def test_equal_rewards_cost_ln_2() -> None:
    assert mean_log_loss(np.zeros(5), np.array([0, 0.2, 0.5, 0.9, 1]), np.ones(5)) == pytest.approx(
        np.log(2)
    )


def test_calibration_finds_the_scale_that_made_the_votes() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=20_000) * 2
    target = (rng.random(20_000) < sigmoid(0.5 * logits)).astype(float)
    assert calibration_scale(logits, target, np.ones(20_000)) == pytest.approx(0.5, abs=0.05)
    assert calibration_scale(np.zeros(3), np.ones(3), np.ones(3)) == 1.0


def pair(a: str = "x", b: str = "y") -> PreferencePair:
    return from_chosen("p", [{"role": "user", "content": "q"}], a, b)


def token_problem(a: np.ndarray, b: np.ndarray, **options) -> Rows:
    options = {"token_weight": 1.0, "max_positions": 64} | options
    return token_rows([pair()], [a], [b], **options)


def test_per_token_rows_start_where_answers_part_and_end_with_the_shorter() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(7, 4)).astype(np.float32)
    b = np.concatenate([a[:2], rng.normal(size=(3, 4)).astype(np.float32)])
    r = token_problem(a, b)
    np.testing.assert_allclose(r.features[0], a[-1] - b[-1], atol=1e-6)
    np.testing.assert_allclose(r.features[1:], a[2:5] - b[2:5], atol=1e-6)
    np.testing.assert_allclose(r.weight, [1, 1 / 3, 1 / 3, 1 / 3])


def test_an_answer_that_is_the_others_beginning_has_its_score_term_only() -> None:
    a = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    assert len(token_problem(a, a[:3]).target) == 1
    identical = token_problem(a, a)
    assert len(identical.target) == 1
    assert not identical.features.any()


def test_per_token_positions_are_limited_evenly_with_unchanged_total_weight() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(200, 3)).astype(np.float32) for _ in range(2))
    r = token_problem(a, b, max_positions=10, token_weight=2.0)
    assert len(r.target) == 11
    assert r.weight[1:].sum() == pytest.approx(2.0)
    np.testing.assert_allclose(r.features[-1], a[199] - b[199], atol=1e-6)


@pytest.mark.parametrize("readout", ["last", "mean", "mean+last"])
def test_contributions_add_up_to_the_reward(readout) -> None:
    rng = np.random.default_rng(0)
    states = rng.normal(size=(9, 6)).astype(np.float32)
    end = rng.normal(size=6) if readout == "mean+last" else None
    head = RewardHead(readout, 3, rng.normal(size=6), end)
    reward = head.rewards(states.mean(axis=0)[None], states[-1:])[0]
    assert head.contributions(states).sum() == pytest.approx(reward, abs=1e-6)
