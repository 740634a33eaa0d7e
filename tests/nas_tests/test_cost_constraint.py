"""The cost constraint: its violation, and a constraint that nothing meets."""

import math
import random
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phinas.experiment.errors import InputError
from phinas.nas.cost_constraint import (
    MAX_ENUMERABLE,
    CostConstraint,
    descend_to_feasible,
    require_feasible,
)
from phinas.space.cost import network_cost
from phinas.space.search_spaces.loading import load_space
from phinas.space.search_spaces.search_space import SearchSpace

TINY = load_space("tiny")
SMALL = SearchSpace("small", TINY.base, TINY.decisions[:4])


@given(st.integers(1, 10**12), st.floats(1, 1e12), st.floats(1, 1e3))
def test_a_distance_is_zero_inside_and_the_factor_to_the_nearer_bound_outside(
    flops, min_flops, factor
):
    cost_constraint = CostConstraint(min_flops, min_flops * factor)
    violation = cost_constraint.violation(flops)
    assert (
        cost_constraint.is_satisfied(flops)
        == (cost_constraint.min_flops <= flops <= cost_constraint.max_flops)
        == (violation == 0)
    )
    if flops > cost_constraint.max_flops:
        assert flops / math.exp(violation) == pytest.approx(cost_constraint.max_flops)
    if flops < cost_constraint.min_flops:
        assert flops * math.exp(violation) == pytest.approx(cost_constraint.min_flops)


def test_both_bounds_are_inside_and_no_bounds_admit_all():
    assert CostConstraint(100, 200).is_satisfied(100)
    assert CostConstraint(100, 200).is_satisfied(200)
    assert not CostConstraint(100, 200).is_satisfied(99)
    assert not CostConstraint(100, 200).is_satisfied(201)
    assert CostConstraint().is_satisfied(10**30)


@pytest.mark.parametrize("name", ["tiny", "small_images", "mnasnet"])
def test_a_thousandth_of_a_space_is_reached(name):
    space = load_space(name)
    generator = random.Random(5)
    flops = sorted(network_cost(space.decode(space.sample(generator))).flops for _ in range(2000))
    for rank in (1, 1000, 1998):
        require_feasible(space, CostConstraint(flops[rank], flops[rank + 1]), seed=1)


@pytest.mark.parametrize(
    ("cost_constraint", "nearest"),
    [(CostConstraint(1, 2), "smallest"), (CostConstraint(1e15, 2e15), "largest")],
)
@pytest.mark.parametrize("name", ["tiny", "mnasnet"])
def test_a_gate_that_nothing_meets_is_refused_soon_and_names_the_nearest_miss(
    name, cost_constraint, nearest
):
    space = load_space(name)
    start_time = time.monotonic()
    with pytest.raises(
        InputError, match=r"^search\.min_flops, search\.max_flops: no network of space"
    ) as error_info:
        require_feasible(space, cost_constraint, seed=1)
    assert time.monotonic() - start_time < 20
    closest_flops = int(
        re.search(r"the nearest has ([\d,]+)", str(error_info.value))[1].replace(",", "")
    )
    generator = random.Random(6)
    sampled_flops = [network_cost(space.decode(space.sample(generator))).flops for _ in range(2000)]
    assert (
        closest_flops <= min(sampled_flops)
        if nearest == "smallest"
        else closest_flops >= max(sampled_flops)
    )


def test_in_a_small_space_the_nearest_miss_is_the_nearest_of_all():
    flops = sorted({network_cost(SMALL.decode(choices)).flops for choices in SMALL.enumerate()})
    widest_gap = max(range(len(flops) - 1), key=lambda index: flops[index + 1] - flops[index])
    cost_constraint = CostConstraint(flops[widest_gap] + 1, flops[widest_gap] + 1.5)
    assert SMALL.size <= MAX_ENUMERABLE
    with pytest.raises(InputError, match=f"the nearest has {flops[widest_gap]:,}"):
        require_feasible(SMALL, cost_constraint, seed=0)


def test_in_a_small_space_every_network_is_reachable_by_itself():
    for choices in SMALL.enumerate():
        flops = network_cost(SMALL.decode(choices)).flops
        require_feasible(SMALL, CostConstraint(flops, flops), seed=0)


def test_a_descent_never_moves_away_from_the_gate_and_ends():
    cost_constraint = CostConstraint(1, 2)
    violations = [
        cost_constraint.violation(network_cost(spec).flops)
        for _, spec in descend_to_feasible(TINY, cost_constraint, random.Random(0))
    ]
    starts = [
        index for index in range(1, len(violations)) if violations[index] > violations[index - 1]
    ]
    assert len(starts) <= 8
    assert len(violations) <= 8 * 200
