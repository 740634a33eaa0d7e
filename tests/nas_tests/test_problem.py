"""Networks as rows of indices: one network may have several rows, of which one is canonical."""

import numpy as np
import pytest

from phinas.nas.cost_constraint import CostConstraint
from phinas.nas.problem import Problem
from phinas.nas.reward import make_reward
from phinas.nas.row_keys import unique_row_indices
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
    canonical_rows = problem.canonicalize(rows).tolist()
    for row, canonical_row in zip(rows.tolist(), canonical_rows, strict=True):
        assert problem.identify_row(canonical_row) == problem.identify_row(row)


def test_rows_that_differ_in_inactive_choices_have_one_canonical_row():
    problem = problem_of(LAYERWISE_SPACE)
    rows = np.array(
        [[0, 1, 1, 1, kernel, expansion, 0, 2, 0] for kernel in range(3) for expansion in range(2)]
    )
    assert len(np.unique(problem.canonicalize(rows), axis=0)) == 1


def test_neighbors_that_differ_in_inactive_choices_only_are_left_out():
    problem = problem_of(LAYERWISE_SPACE)
    row = np.array([[0, 0, 0, 1, 0, 0, 0, 0, 0]])  # the second layer is left out
    neighbors = problem.neighbors(row, 1000, np.random.default_rng(0))
    # The first layer: two other kernels and one other expansion. The last layer: the same, or left
    # out. The second layer: inserted with the first values of its decisions.
    assert len(neighbors) == 3 + 4 + 1
    assert row[0].tolist() not in neighbors.tolist()


def test_samples_are_canonical_networks_within_the_cost_limits(problem):
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
            problem.space.decode(problem.space.from_indices(row)).cost().flops
        )
        for row in rows.tolist()
    )


def test_the_first_index_of_each_distinct_row_is_returned():
    rows = np.array([[1, 2], [3, 4], [1, 2], [3, 5]])
    assert sorted(unique_row_indices(rows).tolist()) == [0, 1, 3]
