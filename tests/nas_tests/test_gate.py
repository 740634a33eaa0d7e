"""The cost gate: its distance, and a gate that nothing meets."""

import math
import random
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phinas.experiment.errors import InputError
from phinas.nas.cost_constraint import ENUMERABLE, Gate, approach, require_reachable
from phinas.space.cost import cost
from phinas.space.search_spaces.loading import load_space
from phinas.space.search_spaces.search_space import SearchSpace

TINY = load_space("tiny")
SMALL = SearchSpace("small", TINY.base, TINY.decisions[:4])


@given(st.integers(1, 10**12), st.floats(1, 1e12), st.floats(1, 1e3))
def test_a_distance_is_zero_inside_and_the_factor_to_the_nearer_bound_outside(flops, least, factor):
    gate = Gate(least, least * factor)
    distance = gate.distance(flops)
    assert gate.admits(flops) == (gate.least <= flops <= gate.most) == (distance == 0)
    if flops > gate.most:
        assert flops / math.exp(distance) == pytest.approx(gate.most)
    if flops < gate.least:
        assert flops * math.exp(distance) == pytest.approx(gate.least)


def test_both_bounds_are_inside_and_no_bounds_admit_all():
    assert Gate(100, 200).admits(100)
    assert Gate(100, 200).admits(200)
    assert not Gate(100, 200).admits(99)
    assert not Gate(100, 200).admits(201)
    assert Gate().admits(10**30)


@pytest.mark.parametrize("name", ["tiny", "small_images", "mnasnet"])
def test_a_thousandth_of_a_space_is_reached(name):
    space = load_space(name)
    generator = random.Random(5)
    flops = sorted(cost(space.decode(space.sample(generator))).flops for _ in range(2000))
    for rank in (1, 1000, 1998):
        require_reachable(space, Gate(flops[rank], flops[rank + 1]), seed=1)


@pytest.mark.parametrize(
    ("gate", "nearest"), [(Gate(1, 2), "smallest"), (Gate(1e15, 2e15), "largest")]
)
@pytest.mark.parametrize("name", ["tiny", "mnasnet"])
def test_a_gate_that_nothing_meets_is_refused_soon_and_names_the_nearest_miss(name, gate, nearest):
    space = load_space(name)
    began = time.monotonic()
    with pytest.raises(
        InputError, match=r"^search\.min_flops, search\.max_flops: no network of space"
    ) as caught:
        require_reachable(space, gate, seed=1)
    assert time.monotonic() - began < 20
    found = int(re.search(r"the nearest has ([\d,]+)", str(caught.value))[1].replace(",", ""))
    generator = random.Random(6)
    drawn = [cost(space.decode(space.sample(generator))).flops for _ in range(2000)]
    assert found <= min(drawn) if nearest == "smallest" else found >= max(drawn)


def test_in_a_small_space_the_nearest_miss_is_the_nearest_of_all():
    flops = sorted({cost(SMALL.decode(choices)).flops for choices in SMALL.enumerate()})
    wide = max(range(len(flops) - 1), key=lambda index: flops[index + 1] - flops[index])
    gate = Gate(flops[wide] + 1, flops[wide] + 1.5)
    assert SMALL.size <= ENUMERABLE
    with pytest.raises(InputError, match=f"the nearest has {flops[wide]:,}"):
        require_reachable(SMALL, gate, seed=0)


def test_in_a_small_space_every_network_is_reachable_by_itself():
    for choices in SMALL.enumerate():
        flops = cost(SMALL.decode(choices)).flops
        require_reachable(SMALL, Gate(flops, flops), seed=0)


def test_a_descent_never_moves_away_from_the_gate_and_ends():
    gate = Gate(1, 2)
    distances = [
        gate.distance(cost(spec).flops) for _, spec in approach(TINY, gate, random.Random(0))
    ]
    starts = [
        index for index in range(1, len(distances)) if distances[index] > distances[index - 1]
    ]
    assert len(starts) <= 8
    assert len(distances) <= 8 * 200
