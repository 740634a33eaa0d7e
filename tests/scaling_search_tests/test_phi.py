"""The network of a phi, above and below any baseline."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from phinas.scaling_search.coefficients import Coefficients
from phinas.scaling_search.family.family import make_family
from phinas.scaling_search.family.phi import (
    MAX_PHI,
    find_phi_interval,
    max_buildable_phi,
    scale_to_phi,
    shortest_decimal,
)
from phinas.space.presets import preset
from phinas.space.search_spaces.loading import load_space
from phinas.space.stage_spec import MAX_WIDTH

BASELINES = ["efficientnet_b0", "mobilenet_v2", "resnet_50", "efficientnet_v2_s", "mnasnet_a1"]
B0 = preset("efficientnet_b0")
PUBLISHED = Coefficients(1.2, 1.1, 1.15)
FACTORS = st.sampled_from([1.0, 1.05, 1.1, 1.2, 1.4])
LADDER = [-20, -6, -4, -3, -2, -1.5, -1, -0.5, -0.25, -0.1, 0.1, 0.25, 0.5, 1, 1.5, 2, 3.5, 5]


def sizes(spec):
    """Every size that phi changes."""
    stages = spec.stages
    return [
        spec.stem_width,
        spec.head_width,
        spec.resolution,
        *(s.width for s in stages),
        *(s.depth for s in stages),
    ]


@pytest.mark.parametrize("name", BASELINES)
def test_every_size_and_the_flops_rise_with_phi_through_the_baseline(name):
    family = make_family(preset(name), PUBLISHED, LADDER)
    assert [member.phi for member in family] == sorted([*LADDER, 0])
    for smaller, larger in pairwise(family):
        assert all(
            old <= new for old, new in zip(sizes(smaller.spec), sizes(larger.spec), strict=True)
        )
        assert smaller.flops <= larger.flops
        assert smaller.params <= larger.params
    assert family[0].flops < 0.1 * preset(name).cost().flops


@pytest.mark.parametrize("name", BASELINES)
def test_phi_zero_is_the_baseline_itself(name):
    baseline = preset(name)
    (member,) = make_family(baseline, PUBLISHED, [])
    assert (member.name, member.spec) == ("b0", baseline)
    assert make_family(baseline, PUBLISHED, [0.0]) == [member]
    low, high = find_phi_interval(baseline, PUBLISHED, 0.0)
    assert low <= 0 <= high


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(BASELINES),
    FACTORS,
    FACTORS,
    FACTORS,
    st.sampled_from(["ceil", "round", "balanced"]),
    st.floats(-MAX_PHI, 0),
)
def test_below_the_baseline_every_size_stays_within_its_bounds(
    name, alpha, beta, gamma, rounding, phi
):
    baseline = preset(name)
    spec = scale_to_phi(baseline, Coefficients(alpha, beta, gamma, rounding=rounding), phi)
    assert baseline.total_stride <= spec.resolution <= baseline.resolution
    assert spec.total_stride == baseline.total_stride
    assert len(spec.stages) == len(baseline.stages)
    for old, new in zip(baseline.stages, spec.stages, strict=True):
        assert 8 <= new.width <= old.width
        assert 1 <= new.depth <= old.depth
    assert 8 <= spec.stem_width <= baseline.stem_width


def test_a_width_that_no_divisor_divides_never_grows_below_the_baseline():
    irregular = replace(
        B0,
        stem_width=20,
        stages=tuple(replace(stage, width=stage.width + 4) for stage in B0.stages),
    )
    spec = scale_to_phi(irregular, PUBLISHED, -0.1)
    # 8 divides 24 and 16; 24 would be the nearest
    assert (spec.stem_width, spec.stages[0].width) == (
        20,
        20,
    )
    narrow = replace(B0, stem_width=4)
    assert scale_to_phi(narrow, PUBLISHED, -3).stem_width == 4


def test_far_below_the_baseline_stages_have_one_block_and_the_last_map_one_pixel():
    spec = scale_to_phi(B0, Coefficients(1.5, 1.5, 1.5), -20)
    assert [stage.depth for stage in spec.stages] == [1] * 7
    assert [stage.width for stage in spec.stages] == [8] * 7
    assert (spec.resolution, spec.total_stride) == (32, 32)


def test_above_the_baseline_a_network_is_that_of_the_coefficients():
    for phi in (0.5, 1, 3.5):
        assert scale_to_phi(B0, PUBLISHED, phi) == PUBLISHED.apply(B0, phi)


SMALL = [
    ("mobilenet_v2", -3),
    ("resnet_50", -4),
    ("mnasnet_a1", -1),
    ("efficientnet_v2_s", -4),
    ("efficientnet_b0", 0.5),
]


@pytest.mark.parametrize(("name", "phi"), SMALL)
def test_a_network_with_a_cost_can_be_built_and_run(name, phi):
    (member,) = (each for each in make_family(preset(name), PUBLISHED, [phi]) if each.phi == phi)
    network = member.spec.build().eval()
    assert sum(weights.numel() for weights in network.parameters()) == member.params
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 1000)


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(["b0", "tiny"]), FACTORS, FACTORS, FACTORS, st.floats(-4, 4))
def test_an_interval_has_exactly_the_phi_of_its_network(name, alpha, beta, gamma, phi):
    baseline = B0 if name == "b0" else load_space("tiny").base
    coefficients = Coefficients(alpha, beta, gamma)
    network = scale_to_phi(baseline, coefficients, phi).canonicalize()
    low, high = find_phi_interval(baseline, coefficients, phi)
    assert -MAX_PHI <= low <= phi <= high <= MAX_PHI
    for inner_phi in (low, (low + high) / 2, high):
        assert scale_to_phi(baseline, coefficients, inner_phi).canonicalize() == network
    for outer_phi in (low - 1e-7, high + 1e-7):
        assert (
            abs(outer_phi) > MAX_PHI
            or scale_to_phi(baseline, coefficients, outer_phi).canonicalize() != network
        )


def test_the_interval_of_an_unrounded_baseline_is_zero_and_no_other_crosses_it():
    irregular = replace(B0, stages=(replace(B0.stages[0], width=17), *B0.stages[1:]))
    coefficients = Coefficients(1.0, 1.1, 1.0)
    assert find_phi_interval(irregular, coefficients, 0.0) == pytest.approx((0, 0), abs=1e-8)
    assert find_phi_interval(irregular, coefficients, 1e-3)[0] >= 0
    assert find_phi_interval(irregular, coefficients, -1e-3)[1] <= 0


def test_the_interval_of_coefficients_that_scale_nothing_is_everything():
    assert find_phi_interval(B0, Coefficients(1.0, 1.0, 1.0), 1.0) == (-MAX_PHI, MAX_PHI)


@pytest.mark.parametrize(
    ("interval", "phi"),
    [
        ((0.6266, 0.6361), 0.63),
        ((0.9, 1.2), 1.0),
        ((-1.7053, -1.7052), -1.70525),
        ((-0.02, 0.1), 0.0),
        ((2.0, 2.03), 2.01),
    ],
)
def test_a_phi_has_few_decimals(interval, phi):
    assert shortest_decimal(interval) == pytest.approx(phi, abs=1e-12)


def test_a_phi_with_a_network_above_the_maximum_size_exceeds_the_largest_phi():
    wide = Coefficients(1.0, 2.0, 1.0)
    phi = max_buildable_phi(B0, wide)
    assert phi < MAX_PHI
    assert MAX_WIDTH / 2 < scale_to_phi(B0, wide, phi).head_width <= MAX_WIDTH
    assert max_buildable_phi(B0, PUBLISHED) == MAX_PHI
