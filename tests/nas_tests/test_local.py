"""Hill climbing: the climbs are found in the history, every neighbour is measured before the next
one begins.
"""

import random

import pytest
from optuna.trial import TrialState

from phinas.nas.cost_constraint import Gate
from phinas.space.cost import cost
from phinas.space.search_spaces.loading import load_space

TINY = load_space("tiny")
FIRST = {decision.name: decision.values[0] for decision in TINY.decisions}
LAST = {decision.name: decision.values[-1] for decision in TINY.decisions}


def differing(one, other):
    return sum(one[name] != other[name] for name in one)


def additive(choices):
    """Best where every decision has its last value, without a local optimum beside it."""
    return sum(TINY.indices(choices)) / 100


@pytest.mark.parametrize("seed", range(5))
def test_the_optimum_of_an_additive_landscape_is_found_without_a_restart(field, seed):
    proposed = field().climb("local", additive, trials=120, seed=seed)
    assert LAST in proposed  # of 373,248
    best = proposed[0]
    for choices in proposed[1 : proposed.index(LAST) + 1]:
        assert differing(choices, best) == 1
        best = max(best, choices, key=additive)


def test_after_a_local_optimum_a_climb_begins_elsewhere_and_the_old_one_is_not_taken_up_again(
    field,
):
    around = [(FIRST, 0.9), *((near, 0.1) for near in TINY.neighbours(FIRST))]
    study = field().study(around)
    begun = [field().next("local", study, seed=seed) for seed in range(8)]
    assert all(differing(choices, FIRST) > 1 for choices in begun)
    assert len({tuple(choices.values()) for choices in begun}) > 5
    study = field().study([*around, (LAST, 0.2)])
    assert all(differing(field().next("local", study, seed=seed), LAST) == 1 for seed in range(8))


def test_a_better_neighbour_is_the_next_centre_and_a_worse_one_is_not(field):
    better, worse = {**FIRST, "stages.2.width": 32}, {**FIRST, "stages.2.width": 24}
    study = field().study([(FIRST, 0.5), (worse, 0.4)])
    assert all(differing(field().next("local", study, seed=seed), FIRST) == 1 for seed in range(8))
    study = field().study([(FIRST, 0.5), (worse, 0.4), (better, 0.6)])
    assert all(differing(field().next("local", study, seed=seed), better) == 1 for seed in range(8))


@pytest.mark.parametrize("state", [TrialState.RUNNING, TrialState.FAIL])
def test_what_runs_or_failed_is_passed_over(field, state):
    *others, last = TINY.neighbours(FIRST)
    study = field().study([(FIRST, 0.9), *((near, state) for near in others)])
    assert field().next("local", study, seed=0) == last


def test_only_neighbours_inside_the_gate_are_proposed(field):
    here = cost(TINY.decode(FIRST)).flops
    study = field().study([(FIRST, 0.9)])
    cheap = field(gate=Gate(here * 1.0, here * 1.1))
    proposed = [cheap.next("local", study, seed=seed) for seed in range(8)]
    assert all(here <= cost(TINY.decode(choices)).flops <= here * 1.1 for choices in proposed)
    assert sum(differing(choices, FIRST) == 1 for choices in proposed) > 2


def test_of_several_climbs_under_way_the_highest_is_carried_on(field):
    starts = [TINY.sample(random.Random(seed)) for seed in range(8)]
    study = field().study([(choices, 0.1 * number % 0.7) for number, choices in enumerate(starts)])
    assert all(
        differing(field().next("local", study, seed=seed), starts[6]) == 1 for seed in range(10)
    )
