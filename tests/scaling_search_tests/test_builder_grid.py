"""Tests of grids, families and controls of a network that a user's function builds. They are those
of the spec that the function uses.
"""

import statistics

import pytest

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import ScalingSection
from phinas.scaling_search.coefficients import Coefficients
from phinas.scaling_search.family.budget_ladder import fit_budgets
from phinas.scaling_search.family.depth_growth import find_depth_jumps
from phinas.scaling_search.family.family import make_family
from phinas.scaling_search.grid.builder_grid import MAX_TRACES, BuilderGrid
from phinas.scaling_search.grid.grid_shapes import make_shape_grid
from phinas.scaling_search.grid.measured_grid import make_grid
from phinas.scaling_search.grid.nominal import nominal_grid
from phinas.scaling_search.race.search import make_race
from phinas.scaling_search.validation.controls import make_controls, read_controls
from phinas.space.builders.built_network import BuiltNetwork
from phinas.space.presets import preset
from phinas.space.spec import ArchSpec, StageSpec

SMALL = ArchSpec(
    (StageSpec(16, 1), StageSpec(32, 2, stride=2)),
    stem_width=16,
    head_width=0,
    resolution=48,
    classes=10,
)
SECTION = ScalingSection(grid_step=0.25, tolerance=0.1, grid_phi=1.0)
FROM_SPEC = """
from phinas.space.network import network_from_dict

SPEC = network_from_dict({spec!r})

def build(*, depth, width, resolution, classes, channels):
    spec = SPEC.scale(depth=depth, width=width, rounding="balanced")
    return spec.adapt(resolution=resolution, classes=classes, channels=channels).build()
"""


def scale_like_the_builder(spec, network):
    scaled = spec.scale(depth=network.depth, width=network.width, rounding="balanced")
    return scaled.adapt(resolution=network.resolution)


def make_builder(folder, spec, *, code=FROM_SPEC):
    path = folder / f"net_{folder.name.replace('-', '_')}.py"
    path.write_text(code.format(spec=spec.to_dict()))
    network = BuiltNetwork.of_builder(f"{path}:build", resolution=spec.resolution)
    return network.adapt(classes=spec.classes)


@pytest.fixture(scope="module")
def small_builder(tmp_path_factory):
    return make_builder(tmp_path_factory.mktemp("small"), SMALL)


def assert_same_grid(spec, network, section):
    expected = make_grid(spec, section)
    members = make_grid(network, section)
    names = {scale_like_the_builder(spec, member.spec).network_id for member in members}
    assert names == {member.spec.network_id for member in expected}
    by_place = {(row.flops, row.spec.resolution, *row.gamma): row for row in expected}
    for member in members:
        row = by_place[(member.flops, member.spec.resolution, *member.gamma)]
        for exact, interval in ((row.alpha, member.alpha), (row.beta, member.beta)):
            # the ends are found to a sixteenth of the step
            assert interval == pytest.approx(exact, abs=section.grid_steps[0] / 16)


def test_grid_of_a_builder_has_the_networks_of_its_spec(small_builder):
    assert_same_grid(SMALL, small_builder, SECTION)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2", "resnet_50"])
def test_grid_of_a_builder_has_the_networks_of_a_preset(name, tmp_path):
    spec = preset(name)
    network = make_builder(tmp_path, spec).adapt(classes=spec.classes)
    assert_same_grid(spec, network, ScalingSection(grid_step=0.25))


def test_few_networks_of_a_depth_and_width_are_traced(small_builder):
    grid = make_shape_grid(small_builder, SECTION)
    assert isinstance(grid, BuilderGrid)
    target = 2.0 * grid.base_flops
    for depth in grid.distinct_depths:
        for width in grid.distinct_widths:
            grid.solve_resolution(depth, width, target, 48, 72)
    counts = list(grid.num_traces.values())
    assert max(counts) <= MAX_TRACES
    assert statistics.median(counts) <= 3
    assert len(counts) < len(grid.distinct_depths) * len(grid.distinct_widths)


def test_box_of_a_member_rounds_to_it(small_builder):
    for member in make_grid(small_builder, SECTION):
        for corner in (0, 1):
            scaled = small_builder.scale(depth=member.alpha[corner], width=member.beta[corner])
            assert scaled.with_factors(resolution=member.spec.resolution) == member.spec


@pytest.mark.slow
def test_members_of_a_builder_that_rounds_depth_and_width_together_have_other_boxes(tmp_path):
    code = FROM_SPEC.replace("depth=depth, width=width,", "depth=depth * width, width=width,")
    network = make_builder(tmp_path, SMALL, code=code)
    for member in make_grid(network, SECTION):
        for factor in member.alpha:
            scaled = network.with_factors(
                depth=factor, width=member.spec.width, resolution=member.spec.resolution
            )
            assert scaled == member.spec


@pytest.mark.parametrize(("argument", "name"), [("depth", "alpha"), ("width", "beta")])
def test_builder_that_ignores_an_argument_is_refused(tmp_path, argument, name):
    code = FROM_SPEC.replace(f"{argument}={argument}, ", "")
    network = make_builder(tmp_path, SMALL, code=code)
    with pytest.raises(InputError, match=f"ignores its argument {argument}"):
        make_grid(network, SECTION)
    section = SECTION.model_copy(update={name: [1.0, 1.0]})
    assert make_shape_grid(network, section).distinct_depths


def test_nominal_grid_of_a_builder_has_the_networks_of_its_spec(small_builder):
    section = ScalingSection(grid_step=0.25, constraint="nominal", nominal_tolerance=0.2)
    expected = nominal_grid(SMALL, section).members
    members = nominal_grid(small_builder, section).members
    assert {member.flops for member in members} == {
        scale_like_the_builder(SMALL, member.spec).cost().flops for member in members
    }
    assert len(members) == len(expected)


def test_family_of_a_builder_has_the_cost_of_its_spec(small_builder):
    coefficients = Coefficients(1.2, 1.1, 1.15, rounding="balanced")
    for ladder in ([0.0, 1.0, 2.0], [-1.0, 0.0]):
        family = make_family(small_builder, coefficients, ladder)
        expected = make_family(SMALL, coefficients, ladder)
        assert [row.flops for row in family] == [row.flops for row in expected]


@pytest.mark.slow
def test_flops_budget_of_a_builder_is_met_like_that_of_its_spec(small_builder):
    coefficients = Coefficients(1.2, 1.1, 1.15, rounding="balanced")
    limit = 3.0 * SMALL.cost().flops
    (fit,) = fit_budgets(small_builder, coefficients, "flops", [limit])
    (expected,) = fit_budgets(SMALL, coefficients, "flops", [limit])
    assert fit.value <= limit
    assert fit.value == pytest.approx(expected.value, rel=0.03)


def test_depth_jumps_of_a_builder_are_those_of_its_factor(small_builder):
    coefficients = Coefficients(1.5, 1.1, 1.1)
    assert find_depth_jumps(small_builder, coefficients, [0.0, 1.0, 4.0]) == [4.0]


def test_race_of_a_builder_has_coordinates(small_builder):
    members = make_grid(small_builder, SECTION)[:3]
    race = make_race(members, small_builder, SECTION, can_pause=False)
    assert len(set(race.coordinates)) == 3


@pytest.mark.slow
def test_controls_of_a_builder_have_the_flops_of_the_largest_member(small_builder):
    coefficients = Coefficients(1.2, 1.1, 1.15)
    family = make_family(small_builder, coefficients, [0.0, 2.0])
    controls = make_controls(
        read_controls(["width", "resolution"]),
        small_builder,
        family,
        rounding=coefficients,
        max_resolution=1000,
    )
    for control in controls:
        assert control.skip is None
        assert control.cost is not None
        assert control.cost.flops == pytest.approx(family[-1].flops, rel=0.15)
