"""The posterior of differences, its stored forms, and what selection makes of it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

from rm_core.backbone import BackboneInfo
from rm_core.config import TrainConfig
from rm_core.conversation import Answer
from rm_core.encoding import encode_missing
from rm_core.features import FeatureStore
from rm_core.heads import RewardHead
from rm_core.hessian import dense_inverse, inverse_cholesky, low_rank_inverse
from rm_core.selection import greedy_d_optimal, pair_differences, uncertainty_scores
from rm_core.uncertainty import (
    Posterior,
    averaged_calibration,
    averaged_probability,
)

RIDGE = 3.0


def direction(d: int) -> np.ndarray:
    vector = np.random.default_rng(9).normal(size=d)
    return vector / np.linalg.norm(vector)


def example(n: int, d: int) -> tuple[Posterior, np.ndarray, np.ndarray]:
    """A posterior, its exact covariance in raw features, and some differences."""
    rng = np.random.default_rng(0)
    scale = rng.uniform(0.5, 2, d)
    u = direction(d)
    projection = np.eye(d) - np.outer(u, u)
    x = rng.normal(size=(n, d)) @ projection
    curvature = rng.uniform(0.05, 0.25, n)
    centre = [(slice(0, d), u)]
    hessian = (x * curvature[:, None]).T @ x + RIDGE * np.eye(d)
    inverse = dense_inverse(hessian, RIDGE) if n > d else low_rank_inverse(x, curvature, RIDGE)
    posterior = Posterior.of(inverse, scale, centre)
    back = projection / scale  # raw difference -> scaled and centred
    covariance = back.T @ np.linalg.inv(hessian) @ back
    return posterior, covariance, rng.normal(size=(40, d))


FORMS = pytest.mark.parametrize(("n", "d"), [(200, 30), (10, 60)], ids=["dense", "low-rank"])


@FORMS
def test_the_variance_of_a_difference_is_that_of_the_inverse_hessian(n: int, d: int) -> None:
    posterior, covariance, x = example(n, d)
    exact = np.einsum("ij,jk,ik->i", x, covariance, x)
    np.testing.assert_allclose(posterior.difference_variance(x), exact, rtol=1e-5)
    assert posterior.difference_variance(np.zeros((2, d))).tolist() == [0, 0]
    np.testing.assert_allclose(
        posterior.difference_variance(-x), posterior.difference_variance(x)
    )  # swapping the answers changes nothing


@FORMS
def test_what_is_saved_is_what_is_loaded(n: int, d: int, tmp_path) -> None:
    posterior, _, x = example(n, d)
    (tmp_path / "posterior.safetensors").write_bytes(posterior.calibrated(0.7).to_bytes())
    loaded = Posterior.load(tmp_path)
    assert loaded is not None
    assert loaded.calibration == 0.7
    assert np.array_equal(loaded.difference_variance(x), posterior.difference_variance(x))
    assert Posterior.load(tmp_path / "elsewhere") is None


def test_a_cholesky_factor_is_inverted_by_halves() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 400))
    matrix = x.T @ x + np.eye(400)
    exact = np.linalg.inv(np.linalg.cholesky(matrix))
    np.testing.assert_allclose(inverse_cholesky(matrix), exact, atol=1e-10)


def test_the_averaged_probability_is_close_to_the_integral_and_closer_to_a_half() -> None:
    for mean, std in [(0.3, 0.5), (1.5, 1.0), (-2.0, 2.0)]:
        density = f"{mean},{std}"
        exact, _ = quad(
            lambda z, m=mean, s=std: (
                np.exp(-((z - m) ** 2) / (2 * s * s)) / (s * np.sqrt(2 * np.pi)) / (1 + np.exp(-z))
            ),
            mean - 10 * std,
            mean + 10 * std,
        )
        found = float(averaged_probability(np.array(mean), np.array(std**2)))
        assert found == pytest.approx(exact, abs=0.01), density
        assert abs(found - 0.5) < abs(1 / (1 + np.exp(-mean)) - 0.5)


def test_the_calibration_that_made_the_votes_is_found() -> None:
    rng = np.random.default_rng(0)
    mean, variance = rng.normal(size=20_000) * 2, rng.uniform(0.1, 2, 20_000)
    target = (rng.random(20_000) < averaged_probability(mean, variance, 0.6)).astype(float)
    weight = np.ones(20_000)
    assert averaged_calibration(mean, variance, target, weight) == pytest.approx(0.6, abs=0.05)
    nothing = averaged_calibration(mean * 0, variance, target, weight)
    assert nothing == pytest.approx(1, abs=1e-5)


@FORMS
@pytest.mark.parametrize("pending", [None, [3, 5]])
def test_the_greedy_choice_is_the_one_that_new_posteriors_would_make(n, d, pending) -> None:
    posterior, covariance, x = example(n, d)
    mean = x @ np.random.default_rng(1).normal(size=d) / d
    chosen, gains = greedy_d_optimal(posterior, x, 6, mean, None if pending is None else pending)
    p = 1 / (1 + np.exp(-mean))
    judged = list(pending or [])
    for index, gain in zip(chosen, gains, strict=True):
        current = covariance
        for j in judged:
            one = current @ x[j]
            w = p[j] * (1 - p[j])
            current = current - np.outer(one, one) * w / (1 + w * x[j] @ one)
        exact = 0.5 * np.log1p(p * (1 - p) * np.einsum("ij,jk,ik->i", x, current, x))
        exact[judged] = -1
        assert index == exact.argmax()
        assert gain == pytest.approx(exact.max(), rel=1e-4)
        judged.append(int(index))
    assert (np.diff(gains) <= 1e-9).all()


def test_a_batch_does_not_ask_the_same_thing_twice_and_ends_with_the_candidates() -> None:
    posterior, _, x = example(200, 30)
    twins = np.concatenate([x[:1] * 30, x[:1] * 30, x[1:4]])
    chosen, gains = greedy_d_optimal(posterior, twins, 10)
    assert sorted(chosen.tolist()) == [0, 1, 2, 3, 4]
    assert chosen[0] == 0
    twin = gains[chosen.tolist().index(1)]
    assert twin <= 0.5 * np.log(2) + 1e-6 < gains[0]  # it could only be judged a second time


def test_uncertain_pairs_are_those_near_a_half_and_ignorance_is_part_of_it() -> None:
    posterior, _, x = example(200, 30)
    scores = uncertainty_scores(posterior, np.stack([x[0], x[0], x[0] * 9]), np.array([0, 3.0, 0]))
    assert scores.entropy[0] == pytest.approx(np.log(2))
    assert scores.entropy[0] > scores.entropy[1]
    assert scores.disagreement[2] > scores.disagreement[0]
    assert (scores.disagreement <= scores.entropy).all()
    assert scores.information[2] > scores.information[0]


def test_pair_differences_give_the_reward_difference_and_name_what_is_not_encoded(
    info: BackboneInfo, shared_store: FeatureStore
) -> None:
    prompt = [{"role": "user", "content": "Which fruit?"}]
    answers = [Answer(prompt, text) for text in ("An apple.", "A pear.", "Never encoded.")]
    limits = TrainConfig().limits
    encode_missing(shared_store, info, answers[:2], layers=[2], limits=limits, device="cpu")
    rng = np.random.default_rng(0)
    width = info.hidden_size
    head = RewardHead("mean+last", 2, rng.normal(size=width), rng.normal(size=width))
    pairs = [(answers[0], answers[1]), (answers[0], answers[2]), (answers[1], answers[0])]
    x, missing = pair_differences(head, shared_store, info, limits, pairs)
    assert missing.tolist() == [1]
    summaries = shared_store.summaries(
        shared_store.keys_for(info, "float32", limits, answers[:2]), 2
    )
    rewards = head.rewards(summaries.mean, summaries.end)
    margins = x @ head.weights
    assert margins[0] == pytest.approx(rewards[0] - rewards[1], abs=1e-5)
    assert margins[2] == pytest.approx(-margins[0])
    assert not x[1].any()
    none, missing = pair_differences(head, shared_store, info, limits, [])
    assert none.shape == (0, 2 * width)
    assert len(missing) == 0
