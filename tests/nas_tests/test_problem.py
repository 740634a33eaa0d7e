"""Networks as rows of positions: several sets of choices may mean one network, and it is looked at
once.
"""

import numpy as np
import pytest

from phinas.nas.cost_constraint import CostConstraint
from phinas.nas.problem import Problem, unique_row_indices
from phinas.nas.reward import make_reward
from phinas.space.cost import network_cost
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
LAYERWISE_SPACE = SearchSpace(
    "layered",
    BASE,
    tuple(
        Decision(f"stages.1.layers.{layer}.{field}", values)
        for layer in range(3)
        for field, values in (
            ("block", ("mbconv", "identity") if layer else ("mbconv",)),
            ("kernel", (3, 5, 7)),
            ("expansion", (3, 6)),
        )
    ),
)


def problem_of(space, cost_constraint=None):
    return Problem(
        space, cost_constraint or CostConstraint(), make_reward("soft", exponent=-0.07, target=1e6)
    )


@pytest.fixture(
    params=[LAYERWISE_SPACE, load_space("mobilenet_v3_like")], ids=lambda space: space.name
)
def problem(request):
    return problem_of(request.param)


def sample_rows(problem, count, seed=0):
    return np.random.default_rng(seed).integers(
        0, problem.num_choices, size=(count, len(problem.num_choices))
    )


def test_a_canonical_row_is_the_same_network(problem):
    rows = sample_rows(problem, 100)
    for row, canonicalize in zip(rows.tolist(), problem.canonicalize(rows).tolist(), strict=True):
        assert problem.get_spec_id(canonicalize) == problem.get_spec_id(row)


def test_rows_that_differ_in_idle_choices_only_have_one_canonical_row():
    problem = problem_of(LAYERWISE_SPACE)
    rows = np.array(
        [[0, 1, 1, 1, kernel, expansion, 0, 2, 0] for kernel in range(3) for expansion in range(2)]
    )
    assert len(np.unique(problem.canonicalize(rows), axis=0)) == 1


def test_a_network_is_not_its_own_neighbor_nor_another_one_twice_for_choices_that_mean_nothing():
    problem = problem_of(LAYERWISE_SPACE)
    row = np.array([[0, 0, 0, 1, 0, 0, 0, 0, 0]])  # the second layer is left out
    neighbors = problem.neighbors(row, 1000, np.random.default_rng(0))
    # The first: two kernels, an expansion; the last: that, or left out; the second is put in as the
    # first values have it.
    assert len(neighbors) == 3 + 4 + 1
    assert row[0].tolist() not in neighbors.tolist()


def test_a_draw_gives_canonical_networks_that_the_gate_lets_pass(problem):
    flops = problem.costs(sample_rows(problem, 200))[:, 0]
    constrained = problem_of(
        problem.space,
        CostConstraint(
            min_flops=int(np.quantile(flops, 0.3)), max_flops=int(np.quantile(flops, 0.7))
        ),
    )
    rows = constrained.sample(50, np.random.default_rng(0))
    np.testing.assert_array_equal(rows, constrained.canonicalize(rows))
    assert len(np.unique(rows, axis=0)) == len(rows) >= 45
    assert all(
        constrained.cost_constraint.is_satisfied(
            network_cost(problem.space.decode(problem.space.from_indices(row))).flops
        )
        for row in rows.tolist()
    )


def test_distinct_rows_are_told_once_wherever_they_stand():
    rows = np.array([[1, 2], [3, 4], [1, 2], [3, 5]])
    assert sorted(unique_row_indices(rows).tolist()) == [0, 1, 3]
