"""NSGA-II against its paper: fronts, crowding, survivors, and a front with both of its ends."""

import math
import random

import numpy as np
import pytest

from phinas.nas.pareto import best_first, crowding, ranks
from phinas.nas.strategies.nsga2 import NSGA2Sampler
from phinas.space.cost import cost
from phinas.space.search_spaces.loading import load_space

TINY = load_space("tiny")


def accuracy(choices):
    """Every step up costs FLOPs and gives accuracy."""
    return sum(TINY.indices(choices)) / 100


def flops(choices):
    return cost(TINY.decode(choices)).flops


def dominated(one, other):
    return all(one >= other) and any(one > other)


@pytest.mark.parametrize("seed", range(5))
def test_a_rank_is_how_many_fronts_must_be_taken_away_first(seed):
    losses = np.random.default_rng(seed).integers(0, 8, size=(40, 2)).astype(float)
    found = ranks(losses)
    assert set(found) == set(range(found.max() + 1))
    for index, one in enumerate(losses):
        above = [found[k] for k, other in enumerate(losses) if dominated(one, other)]
        assert found[index] == max(above, default=-1) + 1


def test_the_ends_of_a_front_are_the_least_crowded_and_the_middle_counts_its_gaps():
    losses = np.array([[0.0, 10.0], [1.0, 6.0], [2.0, 5.0], [10.0, 0.0]])
    assert crowding(losses).tolist() == [np.inf, 0.2 + 0.5, 0.9 + 0.6, np.inf]
    assert best_first(losses).tolist() == [0, 3, 2, 1]
    assert crowding(np.ones((3, 2)))[1] == 0  # all alike


def test_the_first_population_is_drawn_and_the_next_is_bred_from_it(field):
    problem = field()
    chosen = {decision.name: decision.values[0] for decision in TINY.decisions}
    members = [(chosen, 0.5)] * 16
    children = [problem.next("nsga2", problem.study(members), seed=seed) for seed in range(20)]
    assert max(sum(child[name] != chosen[name] for name in child) for child in children) <= 5
    drawn = [problem.next("nsga2", problem.study(members[:15]), seed=seed) for seed in range(20)]
    assert min(sum(child[name] != chosen[name] for name in child) for child in drawn) > 2


def test_the_dominated_have_no_children(field):
    """Good and dear, poor and cheap: both ends breed; poor and dear does not, though half of the
    members are.
    """
    problem = field()
    cheap = {decision.name: decision.values[0] for decision in TINY.decisions}
    dear = {decision.name: decision.values[-1] for decision in TINY.decisions}
    wasteful = dear | {"stages.2.se": 0}
    members = [(cheap, 0.3), (dear, 0.6)] * 10 + [(wasteful, 0.1)] * 16
    children = [problem.next("nsga2", problem.study(members), seed=seed) for seed in range(60)]
    assert (
        sum(
            child["stages.2.se"] == 0 and sum(child[k] == dear[k] for k in dear) > 10
            for child in children
        )
        <= 6
    )


def test_the_survivors_hold_both_ends_of_the_front(field):
    problem, generator = field(), random.Random(0)
    drawn = [TINY.sample(generator) for _ in range(80)]
    study = problem.study([(choices, accuracy(choices)) for choices in drawn])
    survivors = NSGA2Sampler(problem.problem, 0)._parents(study.trials)
    assert len(survivors) == 16
    assert min(map(flops, survivors)) == min(map(flops, drawn))
    assert max(map(accuracy, survivors)) == max(map(accuracy, drawn))


def volume(tried):
    """What a set of choices dominates, in accuracy times log FLOPs up to two million."""
    total = best = 0.0
    for price, gain in sorted((math.log(flops(choices)), accuracy(choices)) for choices in tried):
        total += max(gain - best, 0) * (math.log(2e6) - price)
        best = max(best, gain)
    return total


@pytest.mark.parametrize("seed", range(3))
def test_the_front_it_finds_is_beyond_that_of_random_networks(field, seed):
    drawn, found = (
        field().climb(name, accuracy, trials=200, seed=seed) for name in ("random", "nsga2")
    )
    assert volume(found) > 1.05 * volume(drawn)
    assert len({TINY.decode(choices).spec_id for choices in found}) == 200
