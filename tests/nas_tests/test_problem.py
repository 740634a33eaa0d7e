"""Networks as rows of positions: several sets of choices may mean one network, and it is looked at
once.
"""

import numpy as np
import pytest

from phinas.nas.cost_constraint import Gate
from phinas.nas.problem import Problem, distinct
from phinas.nas.reward import make_reward
from phinas.space.cost import cost
from phinas.space.search_spaces.loading import load_space
from phinas.space.search_spaces.search_space import Decision, SearchSpace
from phinas.space.spec import ArchSpec, StageSpec

BASE = ArchSpec(
    (StageSpec(8, 1), StageSpec(16, 3, stride=2)),
    resolution=32,
    stem_width=8,
    head_width=32,
    classes=10,
)
LAYERED = SearchSpace("layered", BASE, tuple(
    Decision(f"stages.1.layers.{layer}.{field}", values) for layer in range(3)
    for field, values in (("block", ("mbconv", "identity") if layer else ("mbconv",)), ("kernel", (3, 5, 7)),
                          ("expansion", (3, 6)))))  # fmt: skip


def problem_of(space, gate=None):
    return Problem(space, gate or Gate(), make_reward("soft", weight=-0.07, target=1e6))


@pytest.fixture(params=[LAYERED, load_space("mobilenet_v3_like")], ids=lambda space: space.name)
def problem(request):
    return problem_of(request.param)


def drawn(problem, count, seed=0):
    return np.random.default_rng(seed).integers(
        0, problem.counts, size=(count, len(problem.counts))
    )


def test_a_canonical_row_is_the_same_network(problem):
    rows = drawn(problem, 100)
    for row, canonical in zip(rows.tolist(), problem.canonical(rows).tolist(), strict=True):
        assert problem.network(canonical) == problem.network(row)


def test_rows_that_differ_in_idle_choices_only_have_one_canonical_row():
    problem = problem_of(LAYERED)
    left_out = np.array(
        [[0, 1, 1, 1, kernel, expansion, 0, 2, 0] for kernel in range(3) for expansion in range(2)]
    )
    assert len(np.unique(problem.canonical(left_out), axis=0)) == 1


def test_a_network_is_not_its_own_neighbour_nor_another_one_twice_for_choices_that_mean_nothing():
    problem = problem_of(LAYERED)
    middle = np.array([[0, 0, 0, 1, 0, 0, 0, 0, 0]])  # the second layer is left out
    around = problem.neighbours(middle, 1000, np.random.default_rng(0))
    # The first: two kernels, an expansion; the last: that, or left out; the second is put in as the
    # first values have it.
    assert len(around) == 3 + 4 + 1
    assert middle[0].tolist() not in around.tolist()


def test_a_draw_gives_canonical_networks_that_the_gate_lets_pass(problem):
    prices = problem.costs(drawn(problem, 200))[:, 0]
    gated = problem_of(
        problem.space, Gate(least=int(np.quantile(prices, 0.3)), most=int(np.quantile(prices, 0.7)))
    )
    rows = gated.draw(50, np.random.default_rng(0))
    np.testing.assert_array_equal(rows, gated.canonical(rows))
    assert len(np.unique(rows, axis=0)) == len(rows) >= 45
    assert all(
        gated.gate.admits(cost(problem.space.decode(problem.space.choices(row))).flops)
        for row in rows.tolist()
    )


def test_distinct_rows_are_told_once_wherever_they_stand():
    rows = np.array([[1, 2], [3, 4], [1, 2], [3, 5]])
    assert sorted(distinct(rows).tolist()) == [0, 1, 3]
