"""Agreement against published reference values and the packages that compute the same."""

from __future__ import annotations

from pathlib import Path

import krippendorff
import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from studio.services import agreement
from studio.services.agreement import Patterns


def _ratings(seed: int, num_pairs: int = 150, num_raters: int = 6) -> np.ndarray:
    """Verdicts [raters, pairs] of people of varying care, NaN where one did not judge."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, num_pairs)
    care = rng.uniform(0.3, 0.9, num_raters)
    is_right = rng.random((num_raters, num_pairs)) < care[:, None]
    said = np.where(is_right, truth, rng.integers(0, 4, (num_raters, num_pairs))).astype(float)
    said[rng.random(said.shape) < 0.3] = np.nan
    return said


def _columns(ratings: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pair, rater and choice of each verdict, shuffled."""
    rater, pair = np.nonzero(~np.isnan(ratings))
    order = np.random.default_rng(0).permutation(len(pair))
    rater, pair = rater[order], pair[order]
    return pair, rater, ratings[rater, pair].astype(int)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_alpha_is_that_of_the_krippendorff_package(seed: int) -> None:
    ratings = _ratings(seed)
    pair, _, choice = _columns(ratings)
    found = agreement.alpha(Patterns.of(pair, choice))
    expected = krippendorff.alpha(ratings, value_domain=range(4), level_of_measurement="nominal")
    assert found.value == pytest.approx(expected, abs=1e-12)


def test_cohens_kappa_is_that_of_scikit_learn() -> None:
    ratings = _ratings(4)
    shared = agreement.common_verdicts(*_columns(ratings))
    assert len(shared.first) == 15
    for first, second, table in zip(shared.first, shared.second, shared.tables, strict=True):
        both = ~np.isnan(ratings[[first, second]]).any(axis=0)
        expected = cohen_kappa_score(ratings[first, both], ratings[second, both])
        assert agreement.cohen_kappa(table).value == pytest.approx(expected, abs=1e-12)


def test_two_annotators_bootstrap_is_that_of_drawing_their_pairs() -> None:
    ratings = _ratings(5, num_pairs=300, num_raters=2)
    shared = agreement.common_verdicts(*_columns(ratings))
    found = agreement.cohen_kappa(shared.tables[0])
    one, other = ratings[:, ~np.isnan(ratings).any(axis=0)]
    rng = np.random.default_rng(1)
    drawn = []
    for _ in range(600):
        at = rng.integers(0, len(one), len(one))
        drawn.append(cohen_kappa_score(one[at], other[at]))
    assert [found.low, found.high] == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.02)
    mean, num = agreement.mean_cohen_kappa(shared)
    assert (num, mean.value) == (1, pytest.approx(found.value))
    assert mean.low == pytest.approx(found.low, abs=0.02)


def test_the_means_interval_is_that_of_drawing_pairs() -> None:
    ratings = _ratings(7, num_pairs=300, num_raters=5)
    found, num = agreement.mean_cohen_kappa(agreement.common_verdicts(*_columns(ratings)))
    assert num == 10
    rng = np.random.default_rng(1)
    drawn = []
    for _ in range(200):
        columns = _columns(ratings[:, rng.integers(0, 300, 300)])
        again, _ = agreement.mean_cohen_kappa(agreement.common_verdicts(*columns))
        drawn.append(again.value or 0)
    assert found.high is not None
    assert found.low is not None
    assert (found.high - found.low) / 3.92 == pytest.approx(np.std(drawn), rel=0.15)


def test_alphas_bootstrap_is_that_of_drawing_pairs() -> None:
    ratings = _ratings(6)
    pair, _, choice = _columns(ratings)
    found = agreement.alpha(Patterns.of(pair, choice))
    rng = np.random.default_rng(1)
    drawn = [
        krippendorff.alpha(
            ratings[:, rng.integers(0, 150, 150)],
            value_domain=range(4),
            level_of_measurement="nominal",
        )
        for _ in range(600)
    ]
    assert [found.low, found.high] == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.02)


def test_fleiss_kappa_of_the_textbook() -> None:
    # Fleiss (1971) as worked through in textbooks: 10 subjects, 14 raters, 5 categories, .210.
    rows = """0 0 0 0 14; 0 2 6 4 2; 0 0 3 5 6; 0 3 9 2 0; 2 2 8 1 1; 7 7 0 0 0; 3 2 6 3 0;
    2 5 3 2 2; 6 5 2 1 0; 0 2 2 3 7"""
    counts = np.array([[int(each) for each in row.split()] for row in rows.split(";")])
    found, num_raters = agreement.fleiss_kappa(Patterns.of_counts(counts))
    assert (round(found.value or 0, 3), num_raters, found.num) == (0.210, 14, 10)


def test_nothing_to_compare_is_not_a_figure() -> None:
    single = Patterns.of(np.array([1, 2, 3]), np.array([0, 1, 0]))
    assert agreement.alpha(single) == agreement.UNKNOWN
    assert agreement.fleiss_kappa(single) == (agreement.UNKNOWN, 0)
    nothing = np.array([], dtype=int)
    assert agreement.alpha_and_percent(Patterns.of(nothing, nothing))[1] == agreement.UNKNOWN
    assert agreement.human_ceiling(single).value is None
    shared = agreement.common_verdicts(nothing, nothing, nothing)
    assert agreement.mean_cohen_kappa(shared) == (agreement.UNKNOWN, 0)
    # Everybody says the same of every pair: chance alone would agree as well.
    same = Patterns.of(np.array([1, 1, 2, 2]), np.zeros(4, dtype=int))
    alpha, percent = agreement.alpha_and_percent(same)
    assert (alpha.value, percent.value) == (None, 1)


def test_the_ceiling_is_one_person_against_the_majority_of_the_others() -> None:
    # Pair 1: three say a, one says b: each a agrees with 2:1, the b does not. Pair 2: a draw of
    # the others for both a, who have 1:1, and one b against 2 a. Ties and both bad are no choice.
    pair = np.array([1, 1, 1, 1, 2, 2, 2, 3, 3])
    choice = np.array([0, 0, 0, 1, 0, 0, 1, 2, 3])
    found = agreement.human_ceiling(Patterns.of(pair, choice))
    assert found.value == pytest.approx(3 / 5)


def test_wilson_gives_the_known_interval() -> None:
    share, low, high = agreement.wilson(np.array(8), np.array(10))
    assert (share, round(low, 3), round(high, 3)) == (0.8, 0.490, 0.943)
    assert np.isnan(agreement.wilson(np.array([0]), np.array([0]))).all()


# The verdicts of UKPConvArg1 (tests/data/README.md), a line for each pair, a letter for each vote.
UKP = Path(__file__).parents[1] / "data" / "ukp_choices.txt"


def test_the_published_votes_give_the_reference_values() -> None:
    rows = UKP.read_text().splitlines()
    pair = np.repeat(np.arange(len(rows)), [len(each) for each in rows])
    choice = np.array(["abt".index(vote) for each in rows for vote in each])
    patterns = Patterns.of(pair, choice)
    alpha = agreement.alpha(patterns)
    assert round(alpha.value or 0, 4) == 0.3737
    five, num_votes = agreement.fleiss_kappa(patterns)
    assert (round(five.value or 0, 4), num_votes) == (0.3728, 5)
    assert alpha.low is not None
    assert alpha.high is not None
    assert alpha.low < 0.3737 < alpha.high < alpha.low + 0.05
