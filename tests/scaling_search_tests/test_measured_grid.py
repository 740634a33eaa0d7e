"""The grid compared with brute force, with its boxes of factors, and with the nominal grid."""

import json
import math
import random
import time
from dataclasses import replace
from functools import cache

import pytest

from phinas.experiment.schema.config import ScalingSection
from phinas.scaling_search.grid.farthest_point import farthest_point_sample
from phinas.scaling_search.grid.measured_grid import make_grid
from phinas.scaling_search.grid.rounding_intervals import grid_factors
from phinas.space.presets import preset
from phinas.space.search_spaces.loading import load_space
from phinas.space.spec import ArchSpec, StageSpec

B0 = preset("efficientnet_b0")
SMALL = load_space("small_images").base
IRREGULAR = ArchSpec(
    (StageSpec(13, 1), StageSpec(30, 3, stride=2)),
    stem_width=20,
    stem_stride=1,
    head_width=100,
    resolution=20,
)
# A layer-wise search's: layers of one size and width that differ in kernel, one without shortcut,
# widths off the divisor.
LAYERS = ArchSpec(
    (
        StageSpec(20, 1, stride=2),
        StageSpec(20, 1, kernel=5),
        StageSpec(20, 1, kernel=7, skip=False),
        StageSpec(24, 1, kernel=7, expansion=3, skip=False),
        StageSpec(24, 1, kernel=3),
        StageSpec(24, 1, block="identity"),
        StageSpec(41, 2, stride=2),
        StageSpec(41, 1, kernel=5, se=0),
    ),
    stem_width=12,
    stem_stride=1,
    head_width=0,
    resolution=48,
)

SECTIONS = {
    "default": ScalingSection(grid_phi=1),
    "round": ScalingSection(grid_phi=1, rounding="round", tolerance=0.05),
    "ceil": ScalingSection(grid_phi=1, rounding="ceil"),
    "fine": ScalingSection(grid_phi=1, divisor=4, grid_step=0.02),
    "coarse": ScalingSection(grid_phi=1, divisor=16, tolerance=0.1),
    "offset": ScalingSection(
        grid_phi=1, alpha=[1.2, 2.0], beta=[1.05, 1.4], gamma=[1.0, 1.3], tolerance=0.1
    ),
}
BASELINES = {
    "b0": B0,
    "small": SMALL,
    "irregular": IRREGULAR,
    "layers": LAYERS,
    "mnasnet_a1": preset("mnasnet_a1"),
    "resnet_50": preset("resnet_50"),
    "v2_s": preset("efficientnet_v2_s"),
}


@cache
def grid(baseline: str, section: str):
    return make_grid(BASELINES[baseline], SECTIONS[section])


def cases(function):
    function = pytest.mark.parametrize("section", SECTIONS)(function)
    return pytest.mark.parametrize("baseline", BASELINES)(function)


@cases
def test_every_member_has_the_target_flops_within_tolerance(baseline, section):
    base = BASELINES[baseline].cost().flops
    chosen = SECTIONS[section]
    for member in grid(baseline, section):
        assert member.flops == member.spec.cost().flops
        assert member.ratio == member.flops / base
        assert abs(member.ratio / chosen.flops_multiple - 1) <= chosen.max_deviation


@cases
def test_members_are_distinct_networks_in_rising_order(baseline, section):
    members = grid(baseline, section)
    assert (
        len({member.spec for member in members})
        == len({member.spec.network_id for member in members})
        == len(members)
        >= 2
    )
    assert members == sorted(members, key=lambda member: (member.alpha, member.beta, member.gamma))


def network(coefficients, baseline):
    return coefficients.apply(BASELINES[baseline], 1.0).canonicalize()


@cases
def test_the_coefficients_of_a_member_round_to_its_network(baseline, section):
    for member in grid(baseline, section):
        coefficients = member.to_coefficients(SECTIONS[section])
        assert network(coefficients, baseline) == member.spec
        assert min(coefficients.alpha, coefficients.beta, coefficients.gamma) >= 1


@cases
def test_every_triple_of_a_box_rounds_to_its_network(baseline, section):
    """The corners, and triples drawn inside; of at most ten members, which are drawn too."""
    generator = random.Random(f"{baseline} {section}")
    members = grid(baseline, section)
    for member in generator.sample(members, min(10, len(members))):
        coefficients, expected_spec = member.to_coefficients(SECTIONS[section]), member.spec
        box = {name: getattr(member, name) for name in ("alpha", "beta", "gamma")}
        corners = [{name: interval[end] for name, interval in box.items()} for end in (0, 1)]
        inside = [
            {name: generator.uniform(*interval) for name, interval in box.items()} for _ in range(6)
        ]
        assert {
            network(replace(coefficients, **triple), baseline) for triple in corners + inside
        } == {expected_spec}


@cases
def test_the_next_float_outside_a_box_rounds_to_another_network(baseline, section):
    generator = random.Random(f"outside {baseline} {section}")
    members = grid(baseline, section)
    for member in generator.sample(members, min(10, len(members))):
        coefficients, expected_spec = member.to_coefficients(SECTIONS[section]), member.spec
        for name in ("alpha", "beta", "gamma"):
            low, high = getattr(member, name)
            for value in (
                math.nextafter(low, 0),
                math.nextafter(high, math.inf),
                low - 3e-6,
                high + 3e-6,
            ):
                if value >= 1:
                    assert (
                        network(replace(coefficients, **{name: value}), baseline) != expected_spec
                    )


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("baseline", ["small", "irregular", "layers"])
def test_no_network_within_the_ranges_is_missing(baseline, section):
    """For every depth and width of the grid, over all resolutions: the one nearest to the target is
    a member, or too far.
    """
    chosen, base = SECTIONS[section], BASELINES[baseline]
    target = chosen.flops_multiple * base.cost().flops
    low, high = (base.resolution * factor for factor in chosen.ranges["gamma"])
    resolutions = [
        side for side in range(1, 2 * base.resolution) if low - 1e-9 <= side <= high + 1e-9
    ]
    shapes = {
        base.scale(
            depth=alpha, width=beta, divisor=chosen.divisor, rounding=chosen.depth_rounding
        ).canonicalize()
        for alpha in grid_factors(chosen.alpha, chosen.grid_steps[0])
        for beta in grid_factors(chosen.beta, chosen.grid_steps[1])
    }
    expected = set()
    for shape in shapes:
        relative_error = min(
            abs(replace(shape, resolution=side).cost().flops / target - 1) for side in resolutions
        )
        if relative_error <= chosen.max_deviation:
            expected.add((replace(shape, resolution=base.resolution), round(relative_error, 12)))
    members = grid(baseline, section)
    result = {
        (
            replace(m.spec.canonicalize(), resolution=base.resolution),
            round(abs(m.flops / target - 1), 12),
        )
        for m in members
    }
    assert result == expected
    assert all(member.spec.resolution in resolutions for member in members)


def test_of_resolutions_with_equal_flops_the_largest_is_selected():
    """Behind a stem of stride 2 an odd side costs what the next even one does."""
    assert {member.spec.resolution % 2 for member in grid("b0", "default")} == {0}
    for member in grid("small", "default"):
        assert (
            replace(member.spec, resolution=member.spec.resolution + 1).cost().flops > member.flops
        )


def test_balanced_depths_follow_alpha_where_depths_rounded_up_exceed_it():
    for member in grid("b0", "default"):
        low, high = member.alpha
        assert low - 0.5 / 16 <= member.spec.depth / 16 <= high + 0.5 / 16
    differences = [
        member.spec.depth / 16 - member.alpha[1]
        for member in grid("b0", "ceil")
        if member.alpha[0] > 1
    ]
    assert max(differences) > 0.1


def test_each_dimension_may_have_its_own_step():
    section = ScalingSection(grid_phi=1, grid_step=[0.2, 0.02, 0.05])
    assert {m.spec.canonicalize() for m in make_grid(SMALL, section)} != {
        m.spec.canonicalize() for m in grid("small", "default")
    }
    alphas, betas = grid_factors(section.alpha, 0.2), grid_factors(section.beta, 0.02)
    for member in make_grid(SMALL, section):
        assert any(member.alpha[0] <= alpha <= member.alpha[1] for alpha in alphas)
        assert any(member.beta[0] <= beta <= member.beta[1] for beta in betas)


def test_the_record_of_a_grid_member_has_its_intervals_and_its_shape():
    for member in grid("layers", "default"):
        row = member.to_record()
        assert json.loads(json.dumps(row.to_dict(), allow_nan=False)) == row.to_dict()
        assert row.network_id == member.spec.network_id
        assert (row.flops, row.ratio, row.resolution) == (
            member.flops,
            member.ratio,
            member.spec.resolution,
        )
        assert (row.alpha, row.beta, row.gamma) == (member.alpha, member.beta, member.gamma)
        assert sum(row.depths) == member.spec.depth
        assert len(row.widths) == len(row.depths)
        assert (row.stem_width, row.head_width) == (member.spec.stem_width, 0)


@pytest.mark.parametrize(
    ("baseline", "changes"),
    [("efficientnet_b0", {}), ("efficientnet_v2_l", {"rounding": "balanced", "divisor": 1})],
    ids=["most triples mean their neighbor's network", "nearly all mean their own"],
)
def test_three_thousand_triples_are_rounded_costed_and_merged_in_two_seconds(baseline, changes):
    section = ScalingSection(
        grid_phi=1, grid_step=0.01, alpha=[1.0, 1.9], beta=[1.0, 1.32], **changes
    )
    assert len(grid_factors(section.alpha, 0.01)) * len(grid_factors(section.beta, 0.01)) == 3003
    start_time = time.process_time()
    members = make_grid(preset(baseline), section)
    assert time.process_time() - start_time < 2
    assert len(members) > 60


def test_a_farthest_point_sample_is_ordered_and_has_the_extremes():
    members = grid("b0", "default")
    sample = farthest_point_sample(members, 8)
    assert len(sample) == len({member.spec for member in sample}) == 8
    assert sample == [member for member in members if member in sample]
    for name in ("alpha", "beta", "gamma"):
        greatest = max(getattr(member, name) for member in members)
        assert any(getattr(member, name) >= (greatest[0] * 0.93, 0) for member in sample)


def test_a_farthest_point_sample_larger_than_the_grid_is_the_grid():
    members = grid("small", "default")
    assert (
        farthest_point_sample(members, len(members))
        == farthest_point_sample(members, 10_000)
        == members
    )


@pytest.mark.parametrize("count", range(2, 12))
def test_a_larger_farthest_point_sample_contains_the_smaller_one(count):
    members = grid("b0", "default")
    assert {member.spec for member in farthest_point_sample(members, count)} < {
        member.spec for member in farthest_point_sample(members, count + 1)
    }
