"""The grid against brute force, against the box that it promises, and against the naive grid it replaces."""

import math
import statistics
import time
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiment.config import ScalingSection
from experiment.errors import InputError
from scaling_search.coefficients import Coefficients
from scaling_search.grid import make_grid, require_room, spread
from space.cost import cost
from space.loading import load_space
from space.presets import preset
from space.scaling import scale
from space.spec import ArchSpec, StageSpec
from space.yaml_text import read_yaml

B0 = preset("efficientnet_b0")
SMALL = load_space("small_images").base
ODD = ArchSpec((StageSpec(13, 1), StageSpec(30, 3, stride=2)), stem_width=20, stem_stride=1, head_width=100, resolution=20)
NAIVE = read_yaml(Path(__file__).parents[1] / "golden" / "naive_grid.yaml")

SECTIONS = {
    "default": ScalingSection(),
    "round": ScalingSection(rounding="round", tolerance=0.05),
    "fine": ScalingSection(divisor=4, step=0.02),
    "coarse": ScalingSection(divisor=16, tolerance=0.1),
    "offset": ScalingSection(alpha=[1.2, 2.0], beta=[1.05, 1.4], gamma=[1.0, 1.3], tolerance=0.1),
}
BASELINES = {"b0": B0, "small": SMALL, "odd": ODD}


@cache
def grid(baseline: str, section: str):
    return make_grid(BASELINES[baseline], SECTIONS[section])


def cases(function):
    function = pytest.mark.parametrize("section", SECTIONS)(function)
    return pytest.mark.parametrize("baseline", BASELINES)(function)


@cases
def test_every_member_has_the_wanted_flops_within_tolerance(baseline, section):
    base = cost(BASELINES[baseline]).flops
    chosen = SECTIONS[section]
    for member in grid(baseline, section):
        assert member.flops == cost(member.spec).flops
        assert member.ratio == member.flops / base
        assert abs(member.ratio / chosen.multiple - 1) <= chosen.tolerance


@cases
def test_members_are_distinct_networks_in_rising_order(baseline, section):
    members = grid(baseline, section)
    assert len({member.spec for member in members}) == len({member.spec.spec_id for member in members}) == len(members) >= 2
    assert members == sorted(members, key=lambda member: (member.alpha, member.beta, member.gamma))


@cases
def test_the_point_of_a_member_means_exactly_its_network(baseline, section):
    for member in grid(baseline, section):
        point = member.point(SECTIONS[section])
        assert point.apply(BASELINES[baseline], 1.0) == member.spec
        assert min(point.alpha, point.beta, point.gamma) >= 1


@pytest.mark.parametrize("baseline", BASELINES)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_all_coefficients_of_a_box_mean_its_network(baseline, data):
    section = data.draw(st.sampled_from(list(SECTIONS)))
    member = data.draw(st.sampled_from(grid(baseline, section)))

    def inside(interval, *, open_ends):
        low, high = interval
        share = data.draw(st.floats(0, 1))
        # The edges of gamma are halves, which round to even: they may be another network's.
        return low + (high - low) * (min(max(share, 1e-6), 1 - 1e-6) if open_ends else share)

    alpha, beta = inside(member.alpha, open_ends=False), inside(member.beta, open_ends=False)
    gamma = inside(member.gamma, open_ends=True)
    chosen = SECTIONS[section]
    means = Coefficients(alpha, beta, gamma, divisor=chosen.divisor, rounding=chosen.rounding)
    assert means.apply(BASELINES[baseline], 1.0) == member.spec


@cases
def test_just_outside_a_box_lies_another_network(baseline, section):
    chosen, base = SECTIONS[section], BASELINES[baseline]
    for member in grid(baseline, section)[:20]:
        point = member.point(chosen)
        for name in ("alpha", "beta", "gamma"):
            low, high = getattr(member, name)
            for value in (low - 3e-6, high + 3e-6):
                if value >= 1:
                    assert replace(point, **{name: value}).apply(base, 1.0) != member.spec


@cases
def test_nothing_within_the_ranges_is_missed(baseline, section):
    """For every depth and width of the grid, over all resolutions: the one nearest to the target is a member, or too far."""
    chosen, base = SECTIONS[section], BASELINES[baseline]
    target = chosen.multiple * cost(base).flops
    low, high = (base.resolution * factor for factor in chosen.gamma)
    sides = [side for side in range(1, 2 * base.resolution) if low - 1e-9 <= side <= high + 1e-9]
    expected, shapes = set(), set()
    for row in range(round((chosen.alpha[1] - chosen.alpha[0]) / chosen.step) + 1):
        for column in range(round((chosen.beta[1] - chosen.beta[0]) / chosen.step) + 1):
            alpha, beta = chosen.alpha[0] + row * chosen.step, chosen.beta[0] + column * chosen.step
            factors = {"depth": round(alpha, 6), "width": round(beta, 6)}
            shapes.add(scale(base, **factors, divisor=chosen.divisor, rounding=chosen.rounding))
    for shape in shapes:
        off = min(abs(cost(replace(shape, resolution=side)).flops / target - 1) for side in sides)
        if off <= chosen.tolerance:
            expected.add((shape, round(off, 12)))
    members = grid(baseline, section)
    found = {(replace(m.spec, resolution=base.resolution), round(abs(m.flops / target - 1), 12)) for m in members}
    assert found == expected
    assert all(member.spec.resolution in sides for member in members)


def test_the_naive_grid_compares_unlike_with_unlike():
    """108 triples of the nominal constraint around B0: alpha 1.0 to 2.0, beta and gamma 1.0 to 1.5, by 0.05."""
    steps = [round(1 + 0.05 * index, 2) for index in range(21)]
    triples = [
        (alpha, beta, gamma)
        for alpha in steps
        for beta in steps[:11]
        for gamma in steps[:11]
        if abs(alpha * beta**2 * gamma**2 - 2) < 0.1
    ]
    networks = [scale(B0, depth=alpha, width=beta, resolution=gamma) for alpha, beta, gamma in triples]
    ratios = [cost(network).flops / cost(B0).flops for network in networks]
    assert {
        "triples": len(triples),
        "networks": len(set(networks)),
        "least": round(min(ratios), 2),
        "median": round(statistics.median(ratios), 2),
        "greatest": round(max(ratios), 2),
        "within_a_tenth": sum(abs(ratio / 2 - 1) <= 0.1 for ratio in ratios),
    } == NAIVE["nominal_grid"]


@pytest.mark.parametrize("rounding", ["ceil", "round"])
def test_the_published_coefficients_do_not_double_the_flops(rounding):
    scaled = Coefficients(1.2, 1.1, 1.15, rounding=rounding).apply(B0, 1.0)
    assert round(cost(scaled).flops / cost(B0).flops, 2) == NAIVE["published_triple"][rounding]
    assert round(Coefficients(1.2, 1.1, 1.15).nominal, 2) == 1.92


def test_thousands_of_triples_are_priced_and_merged_in_seconds():
    section = ScalingSection(step=0.01, alpha=[1.0, 1.9], beta=[1.0, 1.32])
    began = time.process_time()
    members = make_grid(B0, section)
    seconds = time.process_time() - began
    assert len(members) > 20
    assert seconds < 6


def test_a_grid_of_fewer_than_two_is_refused_with_the_nearest_miss():
    section = ScalingSection(alpha=[1.0, 1.0], beta=[1.0, 1.0], gamma=[1.0, 1.2], tolerance=0.01)
    largest = cost(replace(SMALL, resolution=38)).flops / cost(SMALL).flops
    with pytest.raises(InputError, match=rf"holds 0 networks within 1\.0% of 2 times .* at {largest:.3g} times\)"):
        make_grid(SMALL, section)


def test_a_baseline_that_fills_the_images_is_refused_unless_resolution_is_not_asked_to_grow():
    with pytest.raises(InputError, match=r"^scaling\.gamma: the baseline sees 32 pixels .* images have 32,"):
        make_grid(SMALL, ScalingSection(), largest_side=32)
    fixed = ScalingSection(gamma=[1.0, 1.0], tolerance=0.2)
    assert {member.spec.resolution for member in make_grid(SMALL, fixed, largest_side=32)} == {32}


def test_no_member_is_larger_than_the_images():
    members = make_grid(SMALL, ScalingSection(tolerance=0.1), largest_side=36)
    assert max(member.spec.resolution for member in members) <= 36


@pytest.mark.parametrize(("gamma", "largest"), [([1.3, 1.5], 40), ([1.01, 1.02], math.inf), ([1.0, 1.0], 31)])
def test_a_range_of_gamma_without_a_whole_number_of_pixels_is_refused(gamma, largest):
    with pytest.raises(InputError, match=r"^scaling\.gamma: no whole number of pixels"):
        require_room(32, ScalingSection(gamma=gamma), largest_side=largest)


def test_a_spread_is_of_distinct_members_in_order_and_reaches_the_ends():
    members = grid("b0", "default")
    chosen = spread(members, 8)
    assert len(chosen) == len({member.spec for member in chosen}) == 8
    assert chosen == [member for member in members if member in chosen]
    for name in ("alpha", "beta", "gamma"):
        greatest = max(getattr(member, name) for member in members)
        assert any(getattr(member, name) >= (greatest[0] * 0.93, 0) for member in chosen)


def test_a_spread_of_more_than_there_are_is_all():
    members = grid("small", "default")
    assert spread(members, len(members)) == spread(members, 10_000) == members


@pytest.mark.parametrize("count", range(2, 12))
def test_a_larger_spread_contains_the_smaller(count):
    members = grid("b0", "default")
    assert {member.spec for member in spread(members, count)} < {member.spec for member in spread(members, count + 1)}
