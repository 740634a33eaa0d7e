"""NSGA-II as in its paper: ranks, crowding distances, survivors, and the front that it finds."""

import math
import random

import numpy as np
import pytest

from phinas.nas.pareto import crowded_comparison_order, crowding_distances, nondominated_ranks
from phinas.nas.strategies.nsga2 import NSGA2Sampler
from phinas.space.search_spaces.loading import load_space

TINY = load_space("tiny")


def score(choices):
    """A score that rises with every choice, as the FLOPs do."""
    return sum(TINY.to_indices(choices)) / 100


def flops(choices):
    return TINY.decode(choices).cost().flops


def is_dominated(one, other):
    return all(one >= other) and any(one > other)


@pytest.mark.parametrize("seed", range(5))
def test_the_rank_of_a_row_is_one_more_than_the_largest_rank_that_dominates_it(seed):
    losses = np.random.default_rng(seed).integers(0, 8, size=(40, 2)).astype(float)
    ranks = nondominated_ranks(losses)
    assert set(ranks) == set(range(ranks.max() + 1))
    for index, one in enumerate(losses):
        dominating_ranks = [ranks[k] for k, other in enumerate(losses) if is_dominated(one, other)]
        assert ranks[index] == max(dominating_ranks, default=-1) + 1


def test_the_crowding_distance_is_infinite_at_the_ends_and_else_the_sum_of_the_gaps():
    losses = np.array([[0.0, 10.0], [1.0, 6.0], [2.0, 5.0], [10.0, 0.0]])
    assert crowding_distances(losses).tolist() == [np.inf, 0.2 + 0.5, 0.9 + 0.6, np.inf]
    assert crowded_comparison_order(losses).tolist() == [0, 3, 2, 1]
    assert crowding_distances(np.ones((3, 2)))[1] == 0  # all rows are equal


def test_children_of_the_first_population_resemble_their_parents_and_earlier_ones_are_random(
    harness,
):
    problem = harness()
    parent = {decision.name: decision.values[0] for decision in TINY.decisions}
    members = [(parent, 0.5)] * 16
    children = [problem.next("nsga2", problem.study(members), seed=seed) for seed in range(20)]
    assert max(sum(child[name] != parent[name] for name in child) for child in children) <= 5
    random_children = [
        problem.next("nsga2", problem.study(members[:15]), seed=seed) for seed in range(20)
    ]
    assert min(sum(child[name] != parent[name] for name in child) for child in random_children) > 2


def test_dominated_networks_have_no_children(harness):
    """Small networks with a low score and large ones with a high score are parents. Large networks
    with a low score are not, although they are 16 of 36 trials.
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


def test_the_survivors_include_both_ends_of_the_front(harness):
    problem, generator = harness(), random.Random(0)
    random_choices = [TINY.sample(generator) for _ in range(80)]
    study = problem.study([(choices, score(choices)) for choices in random_choices])
    survivors = NSGA2Sampler(problem.problem, 0)._parents(study.trials)
    assert len(survivors) == 16
    assert min(map(flops, survivors)) == min(map(flops, random_choices))
    assert max(map(score, survivors)) == max(map(score, random_choices))


def dominated_area(trials):
    """The area that the networks dominate, in score times log FLOPs, up to 2M FLOPs."""
    total = best = 0.0
    for log_cost, trial_score in sorted(
        (math.log(flops(choices)), score(choices)) for choices in trials
    ):
        total += max(trial_score - best, 0) * (math.log(2e6) - log_cost)
        best = max(best, trial_score)
    return total


@pytest.mark.parametrize("seed", range(2))
def test_its_front_is_better_than_that_of_random_networks(harness, seed):
    random_choices, nsga2_choices = (
        harness().climb(name, score, trials=200, seed=seed) for name in ("random", "nsga2")
    )
    assert dominated_area(nsga2_choices) > 1.05 * dominated_area(random_choices)
    assert len({TINY.decode(choices).network_id for choices in nsga2_choices}) == 200
