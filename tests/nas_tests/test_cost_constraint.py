"""The cost constraint: its violation, and limits that no network satisfies."""

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
from phinas.space.search_spaces.loading import load_space
from phinas.space.search_spaces.search_space import SearchSpace

TINY = load_space("tiny")
SMALL = SearchSpace("small", TINY.base, TINY.decisions[:4])


@given(st.integers(1, 10**12), st.floats(1, 1e12), st.floats(1, 1e3))
def test_a_violation_is_zero_within_the_limits_and_else_the_log_factor_to_the_nearer_one(
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


def test_limits_are_inclusive_and_optional():
    assert CostConstraint(100, 200).is_satisfied(100)
    assert CostConstraint(100, 200).is_satisfied(200)
    assert not CostConstraint(100, 200).is_satisfied(99)
    assert not CostConstraint(100, 200).is_satisfied(201)
    assert CostConstraint().is_satisfied(10**30)


@pytest.mark.parametrize("name", ["tiny", "small_images", "mnasnet"])
def test_limits_that_two_of_two_thousand_networks_satisfy_are_feasible(name):
    space = load_space(name)
    generator = random.Random(5)
    flops = sorted(space.decode(space.sample(generator)).cost().flops for _ in range(2000))
    for rank in (1, 1000, 1998):
        require_feasible(space, CostConstraint(flops[rank], flops[rank + 1]), seed=1)


@pytest.mark.parametrize(
    ("cost_constraint", "nearest"),
    [(CostConstraint(1, 2), "smallest"), (CostConstraint(1e15, 2e15), "largest")],
)
@pytest.mark.parametrize("name", ["tiny", "mnasnet"])
def test_limits_that_no_network_satisfies_are_refused_with_the_closest_one(
    name, cost_constraint, nearest
):
    space = load_space(name)
    start_time = time.monotonic()
    with pytest.raises(
        InputError, match=r"^search\.min_flops, search\.max_flops: no network of the search space"
    ) as error_info:
        require_feasible(space, cost_constraint, seed=1)
    assert time.monotonic() - start_time < 20
    closest_flops = int(
        re.search(r"the nearest has ([\d,]+)", str(error_info.value))[1].replace(",", "")
    )
    generator = random.Random(6)
    sampled_flops = [space.decode(space.sample(generator)).cost().flops for _ in range(2000)]
    assert (
        closest_flops <= min(sampled_flops)
        if nearest == "smallest"
        else closest_flops >= max(sampled_flops)
    )


def test_in_a_small_space_the_error_names_the_closest_of_all_networks():
    flops = sorted({SMALL.decode(choices).cost().flops for choices in SMALL.enumerate()})
    widest_gap = max(range(len(flops) - 1), key=lambda index: flops[index + 1] - flops[index])
    cost_constraint = CostConstraint(flops[widest_gap] + 1, flops[widest_gap] + 1.5)
    assert SMALL.size <= MAX_ENUMERABLE
    with pytest.raises(InputError, match=f"the nearest has {flops[widest_gap]:,}"):
        require_feasible(SMALL, cost_constraint, seed=0)


def test_in_a_small_space_limits_that_one_network_satisfies_are_feasible():
    for choices in SMALL.enumerate():
        flops = SMALL.decode(choices).cost().flops
        require_feasible(SMALL, CostConstraint(flops, flops), seed=0)


def test_a_descent_never_increases_the_violation_and_ends():
    cost_constraint = CostConstraint(1, 2)
    violations = [
        cost_constraint.violation(spec.cost().flops)
        for _, spec in descend_to_feasible(TINY, cost_constraint, random.Random(0))
    ]
    starts = [
        index for index in range(1, len(violations)) if violations[index] > violations[index - 1]
    ]
    assert len(starts) <= 8
    assert len(violations) <= 8 * 200
