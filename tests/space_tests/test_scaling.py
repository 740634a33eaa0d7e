"""Tests of rounding and scaling, with published values."""

import math
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phinas.space.presets import preset
from phinas.space.scaling import round_depth, round_width, scale_depths, scale_widths
from phinas.space.spec import ArchSpec, SpecError, StageSpec

B0 = preset("efficientnet_b0")


# `round_filters` of the published code, for the widths of B0 and the coefficients of B1 to B7
@pytest.mark.parametrize(
    ("factor", "widths"),
    [
        (1.0, [32, 16, 24, 40, 80, 112, 192, 320, 1280]),
        (1.1, [32, 16, 24, 48, 88, 120, 208, 352, 1408]),
        (1.2, [40, 24, 32, 48, 96, 136, 232, 384, 1536]),
        (1.4, [48, 24, 32, 56, 112, 160, 272, 448, 1792]),
        (1.6, [48, 24, 40, 64, 128, 176, 304, 512, 2048]),
        (1.8, [56, 32, 40, 72, 144, 200, 344, 576, 2304]),
        (2.0, [64, 32, 48, 80, 160, 224, 384, 640, 2560]),
    ],
)
def test_widths_of_the_published_family(factor, widths):
    spec = B0.scale(width=factor)
    assert [spec.stem_width, *(stage.width for stage in spec.stages), spec.head_width] == widths


@pytest.mark.parametrize(
    ("factor", "depths"),
    [
        (1.1, [2, 3, 3, 4, 4, 5, 2]),
        (1.4, [2, 3, 3, 5, 5, 6, 2]),
        (1.8, [2, 4, 4, 6, 6, 8, 2]),
        (3.1, [4, 7, 7, 10, 10, 13, 4]),
    ],
)
def test_depths_of_all_stages_are_rounded_up(factor, depths):
    assert [stage.depth for stage in B0.scale(depth=factor).stages] == depths


def test_a_width_that_rounds_below_ninety_percent_is_raised():
    assert round_width(11.5) == 16  # the nearest multiple, 8, is below 10.35


def test_depth_is_not_raised_by_a_rounding_error():
    exact = 1.1**2 * 100
    assert exact > 121
    assert round_depth(exact) == 121


@pytest.mark.parametrize(("depth", "rounded"), [(2.5, 3), (2.49, 2), (0.2, 1)])
def test_depth_rounds_half_up_if_requested(depth, rounded):
    assert round_depth(depth, rounding="round") == rounded


@given(st.floats(0.01, 1e5), st.integers(1, 64))
def test_a_rounded_width_is_a_multiple_and_not_below_ninety_percent(width, divisor):
    rounded = round_width(width, divisor=divisor)
    assert rounded % divisor == 0
    assert rounded >= divisor
    assert rounded >= 0.9 * width
    assert rounded < width + divisor or rounded == divisor


@given(st.floats(0.1, 900))
def test_a_rounded_depth_is_the_smallest_whole_number_above(depth):
    assert round_depth(depth) in (math.ceil(depth), math.ceil(depth - 1e-9))


def test_a_factor_of_one_leaves_irregular_sizes_unchanged():
    spec = ArchSpec((StageSpec(13, 3),), stem_width=7, head_width=99, resolution=33)
    assert spec.scale() == spec
    assert spec.scale(depth=2.0).stages[0].width == 13
    assert spec.scale(width=1.0, divisor=32) == spec


@given(
    widths=st.lists(st.integers(0, 300), min_size=1, max_size=6),
    factor=st.floats(0.05, 1, exclude_max=True),
    divisor=st.sampled_from([1, 4, 8, 16]),
)
def test_a_factor_below_one_raises_no_width(widths, factor, divisor):
    scaled = scale_widths(widths, factor, divisor=divisor)
    assert all(new <= old for new, old in zip(scaled, widths, strict=True))
    assert [new == 0 for new in scaled] == [old == 0 for old in widths]


def test_a_divisor_decides_the_widths():
    assert B0.scale(width=1.1, divisor=16).stages[2].width == 48
    assert B0.scale(width=1.1, divisor=1).stages[2].width == 44


def test_scaling_leaves_other_fields_unchanged():
    spec = B0.scale(width=1.3, depth=1.7, resolution=1.5)
    assert spec.resolution == 336
    assert [(stage.kernel, stage.stride, stage.expansion, stage.se) for stage in spec.stages] == [
        (stage.kernel, stage.stride, stage.expansion, stage.se) for stage in B0.stages
    ]


@given(st.floats(1, 4), st.floats(1, 4), st.floats(1, 4))
def test_factors_above_one_never_shrink_a_stage(width, depth, resolution):
    spec = B0.scale(width=width, depth=depth, resolution=resolution)
    assert spec.resolution >= B0.resolution
    assert all(
        new.width >= old.width * 0.9 * width
        for new, old in zip(spec.stages, B0.stages, strict=True)
    )
    assert all(new.width >= old.width for new, old in zip(spec.stages, B0.stages, strict=True))
    assert all(new.depth >= old.depth for new, old in zip(spec.stages, B0.stages, strict=True))


@pytest.mark.parametrize("factor", [0, -1, math.nan, math.inf, 1e308, True, "2", None])
@pytest.mark.parametrize("name", ["width", "depth", "resolution"])
def test_a_factor_that_is_not_a_positive_number_is_refused(name, factor):
    with pytest.raises(SpecError, match=f"^{name}: factor {re.escape(repr(factor))} is not"):
        B0.scale(**{name: factor})


def test_scaling_below_the_total_stride_is_refused():
    with pytest.raises(SpecError, match="resolution: 22 is below the total stride 32"):
        B0.scale(resolution=0.1)


LAYERS = ArchSpec(
    (
        StageSpec(16, 1, stride=2),
        StageSpec(16, 1, kernel=5),
        StageSpec(16, 1, kernel=7),
        StageSpec(24, 2),
        StageSpec(24, 1, stride=2),
    )
)


@pytest.mark.parametrize(
    ("factor", "depths"),
    [
        (1.0, [1, 1, 1, 2, 1]),
        (1.2, [1, 1, 2, 3, 2]),  # three layers become ceil(3.6) = 4, not 3 x ceil(1.2) = 6
        (2.0, [2, 2, 2, 4, 2]),
        (2.2, [2, 2, 3, 5, 3]),
    ],
)
def test_layers_of_one_size_and_width_are_scaled_in_depth_as_one_stage(factor, depths):
    assert [stage.depth for stage in LAYERS.scale(depth=factor).stages] == depths


def test_a_shallower_network_keeps_the_layer_that_has_the_stride():
    smaller = LAYERS.scale(depth=0.34, rounding="round")
    assert [(stage.width, stage.stride, stage.depth) for stage in smaller.stages] == [
        (16, 2, 1),
        (24, 1, 1),
        (24, 2, 1),
    ]


DEPTHS = st.lists(st.integers(1, 12), min_size=1, max_size=9)


@given(DEPTHS, st.floats(0.05, 6))
def test_balanced_depths_add_up_to_the_rounded_total(depths, factor):
    expected = max(len(depths), math.floor(sum(depths) * factor + 0.5))
    assert sum(scale_depths(depths, factor, rounding="balanced")) == expected


@given(DEPTHS, st.floats(1, 6))
def test_balanced_depths_with_a_factor_from_one_on_are_never_smaller(depths, factor):
    assert all(
        new >= old
        for new, old in zip(scale_depths(depths, factor, rounding="balanced"), depths, strict=True)
    )


@given(DEPTHS, st.floats(0.05, 6), st.floats(0.05, 6))
def test_no_stage_loses_a_block_if_the_balanced_factor_rises(depths, one, other):
    small, large = (
        scale_depths(depths, factor, rounding="balanced") for factor in sorted((one, other))
    )
    assert all(less <= more for less, more in zip(small, large, strict=True))


def test_the_first_stage_of_v2_s_keeps_its_third_block_unlike_with_largest_remainders():
    """Rounding by largest remainders has the Alabama paradox: from 49 to 50 blocks, the depths
    [3, 5, 5, 7, 11, 18] become [2, 5, 5, 8, 11, 19].
    """
    depths = [stage.depth for stage in preset("efficientnet_v2_s").stages]
    assert (
        scale_depths(depths, 49 / 40, rounding="balanced")[0]
        <= scale_depths(depths, 50 / 40, rounding="balanced")[0]
    )
    assert depths == [2, 4, 4, 6, 9, 15]


@given(DEPTHS, st.floats(1, 6))
def test_balanced_depths_are_rounded_to_the_nearest_with_one_common_factor(depths, factor):
    """The method of Sainte-Laguë: depth * factor is within half a block of each stage's depth, for
    some common factor.
    """
    blocks = scale_depths(depths, factor, rounding="balanced")
    lower_bounds = [
        (2 * count - 1) / (2 * depth) for count, depth in zip(blocks, depths, strict=True)
    ]
    upper_bounds = [
        (2 * count + 1) / (2 * depth) for count, depth in zip(blocks, depths, strict=True)
    ]
    assert max(lower_bounds) <= min(upper_bounds) + 1e-12


@pytest.mark.parametrize(
    ("factor", "depths"),
    [
        (1.0, [1, 2, 2, 3, 3, 4, 1]),
        (1.05, [1, 2, 2, 3, 3, 5, 1]),  # 17 blocks; `ceil` gives 23 and `round` 16
        (1.2, [1, 2, 2, 4, 4, 5, 1]),
        (1.8, [2, 4, 4, 5, 5, 7, 2]),
        (0.3, [1, 1, 1, 1, 1, 1, 1]),
    ],
)
def test_balanced_depths_of_b0(factor, depths):
    assert [stage.depth for stage in B0.scale(depth=factor, rounding="balanced").stages] == depths


@settings(deadline=None)
@given(st.floats(0.9, 3), st.floats(0.9, 3), st.sampled_from(["ceil", "round", "balanced"]))
def test_different_specs_of_one_network_scale_to_the_same_network(width, depth, rounding):
    split = replace(
        LAYERS,
        stages=(
            *LAYERS.stages[:3],
            replace(LAYERS.stages[3], depth=1),
            StageSpec(24, 1),
            LAYERS.stages[4],
        ),
    )
    scaled = [
        spec.scale(width=width, depth=depth, rounding=rounding)
        for spec in (split, split.canonicalize())
    ]
    assert scaled[0].network_id == scaled[1].network_id


@pytest.mark.parametrize("factor", [1.0, 1.25])
def test_a_skip_without_effect_does_not_change_the_scaled_network(factor):
    unsimplified = ArchSpec((StageSpec(16, 1, skip=False), StageSpec(24, 2)))
    assert unsimplified.network_id == unsimplified.canonicalize().network_id
    deeper = {
        spec.scale(width=factor, depth=2.0).network_id
        for spec in (unsimplified, unsimplified.canonicalize())
    }
    assert len(deeper) == 1


@given(st.floats(0.1, 4), st.sampled_from(["ceil", "round", "balanced"]))
def test_layers_in_separate_stages_or_in_one_scale_to_the_same_network(factor, rounding):
    separate = ArchSpec(
        (StageSpec(16, 1, stride=2), StageSpec(16, 1), StageSpec(16, 2), StageSpec(24, 3))
    )
    merged = ArchSpec((StageSpec(16, 4, stride=2), StageSpec(24, 3)))
    assert (
        separate.scale(depth=factor, rounding=rounding).network_id
        == merged.scale(depth=factor, rounding=rounding).network_id
    )


def test_scaling_adds_no_head_convolution():
    assert ArchSpec((StageSpec(16, 1),), head_width=0).scale(width=2).head_width == 0


def test_scaling_does_not_restore_identities():
    spec = ArchSpec((StageSpec(16, 2), StageSpec(16, 2, block="identity")))
    assert spec.scale(depth=2).depth == 4
