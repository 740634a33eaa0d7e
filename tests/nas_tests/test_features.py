"""Features of networks: equal for equal networks, standardized, for any kind of space."""

import numpy as np
import pytest

from phinas.nas.cost_constraint import CostConstraint
from phinas.nas.problem import Problem
from phinas.nas.reward import make_reward
from phinas.space.cost import stage_costs
from phinas.space.search_spaces.cost_tables import METRICS, CostTables
from phinas.space.search_spaces.definitions import SPACES
from phinas.space.search_spaces.inactive_choices import InactiveChoices
from phinas.space.search_spaces.loading import load_space
from phinas.space.search_spaces.search_space import Decision, SearchSpace
from phinas.space.spec import ArchSpec, StageSpec

BASE = ArchSpec(
    (
        StageSpec(8, 1, expansion=1),
        StageSpec(16, 3, stride=2, expansion=3),
        StageSpec(24, 2, stride=2, expansion=3),
    ),
    resolution=32,
    stem_width=8,
    head_width=32,
    classes=10,
)
CATEGORICAL_SPACE = SearchSpace(
    "categories",
    BASE,
    (
        Decision("stages.1.block", ("mbconv", "conv", "bottleneck")),
        Decision("stages.1.skip", (True, False)),
        Decision("stages.2.activation", ("relu", "silu")),
        Decision("resolution", (32, 48)),
    ),
)
LAYERWISE_SPACE = SearchSpace(
    "layered",
    BASE,
    tuple(
        Decision(f"stages.{stage}.layers.{layer}.{field}", values)
        for stage in (1, 2)
        for layer in range(BASE.stages[stage].depth)
        for field, values in (
            ("block", ("mbconv", "identity") if layer else ("mbconv", "fused_mbconv")),
            ("kernel", (3, 5)),
            ("width", (16, 24)),
            ("skip", (True, False)),
        )
    ),
)
# One stage has more sets of choices than a table holds.
LARGE_SPACE = SearchSpace(
    "large",
    BASE,
    (
        Decision("stages.1.width", tuple(range(8, 328, 8))),
        Decision("stages.1.depth", tuple(range(1, 13))),
        Decision("stages.1.kernel", (3, 5, 7, 9, 11)),
        Decision("stages.1.expansion", (1, 1.5, 2, 3, 4, 6, 8)),
        Decision("stages.1.se", (0, 0.05, 0.1, 0.25, 0.5)),
        Decision("stages.1.skip", (True, False)),
        Decision("stages.1.block", ("mbconv", "fused_mbconv", "bottleneck")),
        Decision("stages.2.kernel", (3, 5)),
    ),
)
SINGLE_DECISION_SPACE = SearchSpace(
    "one", BASE, (Decision("stages.1.width", tuple(range(8, 328, 8))),)
)
# Joint decisions of layers, next to plain ones of the stage.
MIXED_SPACE = SearchSpace(
    "mixed",
    BASE,
    (
        Decision("stages.1.kernel", (3, 5, 7)),
        Decision("stages.2.depth", (1, 2)),
        *(
            Decision.joint(
                f"stages.{stage}.layers.{layer}.op",
                ("identity", {"expansion": 2}, {"kernel": 5, "expansion": 4}),
            )
            for stage, layer in ((1, 1), (2, 1))
        ),
    ),
)


def problem_of(space):
    return Problem(space, CostConstraint(), make_reward("soft", exponent=-0.07, target=1e6))


def sample_rows(space, count, seed=1):
    counts = [len(decision.values) for decision in space.decisions]
    return np.random.default_rng(seed).integers(0, counts, size=(count, len(counts)))


@pytest.mark.parametrize(
    "space",
    [CATEGORICAL_SPACE, LAYERWISE_SPACE, MIXED_SPACE, load_space("mobilenet_v3_like")],
    ids=lambda space: space.name,
)
def test_inactive_choices_change_no_feature(space):
    """Compares each row with the same row with other inactive choices."""
    problem, rows = problem_of(space), sample_rows(space, 200)
    is_inactive = InactiveChoices(space).inactive_mask(rows)
    other_rows = np.where(is_inactive, sample_rows(space, 200, seed=2), rows)
    assert is_inactive.any()
    assert (other_rows != rows).any()
    np.testing.assert_array_equal(problem.features(other_rows), problem.features(rows))


@pytest.mark.parametrize(
    "space",
    [
        *map(load_space, SPACES),
        CATEGORICAL_SPACE,
        LAYERWISE_SPACE,
        LARGE_SPACE,
        SINGLE_DECISION_SPACE,
    ],
    ids=lambda space: space.name,
)
def test_features_have_mean_zero_and_variance_one_over_the_space(space):
    features = problem_of(space).features(sample_rows(space, 400 if space is LARGE_SPACE else 4000))
    assert np.isfinite(features).all()
    assert np.abs(features.mean(0)).max() < 0.35
    assert np.median(np.abs(features.std(0) - 1)) < 0.1


@pytest.mark.parametrize(
    "space",
    [CATEGORICAL_SPACE, LAYERWISE_SPACE, MIXED_SPACE, load_space("tiny")],
    ids=lambda space: space.name,
)
def test_different_networks_have_different_features(space):
    rows = sample_rows(space, 300)
    problem = problem_of(space)
    network_id_by_features: dict[bytes, str] = {}
    for row, features in zip(rows.tolist(), problem.features(rows).round(9), strict=True):
        network_id = problem.identify_row(row)
        assert network_id_by_features.setdefault(features.tobytes(), network_id) == network_id


def test_each_category_has_a_feature_and_a_boolean_has_one():
    """Each has a second feature: its sum over the network."""
    single = SearchSpace(
        "single", BASE, (Decision("stages.1.activation", ("relu", "silu", "hard_swish")),)
    )
    assert problem_of(single).features(np.array([[0], [1], [2]])).shape == (3, 6)
    booleans = SearchSpace("booleans", BASE, (Decision("stages.1.skip", (True, False)),))
    features = problem_of(booleans).features(np.array([[0], [1]]))
    assert features.shape == (2, 2)
    np.testing.assert_allclose(features[0], -features[1], atol=0.2)


def joint_space(*options):
    decisions = [Decision.joint(f"stages.1.layers.{layer}.op", options) for layer in (1, 2)]
    return SearchSpace("joint", BASE, tuple(decisions))


def test_distance_of_joint_choices_follows_their_fields():
    space = joint_space(
        "identity",
        {"kernel": 3, "expansion": 2},
        {"kernel": 5, "expansion": 2},
        {"kernel": 5, "expansion": 6},
    )
    rows = np.array([[choice, 1] for choice in range(4)])
    features = problem_of(space).features(rows)

    def distance(first, second):
        return np.linalg.norm(features[first] - features[second])

    assert distance(1, 2) < distance(1, 3)
    assert distance(2, 3) < distance(1, 3)
    assert max(distance(1, 2), distance(2, 3)) < min(distance(0, choice) for choice in (1, 2, 3))


def test_joint_choices_with_equal_fields_have_different_features():
    """The table of a benchmark may have two names for a layer that is left out."""
    names = [{"name": name, "block": "identity"} for name in ("none", "skip")]
    space = joint_space(*names, {"kernel": 3}, {"expansion": 4})
    features = problem_of(space).features(np.array([[choice, 2] for choice in range(4)]))
    assert len(np.unique(features.round(9), axis=0)) == 4


def test_the_count_of_a_category_in_a_network_is_a_feature():
    categories = ("mbconv", "fused_mbconv", "bottleneck")
    space = SearchSpace(
        "kinds",
        BASE,
        tuple(Decision(f"stages.1.layers.{layer}.block", categories) for layer in range(3)),
    )
    rows = sample_rows(space, 200)
    features = problem_of(space).features(rows)
    for category in range(3):
        category_counts = (rows == category).sum(1)
        assert np.abs(np.corrcoef(features.T, category_counts)[-1, :-1]).max() > 1 - 1e-9


def test_the_feature_of_a_number_rises_with_it():
    features = problem_of(SINGLE_DECISION_SPACE).features(np.arange(40)[:, None])
    assert np.all(np.diff(features, axis=0) > 0)


def test_features_are_grouped_by_what_they_describe():
    """One group for the choices of each field, and one each for the sums, the numbers of layers,
    the costs, and the costs of the stages.
    """
    features = problem_of(LAYERWISE_SPACE).features
    groups = features.groups
    assert len(groups) == features(sample_rows(LAYERWISE_SPACE, 2)).shape[1]
    assert sorted(set(groups.tolist())) == list(
        range(len({"block", "kernel", "width", "skip"}) + 4)
    )
    columns = 5 * (2 + 1 + 1 + 1)  # five layers; two columns for the block, one for other fields
    # The two columns of the block are of one group; kernel and width are of two groups.
    assert [len(set(groups[start : start + 2].tolist())) for start in range(0, 4, 2)] == [
        1,
        2,
    ]
    assert set(groups[:columns].tolist()).isdisjoint(groups[columns:].tolist())


def test_no_networks_give_no_rows():
    assert len(problem_of(CATEGORICAL_SPACE).features(np.empty((0, 4), dtype=np.int64))) == 0


@pytest.mark.parametrize(
    "space",
    [LAYERWISE_SPACE, CATEGORICAL_SPACE, load_space("accel_nasbench")],
    ids=lambda space: space.name,
)
def test_the_costs_of_the_stages_stem_and_head_sum_to_the_cost_of_the_network(space):
    rows = sample_rows(space, 60)
    by_stage = CostTables(space).stage_costs(rows)
    for row, stages in zip(rows.tolist(), by_stage, strict=True):
        spec = space.decode(space.from_indices(row))
        stem_and_head_rows = [part for part in stage_costs(spec) if not part.name.isdigit()]
        for column, metric in enumerate(METRICS[:3]):
            stem_and_head = sum(getattr(part.cost, metric) for part in stem_and_head_rows)
            assert stages[:, column].sum() + stem_and_head == getattr(spec.cost(), metric)


def test_in_a_space_too_large_for_tables_the_cost_of_each_network_is_computed_once(monkeypatch):
    problem, rows = problem_of(LARGE_SPACE), sample_rows(LARGE_SPACE, 30)
    expected = [
        [
            getattr(LARGE_SPACE.decode(LARGE_SPACE.from_indices(row)).cost(), metric)
            for metric in METRICS
        ]
        for row in rows.tolist()
    ]
    assert problem.costs(rows).tolist() == expected
    assert problem.stage_costs(rows).tolist() == [[[0] * 4] * 3] * 30
    computed_specs = []
    cost = ArchSpec.cost
    monkeypatch.setattr(ArchSpec, "cost", lambda spec: computed_specs.append(spec) or cost(spec))
    assert problem.costs(rows).tolist() == expected
    assert computed_specs == []
