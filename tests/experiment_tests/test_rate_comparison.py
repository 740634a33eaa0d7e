"""Tests of the comparison of learning rates."""

import math

import numpy as np
import pytest

from phinas.experiment.statistics.rate_comparison import compare_rates

RATES = (0.1, 0.2, 0.4)
NOISE = 0.01


def simulate(generator, means, *, seeds=2, noise=NOISE):
    """Scores of networks whose mean scores are given by rate, with an effect of each seed."""
    effects = generator.normal(0, 0.05, seeds)
    return {
        name: {
            rate: list(mean + effects + generator.normal(0, noise, seeds))
            for rate, mean in by_rate.items()
        }
        for name, by_rate in means.items()
    }


def equal_means(*names):
    return {name: dict.fromkeys(RATES, 0.5) for name in names}


def test_noise_alone_changes_the_rate_in_at_most_5_percent_of_checks():
    generator = np.random.default_rng(0)
    checks = [
        compare_rates(simulate(generator, equal_means("a", "b", "c")), recipe_rate=0.2)
        for _ in range(400)
    ]
    assert 0.005 < np.mean([check.rate != 0.2 for check in checks]) < 0.075
    disagreeing = [
        any(gain.is_significant for gain in check.by_network.values()) for check in checks
    ]
    assert 0.005 < np.mean(disagreeing) < 0.1


def test_the_noise_is_that_of_trainings_without_the_effect_of_their_seeds():
    generator = np.random.default_rng(1)
    variances = [
        compare_rates(simulate(generator, equal_means("a", "b", "c")), recipe_rate=0.2).noise_std
        ** 2
        for _ in range(200)
    ]
    assert math.sqrt(np.mean(variances)) == pytest.approx(NOISE, rel=0.1)


def test_a_rate_that_is_better_for_all_networks_replaces_the_one_of_the_recipe():
    means = {name: {0.1: 0.4, 0.2: 0.5, 0.4: 0.55} for name in "abc"}
    check = compare_rates(simulate(np.random.default_rng(2), means), recipe_rate=0.2)
    assert (check.rate, check.over_recipe.rate) == (0.4, 0.4)
    low, high = check.over_recipe.interval
    assert 0 < low < check.over_recipe.gain < high
    assert low < 0.05 < high
    assert not any(gain.is_significant for gain in check.by_network.values())


def test_a_network_that_another_rate_suits_does_not_decide_for_all():
    means = {
        "deep": {0.1: 0.56, 0.2: 0.5, 0.4: 0.4},
        "wide": {0.1: 0.44, 0.2: 0.5, 0.4: 0.5},
        "both": {0.1: 0.47, 0.2: 0.5, 0.4: 0.47},
    }
    check = compare_rates(simulate(np.random.default_rng(3), means), recipe_rate=0.2)
    assert check.rate == 0.2
    assert not check.over_recipe.is_significant
    assert [name for name, gain in check.by_network.items() if gain.is_significant] == ["deep"]
    assert check.by_network["deep"].rate == 0.1


def test_more_networks_make_the_mean_more_precise_but_not_a_single_network():
    scores = simulate(np.random.default_rng(4), equal_means(*"abcdefgh"))
    check = compare_rates(scores, recipe_rate=0.2)
    overall = check.over_recipe.interval[1] - check.over_recipe.gain
    single = check.by_network["a"].interval[1] - check.by_network["a"].gain
    assert single > math.sqrt(8) * overall


def test_a_rate_with_a_failed_training_is_not_used():
    scores = {
        "a": {0.1: [0.4, 0.41], 0.2: [0.5, 0.51], 0.4: [0.9, 0.91]},
        "b": {0.1: [0.4, 0.41], 0.2: [0.5, 0.51]},
    }
    assert compare_rates(scores, recipe_rate=0.2).rate == 0.2
    failed = compare_rates(scores, recipe_rate=0.4)
    assert (failed.rate, failed.over_recipe) == (0.2, None)
    assert compare_rates({"a": {0.1: [0.4]}, "b": {0.2: [0.4]}}, recipe_rate=0.2) is None
    assert compare_rates({}, recipe_rate=0.2) is None


def test_one_seed_and_one_network_leave_the_noise_unknown():
    check = compare_rates({"a": {0.1: [0.4], 0.2: [0.5], 0.4: [0.9]}}, recipe_rate=0.2)
    assert (check.rate, check.noise_std) == (0.2, None)
    assert check.over_recipe.gain == pytest.approx(0.4)
    assert check.over_recipe.interval == (-math.inf, math.inf)


def test_equal_scores_do_not_change_the_rate():
    scores = {name: {rate: [0.5, 0.5] for rate in RATES} for name in "abc"}
    check = compare_rates(scores, recipe_rate=0.2)
    assert check.rate == 0.2
    assert check.noise_std == pytest.approx(0, abs=1e-12)
    assert not any(gain.is_significant for gain in check.by_network.values())
