"""The rewards of MnasNet and TuNAS, and the effect of their target."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phinas.experiment.schema.config import SearchSection
from phinas.nas.objective import make_search_reward
from phinas.nas.reward import DEFAULT_EXPONENT, REWARDS, Reward, make_reward
from phinas.space.search_spaces.loading import load_space

ACCURACIES = st.floats(0.01, 1)
FLOPS = st.floats(1e4, 1e12)
WEIGHTS = st.floats(-2, 0)


# MnasNet, section 3: with w = -0.07, twice the cost must raise accuracy by about 5%.
# TuNAS, equation 2.
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


# Slope and intercept at a cost of half the target, the target, and four times the target.
@pytest.mark.parametrize(
    ("kind", "exponent", "slopes", "intercepts"),
    [
        ("soft", -0.5, [2**0.5, 1.0, 0.5], [0.0, 0.0, 0.0]),
        ("hard", -0.5, [1.0, 1.0, 0.5], [0.0, 0.0, 0.0]),
        ("absolute", -0.1, [1.0, 1.0, 1.0], [-0.05, 0.0, -0.3]),
    ],
)
def test_at_a_given_cost_each_reward_is_linear_in_the_score(kind, exponent, slopes, intercepts):
    reward = Reward(kind, exponent, target=2.0, cost_metric="latency")
    slope, intercept = reward.linear_coefficients(np.array([1.0, 2.0, 8.0]))
    assert slope.tolist() == pytest.approx(slopes)
    assert intercept.tolist() == pytest.approx(intercepts)


@given(st.sampled_from(list(REWARDS)), ACCURACIES, st.lists(FLOPS, min_size=1, max_size=5), WEIGHTS)
def test_slope_and_intercept_give_the_reward(kind, score, costs, exponent):
    reward = Reward(kind, exponent, target=1e7)
    slope, intercept = reward.linear_coefficients(costs)
    assert (slope * score + intercept).tolist() == pytest.approx(
        [reward(score, cost) for cost in costs]
    )


def test_by_default_twice_the_cost_offsets_five_percent_of_the_score():
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
def test_under_absolute_of_equal_scores_the_nearer_to_the_target_wins(
    score, exponent, ratio, factor
):
    reward = Reward("absolute", exponent, target=1e6)
    assert reward(score, 1e6 * ratio) > reward(score, 1e6 * ratio * factor)
    assert reward(score, 1e6) > reward(score, 1e6 / factor)


@given(ACCURACIES, WEIGHTS, st.floats(1e-3, 1e3))
def test_below_the_target_the_hard_reward_is_the_score(score, exponent, ratio):
    reward = Reward("hard", exponent, target=1e6)(score, 1e6 * ratio)
    assert reward == score if ratio <= 1 else reward <= score


@pytest.mark.parametrize(
    ("kind", "exponent"), [("soft", -0.07), ("hard", -1.0), ("absolute", -0.07)]
)
def test_the_default_exponent_is_that_of_the_paper(kind, exponent):
    assert make_reward(kind, exponent=None, target=1.0) == Reward(kind, exponent, 1.0)
    assert make_reward(kind, exponent=-0.5, target=1.0).exponent == -0.5


@given(ACCURACIES, FLOPS)
def test_accuracy_reward_is_the_score_at_any_cost(score, cost):
    assert make_reward("accuracy", exponent=None, target=1e6)(score, cost) == score


def test_an_exponent_of_zero_is_not_replaced_by_the_default():
    assert make_reward("soft", exponent=0.0, target=1.0)(0.7, 1e9) == 0.7


def test_every_reward_has_a_default_exponent_and_is_in_the_configuration():
    assert REWARDS.keys() == DEFAULT_EXPONENT.keys()
    for kind in REWARDS:
        assert SearchSection(reward=kind).reward == kind


def test_the_default_target_is_the_cost_of_the_base_network():
    space = load_space("tiny")
    assert make_search_reward(SearchSection(), space).target == space.base.cost().flops
    assert (
        make_search_reward(SearchSection(cost="params"), space).target == space.base.cost().params
    )
    assert (
        make_search_reward(SearchSection(cost="activations"), space).target
        == space.base.cost().activations
    )
    assert make_search_reward(SearchSection(cost="latency"), space, target=0.7).target == 0.7
    assert make_search_reward(SearchSection(cost="params", target_cost=5.0), space) == Reward(
        "soft", -0.07, 5.0, "params"
    )


def test_an_estimated_exponent_replaces_auto():
    section = SearchSection(reward_exponent="auto")
    assert make_search_reward(section, load_space("tiny"), exponent=-0.031).exponent == -0.031


def test_a_reward_beyond_the_range_of_floats_is_infinite():
    assert Reward("soft", -1000.0, target=1e6)(0.5, 1e4) == math.inf
