"""The rewards of MnasNet and TuNAS, and what their target does and does not do."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phinas.experiment.schema.config import SearchSection
from phinas.nas.objective import make_search_reward
from phinas.nas.reward import DEFAULT_EXPONENT, REWARDS, Reward, make_reward
from phinas.space.cost import network_cost
from phinas.space.search_spaces.loading import load_space

ACCURACIES = st.floats(0.01, 1)
FLOPS = st.floats(1e4, 1e12)
WEIGHTS = st.floats(-2, 0)


# MnasNet, section 3: with w = -0.07, twice the cost must buy about 5% of accuracy; TuNAS, equation
# 2.
@pytest.mark.parametrize(
    ("kind", "exponent", "ratio", "reward"),
    [
        ("soft", -0.07, 1.0, 0.8),
        ("soft", -0.07, 2.0, 0.8 * 2**-0.07),
        ("soft", -0.07, 0.5, 0.8 * 2**0.07),
        ("hard", -1.0, 2.0, 0.4),
        ("hard", -1.0, 1.0, 0.8),
        ("hard", -1.0, 0.5, 0.8),
        ("absolute", -0.07, 2.0, 0.73),
        ("absolute", -0.07, 0.5, 0.765),
        ("absolute", -0.07, 1.0, 0.8),
    ],
)
def test_rewards_are_the_equations_of_the_papers(kind, exponent, ratio, reward):
    assert Reward(kind, exponent, target=400e6)(0.8, ratio * 400e6) == pytest.approx(
        reward, rel=1e-12
    )


# Slope and intercept in accuracy at half, once and four times the target.
@pytest.mark.parametrize(
    ("kind", "exponent", "slopes", "intercepts"),
    [
        ("soft", -0.5, [2**0.5, 1.0, 0.5], [0.0, 0.0, 0.0]),
        ("hard", -0.5, [1.0, 1.0, 0.5], [0.0, 0.0, 0.0]),
        ("absolute", -0.1, [1.0, 1.0, 1.0], [-0.05, 0.0, -0.3]),
    ],
)
def test_at_a_given_cost_each_reward_is_a_line_in_accuracy(kind, exponent, slopes, intercepts):
    reward = Reward(kind, exponent, target=2.0, metric="latency")
    slope, intercept = reward.linear_coefficients(np.array([1.0, 2.0, 8.0]))
    assert slope.tolist() == pytest.approx(slopes)
    assert intercept.tolist() == pytest.approx(intercepts)


@given(st.sampled_from(list(REWARDS)), ACCURACIES, st.lists(FLOPS, min_size=1, max_size=5), WEIGHTS)
def test_the_line_and_the_reward_are_one(kind, accuracy, costs, exponent):
    reward = Reward(kind, exponent, target=1e7)
    slope, intercept = reward.linear_coefficients(costs)
    assert (slope * accuracy + intercept).tolist() == pytest.approx(
        [reward(accuracy, cost) for cost in costs]
    )


def test_twice_the_cost_is_worth_five_percent_of_accuracy_under_the_default():
    reward = make_reward("soft", exponent=None, target=1e6)
    assert reward(0.8, 1e6) == pytest.approx(reward(0.84, 2e6), rel=2e-3)


@given(st.lists(st.tuples(ACCURACIES, FLOPS), min_size=2, max_size=6), FLOPS, FLOPS, WEIGHTS)
def test_under_soft_the_target_multiplies_every_reward_by_one_constant(
    networks, target, other, exponent
):
    ratios = [
        Reward("soft", exponent, target)(*network) / Reward("soft", exponent, other)(*network)
        for network in networks
    ]
    assert ratios == pytest.approx([(other / target) ** exponent] * len(networks), rel=1e-9)


@given(ACCURACIES, st.floats(-1, -0.01), st.floats(1, 100), st.floats(1.01, 100))
def test_under_absolute_of_equal_accuracies_the_nearer_to_the_target_wins(
    accuracy, exponent, ratio, factor
):
    reward = Reward("absolute", exponent, target=1e6)
    assert reward(accuracy, 1e6 * ratio) > reward(accuracy, 1e6 * ratio * factor)
    assert reward(accuracy, 1e6) > reward(accuracy, 1e6 / factor)


@given(ACCURACIES, WEIGHTS, st.floats(1e-3, 1e3))
def test_under_hard_nothing_is_gained_or_lost_below_the_target(accuracy, exponent, ratio):
    reward = Reward("hard", exponent, target=1e6)(accuracy, 1e6 * ratio)
    assert reward == accuracy if ratio <= 1 else reward <= accuracy


@pytest.mark.parametrize(
    ("kind", "exponent"), [("soft", -0.07), ("hard", -1.0), ("absolute", -0.07)]
)
def test_without_a_weight_the_papers_is_used(kind, exponent):
    assert make_reward(kind, exponent=None, target=1.0) == Reward(kind, exponent, 1.0)
    assert make_reward(kind, exponent=-0.5, target=1.0).exponent == -0.5


def test_a_weight_of_zero_is_a_weight():
    assert make_reward("soft", exponent=0.0, target=1.0)(0.7, 1e9) == 0.7


def test_every_reward_has_a_default_weight_and_a_place_in_the_configuration():
    assert REWARDS.keys() == DEFAULT_EXPONENT.keys()
    for kind in REWARDS:
        assert SearchSection(reward=kind).reward == kind


def test_without_a_target_it_is_the_cost_of_the_base_on_its_axis():
    space = load_space("tiny")
    assert make_search_reward(SearchSection(), space).target == network_cost(space.base).flops
    assert (
        make_search_reward(SearchSection(cost="params"), space).target
        == network_cost(space.base).params
    )
    assert (
        make_search_reward(SearchSection(cost="activations"), space).target
        == network_cost(space.base).activations
    )
    assert make_search_reward(SearchSection(cost="latency"), space, target=0.7).target == 0.7
    assert make_search_reward(SearchSection(cost="params", target_cost=5.0), space) == Reward(
        "soft", -0.07, 5.0, "params"
    )


def test_a_weight_that_was_estimated_takes_the_place_of_auto():
    section = SearchSection(reward_exponent="auto")
    assert make_search_reward(section, load_space("tiny"), exponent=-0.031).exponent == -0.031


def test_a_reward_beyond_all_numbers_is_infinite_so_that_the_record_refuses_it():
    assert Reward("soft", -1000.0, target=1e6)(0.5, 1e4) == math.inf
