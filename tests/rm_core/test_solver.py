"""The exact optimum, its left-out logits and its invariances, for every objective and link."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import approx_fprime, minimize

from rm_core.errors import TrainingDataError
from rm_core.heads import RewardHead
from rm_core.hessian import Inverse, RowsInverse
from rm_core.leave_one_out import _sample, choose_penalty, left_out_logits, left_out_loss
from rm_core.links import LINKS, Davidson
from rm_core.objectives import coherence_form, outcome_rows, parting, token_rows
from rm_core.pairs import PreferencePair, from_chosen
from rm_core.solver import (
    Optimum,
    Problem,
    Rows,
    calibration_scale,
    mean_log_loss,
    sigmoid,
)


def rows(n: int, d: int, seed: int = 0, groups: int | None = None, ties: bool = False) -> Rows:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    truth = rng.normal(size=d) / np.sqrt(d)
    target = (rng.random(n) < sigmoid(2 * x @ truth)).astype(float)
    target[:: max(n // 7, 1)] = 0.5  # ties
    target[1 :: max(n // 5, 1)] = 0.75  # split votes
    tie = np.where(target == 0.5, 1.0, np.where(target == 0.75, 0.25, 0.0))
    group = rng.integers(0, groups or n, n) if groups else np.arange(n)
    return Rows(x, target, rng.uniform(0.5, 2, n), group, tie if ties else None)


def form(d: int) -> np.ndarray:
    steps = np.random.default_rng(5).normal(size=(3 * d, d))
    return 4 * steps.T @ steps


# Every kind of problem that a fit can be: link, margins, quadratic terms.
KINDS = {
    "half": (rows(80, 12), "half", None),
    "half, few rows": (rows(20, 60), "half", None),
    "half, margins": (replace(rows(80, 12), margin=np.linspace(-0.5, 0.5, 80)), "half", None),
    "davidson": (rows(80, 12, ties=True), "davidson", None),
    "davidson, few rows": (rows(25, 70, ties=True), "davidson", None),
    "rao-kupper": (rows(80, 12, ties=True), "rao-kupper", None),
    "coherent": (rows(80, 12), "half", form(12)),
    "coherent, few rows": (rows(20, 60, ties=True), "rao-kupper", form(60)),
}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())


def problem_of(kind) -> Problem:
    return Problem(kind[0], LINKS[kind[1]], quadratic=kind[2])


@every_kind
def test_the_gradient_is_that_of_finite_differences(kind) -> None:
    problem = problem_of(kind)
    width = kind[0].features.shape[1]
    point = np.append(np.random.default_rng(1).normal(size=width) * 0.3, 0.4)

    def value(v: np.ndarray) -> float:
        return problem.value(Optimum(v[:-1], v[-1]), ridge=5.0)[0]

    _, gradient = problem.value(Optimum(point[:-1], point[-1]), ridge=5.0)
    np.testing.assert_allclose(gradient, approx_fprime(point, value, 1e-7), rtol=1e-4, atol=2e-4)


@every_kind
def test_curvatures_are_those_of_finite_differences(kind) -> None:
    problem, step = problem_of(kind), 1e-5
    link, r = problem.link, problem.rows
    tie = np.zeros_like(r.target) if r.tie is None else r.tie
    z = np.random.default_rng(2).normal(size=len(r.target))
    by_z, by_threshold = link.curvature(z, r.target, tie, 0.6)
    ahead, behind = (link.slopes(z + s, r.target, tie, 0.6).by_z for s in (step, -step))
    np.testing.assert_allclose(by_z, (ahead - behind) / (2 * step), atol=1e-6)
    ahead, behind = (link.slopes(z, r.target, tie, 0.6 + s).by_threshold for s in (step, -step))
    np.testing.assert_allclose(by_threshold, (ahead - behind) / (2 * step), atol=1e-6)


@every_kind
@pytest.mark.parametrize("penalty", [1.0, 0.01])
def test_the_optimum_is_the_one_scipy_finds(kind, penalty: float) -> None:
    problem = problem_of(kind)
    ridge = penalty * problem.num
    found = problem.solve(penalty)

    def value(v: np.ndarray) -> tuple[float, np.ndarray]:
        return problem.value(Optimum(v[:-1], v[-1]), ridge)

    free = [(None, None)] * len(found.theta)
    low = [(1e-6, None)] if kind[1] == "rao-kupper" else [(None, None)]
    theirs = minimize(
        value,
        np.append(problem.zero.theta, problem.zero.threshold),
        jac=True,
        method="L-BFGS-B",
        bounds=free + low,
        options={"gtol": 1e-9, "ftol": 1e-16, "maxiter": 5000, "maxfun": 20_000},
    ).x
    np.testing.assert_allclose(found.theta, theirs[:-1], atol=3e-6)
    assert found.threshold == pytest.approx(theirs[-1], abs=1e-5)
    _, gradient = problem.value(found, ridge)
    _, at_zero = problem.value(problem.zero, ridge)
    assert np.linalg.norm(gradient) <= 1e-9 * np.linalg.norm(at_zero)


def test_the_same_rows_give_the_same_bits_and_a_warm_start_the_same_optimum() -> None:
    one, two = Problem(rows(60, 90)), Problem(rows(60, 90))
    assert np.array_equal(one.solve(0.1).theta, two.solve(0.1).theta)
    warm = one.solve(0.1, start=one.solve(10.0))
    np.testing.assert_allclose(warm.theta, two.solve(0.1).theta, atol=1e-7)


def test_separable_rows_with_a_tiny_penalty_still_converge() -> None:
    x = np.concatenate([np.eye(6), -np.eye(6)]) * 50
    r = Rows(x, np.repeat([1.0, 0.0], 6), np.ones(12), np.arange(12))
    theta = Problem(r).solve(1e-6).theta
    assert np.isfinite(theta).all()
    assert mean_log_loss(x @ theta, r.target, r.weight) < 0.01


def test_rows_without_a_preference_are_at_their_optimum_already() -> None:
    even = replace(rows(30, 5), target=np.full(30, 0.5))
    assert not Problem(even).solve(0.1).theta.any()


def test_features_that_are_not_finite_are_an_error_in_words() -> None:
    broken = rows(30, 5)
    broken.features[3, 2] = np.nan
    with np.errstate(invalid="ignore"), pytest.raises(TrainingDataError, match="not finite"):
        Problem(broken).solve(0.1)


def true_left_out(problem: Problem, penalty: float) -> np.ndarray:
    """Every prompt truly left out, with the same ridge as with all rows."""
    true = np.empty(len(problem.scored.target))
    for g in np.unique(problem.scored.group):
        rest = problem.rows.take(problem.rows.group != g)
        scaled = penalty * problem.num / rest.weight.sum()
        part = Problem(rest, problem.link, quadratic=problem.quadratic)
        test = problem.scored.group == g
        true[test] = problem.scored.features[test] @ part.solve(scaled).theta
    return true


@pytest.mark.parametrize("groups", [None, 12])
@pytest.mark.parametrize("kind", ["half", "half, few rows", "davidson", "coherent"])
def test_left_out_logits_are_close_to_truly_leaving_prompts_out(kind: str, groups) -> None:
    r, link, quadratic = KINDS[kind]
    if groups is not None:
        r = replace(r, group=np.random.default_rng(0).integers(0, groups, len(r.target)))
    problem = Problem(r, LINKS[link], quadratic=quadratic)
    at = problem.solve(0.1)
    approximate = left_out_logits(problem, at, 0.1)
    true = true_left_out(problem, 0.1)
    fitted = r.features @ at.theta
    assert np.abs(approximate - true).max() < 0.16 * np.abs(fitted - true).max()
    assert np.corrcoef(approximate, true)[0, 1] > 0.99


@pytest.mark.parametrize("penalty", [10.0, 0.1, 0.003])
@pytest.mark.parametrize("groups", [None, 12])
@pytest.mark.parametrize("kind", ["half, few rows", "davidson, few rows"])
def test_the_path_s_inverse_between_rows_is_the_hessian_s(kind: str, groups, penalty) -> None:
    r, link, _ = KINDS[kind]
    if groups is not None:
        r = replace(r, group=np.random.default_rng(0).integers(0, groups, len(r.target)))
    problem = Problem(r, LINKS[link])
    at = problem.solve(penalty)
    ridge = penalty * problem.num
    inverse = problem.path_inverse(at, ridge, exact=True)
    assert isinstance(inverse, RowsInverse)
    curvature, _ = problem.curvature(at)
    hessian = (r.features * curvature[:, None]).T @ r.features + ridge * np.eye(len(at.theta))
    vector = np.random.default_rng(1).normal(size=len(at.theta))
    wanted = np.linalg.solve(hessian, vector)
    np.testing.assert_allclose(inverse.solve(vector), wanted, atol=1e-3 * np.abs(wanted).max())
    for members in ([[0], [3]], [[0, 3, 7], [2, 5, 1]]):
        x = r.features[np.array(members)]
        np.testing.assert_allclose(
            inverse.within(np.array(members)),
            x @ np.linalg.inv(hessian) @ x.swapaxes(1, 2),
            rtol=1e-3,
            atol=1e-3 / ridge,
        )
    exact = left_out_logits(problem, at, penalty)
    approximate = left_out_logits(problem, at, penalty, inverse)
    np.testing.assert_allclose(approximate, exact, atol=2e-3 * np.abs(exact).max())


def test_rows_without_weight_are_left_to_the_hessian() -> None:
    r = rows(20, 60)
    problem = Problem(replace(r, weight=np.where(np.arange(20) == 4, 0.0, r.weight)))
    assert isinstance(problem.path_inverse(problem.zero, 3.0, exact=True), Inverse)
    assert choose_penalty(problem).penalty > 0


def test_left_out_logits_of_scored_rows_leave_all_fitted_rows_of_their_prompt_out() -> None:
    r = rows(90, 8, groups=20)
    scored = Rows(rows(40, 8, seed=3).features, np.ones(40), np.ones(40), np.arange(40) % 20)
    problem = Problem(r, scored=scored)
    at = problem.solve(0.1)
    approximate, true = left_out_logits(problem, at, 0.1), true_left_out(problem, 0.1)
    assert np.abs(approximate - true).max() < 0.2 * np.abs(scored.features @ at.theta - true).max()
    some = left_out_logits(problem, at, 0.1, groups=np.array([4]))
    assert np.array_equal(np.flatnonzero(some != scored.features @ at.theta), [4, 24])
    np.testing.assert_allclose(some[[4, 24]], approximate[[4, 24]], rtol=1e-5)


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
    losses = {}
    problem = Problem(signal)
    for penalty in (3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001):
        at = problem.solve(penalty)
        losses[penalty] = left_out_loss(problem, left_out_logits(problem, at, penalty), at)
    assert weak.penalty == min(losses, key=losses.__getitem__)  # no valley was overlooked
    assert weak.log_loss == pytest.approx(losses[weak.penalty], rel=1e-5)
    assert weak.log_loss < np.log(2) < chosen.log_loss + 0.02


def test_many_rows_choose_their_penalty_on_some_and_report_all() -> None:
    r = rows(9000, 6)
    chosen = choose_penalty(Problem(r))
    assert len(chosen.left_out) == 9000
    assert (chosen.left_out != r.features @ chosen.optimum.theta).all()
    assert chosen.log_loss == pytest.approx(min(loss for _, loss in chosen.path), abs=0.02)


@pytest.mark.parametrize("link", ["half", "davidson", "rao-kupper"])
def test_swapping_every_pair_negates_the_logits_and_keeps_the_head(link) -> None:
    r = replace(rows(50, 8, ties=True), margin=np.linspace(-0.3, 0.3, 50))
    swapped = replace(r, features=-r.features, target=1 - r.target, margin=-r.margin)
    one, two = Problem(r, LINKS[link]), Problem(swapped, LINKS[link])
    assert one.value(Optimum(np.ones(8), 0.5), 1.0)[0] == pytest.approx(
        two.value(Optimum(np.ones(8), 0.5), 1.0)[0]
    )
    a, b = one.solve(0.1), two.solve(0.1)
    np.testing.assert_allclose(a.theta, b.theta, atol=1e-8)
    assert a.threshold == pytest.approx(b.threshold, abs=1e-8)
    np.testing.assert_allclose(r.features @ a.theta, -(swapped.features @ b.theta), atol=1e-8)


@pytest.mark.parametrize("link", ["davidson", "rao-kupper"])
def test_the_threshold_that_made_the_ties_is_found(link) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20_000, 3))
    z, truth = x @ [1.0, -2.0, 0.5], 0.7
    tied = LINKS[link].tie_probability(z, truth)
    if link == "davidson":
        wins = (1 - tied) * sigmoid(z)
    else:
        wins = sigmoid(z - truth)
    draw = rng.random(20_000)
    tie = ((draw >= wins) & (draw < wins + tied)).astype(float)
    target = (draw < wins) + tie / 2
    r = Rows(x, target, np.ones(20_000), np.arange(20_000), tie)
    at = Problem(r, LINKS[link]).solve(1e-6)
    assert at.threshold == pytest.approx(truth, abs=0.05)
    np.testing.assert_allclose(at.theta, [1.0, -2.0, 0.5], atol=0.08)
    half = Problem(r, LINKS["half"]).solve(1e-6).theta
    assert abs(half[1]) < 1.9  # ties taken for half wins flatten the rewards


def test_without_ties_a_model_of_ties_is_bradley_terry() -> None:
    z, target, none = np.linspace(-3, 3, 7), np.ones(7), np.zeros(7)
    theirs = Davidson().slopes(z, target, none, -40.0)
    ours = LINKS["half"].slopes(z, target, none, 0.0)
    np.testing.assert_allclose(theirs.loss, ours.loss)
    np.testing.assert_allclose(theirs.by_z, ours.by_z)


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


def test_a_few_pairs_do_not_throw_the_calibration_far() -> None:
    logits = np.array([0.5, -0.4, 0.3, 0.6])
    right, wrong = np.array([1.0, 0.0, 1.0, 1.0]), np.array([0.0, 1.0, 0.0, 0.0])
    assert 1 < calibration_scale(logits, right, np.ones(4)) < 2
    assert 0.5 < calibration_scale(logits, wrong, np.ones(4)) < 1


def pair(a: str = "x", b: str = "y") -> PreferencePair:
    return from_chosen("p", [{"role": "user", "content": "q"}], a, b)


def many_rows(num_prompts: int, rows_each: int) -> Problem:
    """Prompts with many fitted rows and one scored row each."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(num_prompts), rows_each)
    target = rng.integers(0, 2, num_prompts).astype(float)
    x = rng.normal(size=(len(group), 4)) + (2 * target[group] - 1)[:, None] * 0.3
    rows = Rows(x, target[group], np.full(len(group), 1 / rows_each), group)
    scored = Rows(x[::rows_each], target, np.ones(num_prompts), np.arange(num_prompts))
    return Problem(rows, scored=scored)


@pytest.mark.parametrize(
    ("num_prompts", "rows_each", "least", "most"),
    [(212, 60, 212, 212), (1000, 40, 200, 260), (4000, 8, 500, 800), (300, 5, 300, 300)],
)
def test_a_penalty_is_chosen_on_two_hundred_prompts_or_more(
    num_prompts: int, rows_each: int, least: int, most: int
) -> None:
    groups, scored = _sample(many_rows(num_prompts, rows_each))
    num_used = num_prompts if groups is None else len(groups)
    assert least <= num_used <= most
    assert scored is None or len(scored) == num_used


def test_losses_along_the_path_compare_with_the_chosen_one_s_whole_loss() -> None:
    for problem in (many_rows(1000, 20), many_rows(212, 60), many_rows(100, 3)):
        choice = choose_penalty(problem)
        assert dict(choice.path)[choice.penalty] == pytest.approx(choice.log_loss, abs=1e-12)
        assert min(loss for _, loss in choice.path) == pytest.approx(choice.log_loss, abs=1e-12)


def test_a_penalty_at_the_edge_of_the_grid_is_said_to_be_there() -> None:
    problem = many_rows(100, 3)
    inner = choose_penalty(problem, [30.0, choose_penalty(problem).penalty, 1e-9])
    assert inner.edge is None
    assert choose_penalty(problem, [1e3, 1e2]).edge == "weakest"
    assert choose_penalty(problem, [1e-8, 1e-7]).edge == "strongest"
    assert choose_penalty(problem, [1.0]).edge is None  # given, not chosen


def token_problem(a: np.ndarray, b: np.ndarray, begin: int = 0, **options) -> Rows:
    options = {"token_weight": 1.0, "max_positions": 64} | options
    outcome = outcome_rows([pair()], [(a[-1:], b[-1:])])
    return token_rows(outcome, [a], [b], [begin], **options)


def test_a_target_margin_asks_for_a_lead_of_the_better_answer() -> None:
    a, b = np.ones((1, 2)), np.zeros((1, 2))
    for target in (1.0, 0.0):
        strong = replace(pair(), target=target, target_margin=0.5)
        [margin] = outcome_rows([strong], [(a, b)], margin_scale=2.0).margin
        assert margin == (1.0 if target == 1.0 else -1.0)
    assert outcome_rows([replace(pair(), target=0.5, target_margin=1.0)], [(a, b)]).margin is None
    assert outcome_rows([strong], [(a, b)], margin_scale=0.0).margin is None


def test_coherence_terms_are_the_means_that_they_are_documented_to_be() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(t, 4)).astype(np.float32) for t in (7, 3))
    q = coherence_form([pair()], [a], [b], lookahead_weight=0.6, smoothness_weight=0.2)
    w = rng.normal(size=4)
    by_hand = 0.0
    for states in (a, b):
        v = states @ w
        ahead = v[:-1] - v[-1]
        by_hand += 0.6 * (ahead**2).sum() / len(v) + 0.2 * (np.diff(v) ** 2).mean()
    assert 0.5 * w @ q @ w == pytest.approx(by_hand, rel=1e-5)
    one_token = coherence_form([pair()], [a[:1]], [b[:1]], lookahead_weight=1, smoothness_weight=1)
    assert not one_token.any()


def test_per_token_rows_start_where_answers_part_and_end_with_the_shorter() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(7, 4)).astype(np.float32)
    b = np.concatenate([a[:2], rng.normal(size=(3, 4)).astype(np.float32)])
    r = token_problem(a, b, 2)
    np.testing.assert_allclose(r.features[0], a[-1] - b[-1], atol=1e-6)
    np.testing.assert_allclose(r.features[1:], a[2:5] - b[2:5], atol=1e-6)
    np.testing.assert_allclose(r.weight, [1, 1 / 3, 1 / 3, 1 / 3])


def test_answers_part_at_their_first_differing_id() -> None:
    ids = np.array([7, 7, 8, 9], dtype=np.int32)
    assert parting(ids, np.array([7, 7, 9, 9, 1])) == 2
    assert parting(ids, ids[:3]) == 3
    assert parting(ids, ids) == 4
    assert parting(ids, ids[:0]) == 0


def test_an_answer_that_is_the_others_beginning_has_its_score_term_only() -> None:
    a = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    assert len(token_problem(a, a[:3], 3).target) == 1
    identical = token_problem(a, a, 5)
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
