"""The weight from the data: near the slope that the data were made with, sure only of what they
tell.
"""

import re

import numpy as np
import pytest

from phinas.nas.reward_exponent import FALLBACK, FLATTEST, LEAST, STEEPEST, estimate_weight


def networks(slope, *, count=24, noise=0.003, scatter=0.01, seed=0):
    """Accuracies and costs of networks below ACC = 0.75 C^slope by an exponential deficit, with the
    noise of a training.
    """
    generator = np.random.default_rng(seed)
    costs = np.exp(generator.normal(0, 0.45, count))
    accuracies = 0.75 * costs**slope * np.exp(
        -generator.exponential(scatter, count)
    ) + generator.normal(0, noise, count)
    return accuracies.tolist(), (1e6 * costs).tolist()


def interval(why):
    return [
        float(number) for number in re.search(r"cost\^(\S+) \(95%: (\S+) to (\S+)\)", why).groups()
    ]


@pytest.mark.parametrize("slope", [0.07, 0.03, 0.01])
@pytest.mark.parametrize("scatter", [0.01, 0.03])
def test_the_slope_of_the_upper_edge_is_found_without_bias_and_its_interval_holds(slope, scatter):
    """Measured over 150 draws: bias below 0.0015, spread 0.004 at a scatter of 1% and 0.008 at 3%,
    coverage 0.94 to 0.98.
    """
    found = [
        interval(estimate_weight(*networks(slope, scatter=scatter, seed=seed), seed=seed).why)
        for seed in range(60)
    ]
    slopes = np.array([row[0] for row in found])
    assert abs(slopes.mean() - slope) < 0.004
    assert slopes.std() < (0.007 if scatter == 0.01 else 0.013)
    assert sum(low <= slope <= high for _, low, high in found) >= 51


def test_a_clear_slope_is_the_weight_and_the_reason_says_how_it_was_found():
    weight = estimate_weight(*networks(0.07, scatter=0.001, noise=0.0), seed=0)
    assert weight.value == pytest.approx(-0.07, abs=0.001)
    assert weight.why.startswith(f"w = {weight.value:g} was estimated: accuracy grew as cost^0.0")
    assert weight.why.endswith("along the upper edge of 24 networks")


def test_exact_data_give_the_exact_slope_whatever_the_unit_of_the_cost():
    costs = [1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 21.0, 34.0]
    weights = [
        estimate_weight(
            [0.4 * cost**0.05 for cost in costs], [unit * cost for cost in costs], seed=1
        )
        for unit in (1, 1e6)
    ]
    assert [weight.value for weight in weights] == [-0.05, -0.05]


@pytest.mark.parametrize(("slope", "weight"), [(0.6, STEEPEST), (0.001, FLATTEST)])
def test_a_slope_beyond_the_sensible_is_cut_and_said_to_be(slope, weight):
    found = estimate_weight(*networks(slope, noise=0.0, scatter=0.0), seed=0)
    assert found.value == weight
    assert "cut to the range -0.3 to -0.005" in found.why


def test_where_accuracy_is_not_told_to_grow_the_fallback_is_taken_with_the_reason():
    found = estimate_weight(*networks(0.0, noise=0.03), seed=0)
    assert found.value == FALLBACK
    assert "these can't tell" in found.why
    assert "does not tell that it grew at all" in found.why


def test_the_fallback_is_never_steeper_than_the_data_allow():
    found = estimate_weight(*networks(-0.02, noise=0.001, scatter=0.001), seed=0)
    assert found.value == FLATTEST


@pytest.mark.parametrize("count", [0, 1, LEAST - 1])
def test_too_few_networks_tell_nothing(count):
    found = estimate_weight(*networks(0.05, count=count), seed=0)
    assert found.value == FALLBACK
    assert f"only {count} networks gave an accuracy above 0, and {LEAST} are needed" in found.why


def test_networks_that_learned_nothing_do_not_count():
    accuracies, costs = networks(0.05, count=LEAST)
    assert "only 7 networks" in estimate_weight([0.0, *accuracies[1:]], costs, seed=0).why


def test_networks_of_one_cost_tell_nothing():
    found = estimate_weight([0.5 + 0.01 * step for step in range(10)], [7.0] * 10, seed=0)
    assert found.value == FALLBACK
    assert "all cost the same" in found.why


def test_networks_of_one_accuracy_tell_nothing_and_break_nothing():
    assert (
        estimate_weight([0.1] * 10, [float(cost) for cost in range(1, 11)], seed=0).value
        == FLATTEST
    )


def test_the_same_data_and_seed_give_the_same_weight():
    data = networks(0.03)
    assert estimate_weight(*data, seed=5) == estimate_weight(*data, seed=5)
