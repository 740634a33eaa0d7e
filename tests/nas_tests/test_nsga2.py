"""NSGA-II against its paper: fronts, crowding, survivors, and a front with both of its ends."""

import math
import random

import numpy as np
import pytest

from phinas.nas.pareto import crowded_comparison_order, crowding_distances, nondominated_ranks
from phinas.nas.strategies.nsga2 import NSGA2Sampler
from phinas.space.cost import network_cost
from phinas.space.search_spaces.loading import load_space

TINY = load_space("tiny")


def accuracy(choices):
    """Every step up costs FLOPs and gives accuracy."""
    return sum(TINY.to_indices(choices)) / 100


def flops(choices):
    return network_cost(TINY.decode(choices)).flops


def is_dominated(one, other):
    return all(one >= other) and any(one > other)


@pytest.mark.parametrize("seed", range(5))
def test_a_rank_is_how_many_fronts_must_be_taken_away_first(seed):
    losses = np.random.default_rng(seed).integers(0, 8, size=(40, 2)).astype(float)
    ranks = nondominated_ranks(losses)
    assert set(ranks) == set(range(ranks.max() + 1))
    for index, one in enumerate(losses):
        dominating_ranks = [ranks[k] for k, other in enumerate(losses) if is_dominated(one, other)]
        assert ranks[index] == max(dominating_ranks, default=-1) + 1


def test_the_ends_of_a_front_are_the_least_crowded_and_the_middle_counts_its_gaps():
    losses = np.array([[0.0, 10.0], [1.0, 6.0], [2.0, 5.0], [10.0, 0.0]])
    assert crowding_distances(losses).tolist() == [np.inf, 0.2 + 0.5, 0.9 + 0.6, np.inf]
    assert crowded_comparison_order(losses).tolist() == [0, 3, 2, 1]
    assert crowding_distances(np.ones((3, 2)))[1] == 0  # all alike


def test_the_first_population_is_drawn_and_the_next_is_bred_from_it(harness):
    problem = harness()
    parent = {decision.name: decision.values[0] for decision in TINY.decisions}
    members = [(parent, 0.5)] * 16
    children = [problem.next("nsga2", problem.study(members), seed=seed) for seed in range(20)]
    assert max(sum(child[name] != parent[name] for name in child) for child in children) <= 5
    random_children = [
        problem.next("nsga2", problem.study(members[:15]), seed=seed) for seed in range(20)
    ]
    assert min(sum(child[name] != parent[name] for name in child) for child in random_children) > 2


def test_the_dominated_have_no_children(harness):
    """Good and dear, poor and cheap: both ends breed; poor and dear does not, though half of the
    members are.
    """
    problem = harness()
    small = {decision.name: decision.values[0] for decision in TINY.decisions}
    large = {decision.name: decision.values[-1] for decision in TINY.decisions}
    inefficient = large | {"stages.2.se": 0}
    members = [(small, 0.3), (large, 0.6)] * 10 + [(inefficient, 0.1)] * 16
    children = [problem.next("nsga2", problem.study(members), seed=seed) for seed in range(60)]
    assert (
        sum(
            child["stages.2.se"] == 0 and sum(child[k] == large[k] for k in large) > 10
            for child in children
        )
        <= 6
    )


def test_the_survivors_hold_both_ends_of_the_front(harness):
    problem, generator = harness(), random.Random(0)
    random_choices = [TINY.sample(generator) for _ in range(80)]
    study = problem.study([(choices, accuracy(choices)) for choices in random_choices])
    survivors = NSGA2Sampler(problem.problem, 0)._parents(study.trials)
    assert len(survivors) == 16
    assert min(map(flops, survivors)) == min(map(flops, random_choices))
    assert max(map(accuracy, survivors)) == max(map(accuracy, random_choices))


def dominated_area(trials):
    """What a set of choices dominates, in accuracy times log FLOPs up to two million."""
    total = best = 0.0
    for log_cost, trial_accuracy in sorted(
        (math.log(flops(choices)), accuracy(choices)) for choices in trials
    ):
        total += max(trial_accuracy - best, 0) * (math.log(2e6) - log_cost)
        best = max(best, trial_accuracy)
    return total


@pytest.mark.parametrize("seed", range(2))
def test_the_front_it_finds_is_beyond_that_of_random_networks(harness, seed):
    random_choices, nsga2_choices = (
        harness().climb(name, accuracy, trials=200, seed=seed) for name in ("random", "nsga2")
    )
    assert dominated_area(nsga2_choices) > 1.05 * dominated_area(random_choices)
    assert len({TINY.decode(choices).spec_id for choices in nsga2_choices}) == 200
