"""The estimate of the reward exponent: its bias, its interval, and its defaults."""

import numpy as np
import pytest

from phinas.nas.reward_exponent import (
    FALLBACK_EXPONENT,
    MAX_EXPONENT,
    MIN_EXPONENT,
    MIN_NETWORKS,
    estimate_reward_exponent,
)


def networks(slope, *, count=24, noise=0.003, scatter=0.01, seed=0):
    """Scores and costs of random networks.

    Each score is 0.75 * cost^slope (cost in millions), reduced by an exponentially distributed
    factor of mean `scatter`, plus normal training noise.
    """
    generator = np.random.default_rng(seed)
    costs = np.exp(generator.normal(0, 0.45, count))
    scores = 0.75 * costs**slope * np.exp(
        -generator.exponential(scatter, count)
    ) + generator.normal(0, noise, count)
    return scores.tolist(), (1e6 * costs).tolist()


@pytest.mark.parametrize("slope", [0.07, 0.03, 0.01])
@pytest.mark.parametrize("scatter", [0.01, 0.03])
def test_the_slope_of_the_upper_edge_is_unbiased_and_its_interval_covers_the_truth(slope, scatter):
    """Measured over 150 samples: bias below 0.0015, standard deviation 0.004 at a scatter of 1% and
    0.008 at 3%, coverage 0.94 to 0.98.
    """
    estimates = [
        estimate_reward_exponent(*networks(slope, scatter=scatter, seed=seed), seed=seed)
        for seed in range(60)
    ]
    slopes = np.array([estimate.slope for estimate in estimates])
    assert abs(slopes.mean() - slope) < 0.004
    assert slopes.std() < (0.007 if scatter == 0.01 else 0.013)
    intervals = [estimate.interval for estimate in estimates]
    assert sum(low <= slope <= high for low, high in intervals) >= 51


def test_minus_a_significant_slope_is_the_exponent():
    estimate = estimate_reward_exponent(*networks(0.07, scatter=0.001, noise=0.0), seed=0)
    assert estimate.value == pytest.approx(-0.07, abs=0.001)
    assert estimate.value == round(-estimate.slope, 4)
    assert (estimate.case, estimate.num_networks) == ("estimated", 24)
    low, high = estimate.interval
    assert 0 < low < estimate.slope < high


def test_noiseless_scores_give_the_exact_slope_in_any_unit_of_the_cost():
    costs = [1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 21.0, 34.0]
    estimates = [
        estimate_reward_exponent(
            [0.4 * cost**0.05 for cost in costs], [unit * cost for cost in costs], seed=1
        )
        for unit in (1, 1e6)
    ]
    assert [estimate.value for estimate in estimates] == [-0.05, -0.05]


@pytest.mark.parametrize(("slope", "exponent"), [(0.6, MIN_EXPONENT), (0.001, MAX_EXPONENT)])
def test_an_extreme_slope_is_clipped(slope, exponent):
    estimate = estimate_reward_exponent(*networks(slope, noise=0.0, scatter=0.0), seed=0)
    assert estimate.value == exponent
    assert estimate.case == "clipped"
    assert estimate.slope == pytest.approx(slope)


def test_without_a_significant_rise_the_exponent_is_the_fallback():
    estimate = estimate_reward_exponent(*networks(0.0, noise=0.03), seed=0)
    assert estimate.value == FALLBACK_EXPONENT
    assert estimate.case == "not_significant"
    assert estimate.interval[0] <= 0


def test_the_fallback_is_never_steeper_than_the_interval_of_the_slope_allows():
    estimate = estimate_reward_exponent(*networks(-0.02, noise=0.001, scatter=0.001), seed=0)
    assert estimate.value == MAX_EXPONENT
    assert estimate.interval[1] < 0


@pytest.mark.parametrize("count", [0, 1, MIN_NETWORKS - 1])
def test_too_few_networks_give_the_fallback(count):
    estimate = estimate_reward_exponent(*networks(0.05, count=count), seed=0)
    assert estimate.value == FALLBACK_EXPONENT
    assert (estimate.case, estimate.num_networks) == ("too_few_networks", count)
    assert estimate.slope is estimate.interval is None


def test_networks_with_a_score_of_zero_are_left_out():
    scores, costs = networks(0.05, count=MIN_NETWORKS)
    estimate = estimate_reward_exponent([0.0, *scores[1:]], costs, seed=0)
    assert (estimate.case, estimate.num_networks) == ("too_few_networks", MIN_NETWORKS - 1)


def test_networks_of_one_cost_give_the_fallback():
    estimate = estimate_reward_exponent(
        [0.5 + 0.01 * step for step in range(10)], [7.0] * 10, seed=0
    )
    assert estimate.value == FALLBACK_EXPONENT
    assert (estimate.case, estimate.slope) == ("equal_costs", None)


def test_networks_of_one_score_give_the_exponent_closest_to_zero():
    assert (
        estimate_reward_exponent([0.1] * 10, [float(cost) for cost in range(1, 11)], seed=0).value
        == MAX_EXPONENT
    )


def test_the_same_data_and_seed_give_the_same_exponent():
    data = networks(0.03)
    assert estimate_reward_exponent(*data, seed=5) == estimate_reward_exponent(*data, seed=5)
