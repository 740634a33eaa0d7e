"""Tests of the reliability of a ranking, with simulated trainings."""

import math

import numpy as np
import pytest
from scipy.stats import kendalltau

from phinas.experiment.statistics.reliability import estimate_reliability, expected_kendall_tau


def simulate(generator, reliability, *, networks=8, pairs=3, seed_effect=2.0):
    """Scores and repeated scores. The variance of one training of each network is 1."""
    truth = generator.normal(size=networks) * math.sqrt(reliability)
    noise = math.sqrt(1 - reliability)
    scores = truth + noise * generator.normal(size=networks)
    ranking = np.argsort(scores)
    repeated = [int(ranking[(2 * index + 1) * networks // (2 * pairs)]) for index in range(pairs)]
    second_scores = truth + noise * generator.normal(size=networks) + seed_effect
    return scores, [(network, second_scores[network]) for network in repeated]


@pytest.mark.parametrize("reliability", [0.1, 0.6, 0.9])
def test_the_interval_covers_the_true_reliability_in_95_of_100_cases(reliability):
    generator = np.random.default_rng(0)
    estimates = [
        estimate_reliability(*simulate(generator, reliability)).reliability for _ in range(400)
    ]
    coverage = np.mean(
        [estimate.interval[0] <= reliability <= estimate.interval[1] for estimate in estimates]
    )
    # networks are selected by their scores, which makes the interval slightly conservative
    assert 0.92 < coverage < 0.99
    too_high = np.mean([estimate.value > reliability for estimate in estimates])
    assert 0.4 < too_high < 0.6


def test_many_networks_and_pairs_give_the_true_values():
    generator = np.random.default_rng(1)
    scores, repeated_scores = simulate(generator, 0.7, networks=2000, pairs=1000)
    estimate = estimate_reliability(scores, repeated_scores)
    assert estimate.spread_std == pytest.approx(1.0, abs=0.05)
    assert estimate.noise_std == pytest.approx(math.sqrt(0.3), abs=0.02)
    assert estimate.degrees_of_freedom == 999
    assert estimate.reliability.value == pytest.approx(0.7, abs=0.03)
    low, high = estimate.reliability.interval
    assert 0.6 < low < estimate.reliability.value < high < 0.8


def test_the_expected_rank_correlation_is_that_of_simulated_rankings():
    generator = np.random.default_rng(2)
    truth, reliability = generator.normal(size=2000) * math.sqrt(0.6), 0.6
    first, second = (truth + math.sqrt(0.4) * generator.normal(size=2000) for _ in range(2))
    assert kendalltau(first, truth).statistic == pytest.approx(
        expected_kendall_tau(math.sqrt(reliability)), abs=0.03
    )
    assert kendalltau(first, second).statistic == pytest.approx(
        expected_kendall_tau(reliability), abs=0.03
    )
    estimate = estimate_reliability(first, list(enumerate(second)))
    for result, exact in (
        (estimate.true_rank_correlation, expected_kendall_tau(math.sqrt(reliability))),
        (estimate.repeated_rank_correlation, expected_kendall_tau(reliability)),
    ):
        assert result.value == pytest.approx(exact, abs=0.04)
        assert result.interval[0] < result.value < result.interval[1]


def test_the_common_effect_of_a_seed_changes_nothing():
    scores, repeated_scores = simulate(np.random.default_rng(3), 0.8, seed_effect=0.0)
    shifted = [(network, score + 0.3) for network, score in repeated_scores]
    with_effect = estimate_reliability(scores, shifted)
    without = estimate_reliability(scores, repeated_scores)
    assert with_effect.noise_std == pytest.approx(without.noise_std)
    assert with_effect.reliability.interval == pytest.approx(without.reliability.interval)


def test_identical_repetitions_leave_only_signal():
    scores = [0.5, 0.6, 0.7, 0.8]
    estimate = estimate_reliability(scores, [(0, 0.5), (2, 0.7)])
    assert estimate.noise_std == 0
    assert (estimate.reliability.value, estimate.reliability.interval) == (1, (1, 1))
    assert estimate.true_rank_correlation.value == 1


def test_networks_with_equal_scores_have_no_signal():
    for repeated_scores in ([(0, 0.1), (1, 0.1)], [(0, 0.1), (1, 0.2)]):
        estimate = estimate_reliability([0.1] * 8, repeated_scores)
        assert estimate.reliability.value == 0
        assert estimate.true_rank_correlation.value == 0


@pytest.mark.parametrize(
    ("scores", "repeated_scores"),
    [([0.1, 0.2], [(0, 0.1), (1, 0.2)]), ([0.1, 0.2, 0.3], [(0, 0.1)])],
)
def test_too_few_trainings_are_refused(scores, repeated_scores):
    with pytest.raises(ValueError, match="are too few; 3 and 2 are needed"):
        estimate_reliability(scores, repeated_scores)
