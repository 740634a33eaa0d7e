"""The Pareto front, its hypervolume and NSGA-II's sorting, compared with their definitions."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phinas.experiment.measurement import Measurement
from phinas.nas.pareto import crowding_distances, hypervolume, nondominated_ranks, pareto_front
from phinas.nas.trial import Trial
from phinas.space.cost import Cost
from phinas.space.search_spaces.loading import load_space

SPEC = load_space("tiny").base


def trial(number: int, flops: int, score: float) -> Trial:
    return Trial(number, number, SPEC, Cost(flops, 1, 1, 1), score, Measurement(score))


POINTS = st.lists(
    st.tuples(st.integers(1, 12), st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5])), max_size=30
)
TRIALS = POINTS.map(lambda points: [trial(number, *point) for number, point in enumerate(points)])


def at_least_as_good(one: Trial, other: Trial) -> bool:
    return one.cost.flops <= other.cost.flops and one.score >= other.score


@given(TRIALS)
def test_cost_and_score_rise_strictly_along_the_front(trials):
    front = pareto_front(trials)
    pairs = list(pairwise(front))
    assert all(
        left.cost.flops < right.cost.flops and left.score < right.score for left, right in pairs
    )


@given(TRIALS)
def test_every_trial_is_dominated_by_or_equal_to_a_member_of_the_front(trials):
    front = pareto_front(trials)
    assert all(member in trials for member in front)
    assert all(any(at_least_as_good(member, one) for member in front) for one in trials)


@given(TRIALS)
def test_no_trial_dominates_a_member_of_the_front(trials):
    for member in pareto_front(trials):
        better = [
            one
            for one in trials
            if at_least_as_good(one, member) and not at_least_as_good(member, one)
        ]
        assert better == []


@given(TRIALS, st.randoms(use_true_random=False))
def test_the_points_of_the_front_do_not_depend_on_the_order_of_the_trials(trials, generator):
    shuffled = generator.sample(trials, len(trials))
    points, shuffled_points = (
        [(member.cost.flops, member.score) for member in pareto_front(ordered)]
        for ordered in (trials, shuffled)
    )
    assert points == shuffled_points


def test_only_the_first_of_equal_trials_is_on_the_front():
    front = pareto_front([trial(4, 10, 0.5), trial(7, 10, 0.5), trial(9, 11, 0.5)])
    assert [one.number for one in front] == [4]


def test_the_front_depends_on_the_cost_metric():
    small = Trial(0, 0, SPEC, Cost(9, 1, 5, 1), 0.5, Measurement(0.5), latency_ms=3.0)
    quick = Trial(1, 1, SPEC, Cost(5, 9, 5, 1), 0.4, Measurement(0.4), latency_ms=1.0)
    fronts = {
        cost_metric: [trial.number for trial in pareto_front([small, quick], cost_metric)]
        for cost_metric in ("params", "latency", "flops")
    }
    assert fronts == {"params": [0], "latency": [1, 0], "flops": [1, 0]}


def test_the_hypervolume_is_the_mean_score_over_the_logarithm_of_the_cost():
    assert hypervolume([(1.0, 0.5), (10.0, 0.9)], min_cost=1.0, max_cost=100.0) == pytest.approx(
        0.7
    )
    # No network has a cost below 10.
    assert hypervolume([(10.0, 0.8)], min_cost=1.0, max_cost=100.0) == pytest.approx(0.4)
    assert hypervolume([(5.0, 0.8)], min_cost=5.0, max_cost=5.0) == 0.8
    assert hypervolume([], min_cost=1.0, max_cost=2.0) == 0.0


@given(TRIALS.filter(bool), st.integers(0, 29))
def test_another_trial_never_reduces_the_hypervolume(trials, count):
    costs = [float(trial.cost.flops) for trial in trials]

    def volume(some):
        return hypervolume(
            [(t.cost.flops, t.score) for t in pareto_front(some)],
            min_cost=min(costs),
            max_cost=max(costs),
        )

    assert volume(trials[: count + 1]) <= volume(trials) + 1e-12


def test_ranks_are_the_numbers_of_the_fronts():
    losses = np.array(
        [[1.0, 4.0], [2.0, 2.0], [4.0, 1.0], [2.0, 4.0], [3.0, 3.0], [5.0, 5.0], [2.0, 2.0]]
    )
    assert nondominated_ranks(losses).tolist() == [0, 0, 0, 1, 1, 2, 0]


@given(TRIALS.filter(bool))
def test_rank_zero_is_the_front(trials):
    losses = np.array([[trial.cost.flops, -trial.score] for trial in trials])
    best = {tuple(row) for row in losses[nondominated_ranks(losses) == 0].tolist()}
    assert best == {(trial.cost.flops, -trial.score) for trial in pareto_front(trials)}


def test_crowding_distances_are_those_of_nsga2():
    losses = np.array([[0.0, 10.0], [1.0, 6.0], [4.0, 5.0], [10.0, 0.0]])
    expected = [math.inf, 0.4 + 0.5, 0.9 + 0.6, math.inf]
    assert crowding_distances(losses).tolist() == pytest.approx(expected)
    assert crowding_distances(np.array([[3.0, 3.0]])).tolist() == [math.inf]
