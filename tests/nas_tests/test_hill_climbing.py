"""Hill climbing: climbs are read from the history, and a climb ends when every neighbor of its best
network is measured.
"""

import random

import pytest
from optuna.trial import TrialState

from phinas.nas.cost_constraint import CostConstraint
from phinas.space.search_spaces.loading import load_space

TINY = load_space("tiny")
FIRST_CHOICES = {decision.name: decision.values[0] for decision in TINY.decisions}
LAST_CHOICES = {decision.name: decision.values[-1] for decision in TINY.decisions}


def num_differences(one, other):
    return sum(one[name] != other[name] for name in one)


def additive(choices):
    """A score whose only local optimum has the last value of every decision."""
    return sum(TINY.to_indices(choices)) / 100


@pytest.mark.parametrize("seed", range(2))
def test_the_optimum_of_an_additive_landscape_is_found_without_a_restart(harness, seed):
    proposals = harness().climb("hill_climbing", additive, trials=120, seed=seed)
    assert LAST_CHOICES in proposals  # of 373,248
    best = proposals[0]
    for choices in proposals[1 : proposals.index(LAST_CHOICES) + 1]:
        assert num_differences(choices, best) == 1
        best = max(best, choices, key=additive)


def test_after_a_local_optimum_the_next_climb_starts_elsewhere(harness):
    neighborhood = [
        (FIRST_CHOICES, 0.9),
        *((neighbor, 0.1) for neighbor in TINY.neighbors(FIRST_CHOICES)),
    ]
    study = harness().study(neighborhood)
    restarts = [harness().next("hill_climbing", study, seed=seed) for seed in range(8)]
    assert all(num_differences(choices, FIRST_CHOICES) > 1 for choices in restarts)
    assert len({tuple(choices.values()) for choices in restarts}) > 5
    study = harness().study([*neighborhood, (LAST_CHOICES, 0.2)])
    assert all(
        num_differences(harness().next("hill_climbing", study, seed=seed), LAST_CHOICES) == 1
        for seed in range(8)
    )


def test_the_climb_moves_to_a_better_neighbor_only(harness):
    better_neighbor, worse_neighbor = (
        {**FIRST_CHOICES, "stages.2.width": 32},
        {**FIRST_CHOICES, "stages.2.width": 24},
    )
    study = harness().study([(FIRST_CHOICES, 0.5), (worse_neighbor, 0.4)])
    assert all(
        num_differences(harness().next("hill_climbing", study, seed=seed), FIRST_CHOICES) == 1
        for seed in range(8)
    )
    study = harness().study([(FIRST_CHOICES, 0.5), (worse_neighbor, 0.4), (better_neighbor, 0.6)])
    assert all(
        num_differences(harness().next("hill_climbing", study, seed=seed), better_neighbor) == 1
        for seed in range(8)
    )


@pytest.mark.parametrize("state", [TrialState.RUNNING, TrialState.FAIL])
def test_running_and_failed_neighbors_are_skipped(harness, state):
    *other_neighbors, last_neighbor = TINY.neighbors(FIRST_CHOICES)
    study = harness().study(
        [(FIRST_CHOICES, 0.9), *((neighbor, state) for neighbor in other_neighbors)]
    )
    assert harness().next("hill_climbing", study, seed=0) == last_neighbor


def test_only_neighbors_within_the_cost_limits_are_proposed(harness):
    center_flops = TINY.decode(FIRST_CHOICES).cost().flops
    study = harness().study([(FIRST_CHOICES, 0.9)])
    constrained = harness(cost_constraint=CostConstraint(center_flops * 1.0, center_flops * 1.1))
    proposals = [constrained.next("hill_climbing", study, seed=seed) for seed in range(8)]
    assert all(
        center_flops <= TINY.decode(choices).cost().flops <= center_flops * 1.1
        for choices in proposals
    )
    assert sum(num_differences(choices, FIRST_CHOICES) == 1 for choices in proposals) > 2


def test_of_several_climbs_the_best_one_continues(harness):
    starts = [TINY.sample(random.Random(seed)) for seed in range(8)]
    study = harness().study(
        [(choices, 0.1 * number % 0.7) for number, choices in enumerate(starts)]
    )
    assert all(
        num_differences(harness().next("hill_climbing", study, seed=seed), starts[6]) == 1
        for seed in range(10)
    )
