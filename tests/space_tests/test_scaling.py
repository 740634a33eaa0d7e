"""Rounding and scaling against the official examples."""

import math
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phinas.space.presets import preset
from phinas.space.scaling import round_depth, round_width, scale, scale_depths
from phinas.space.spec import ArchSpec, SpecError, StageSpec

B0 = preset("efficientnet_b0")


# round_filters of the published code for B0's widths and the coefficients of B1 to B7.
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
    spec = scale(B0, width=factor)
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
def test_depths_round_up_first_and_last_stage_too(factor, depths):
    assert [stage.depth for stage in scale(B0, depth=factor).stages] == depths


def test_ninety_percent_guard_lifts_a_width():
    assert round_width(11.5) == 16  # the nearest multiple, 8, is below 10.35


def test_depth_is_not_raised_by_a_rounding_error():
    exact = 1.1**2 * 100
    assert exact > 121
    assert round_depth(exact) == 121


@pytest.mark.parametrize(("depth", "rounded"), [(2.5, 3), (2.49, 2), (0.2, 1)])
def test_depth_rounds_half_up_where_asked(depth, rounded):
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


def test_a_factor_of_one_leaves_odd_sizes_alone():
    spec = ArchSpec((StageSpec(13, 3),), stem_width=7, head_width=99, resolution=33)
    assert scale(spec) == spec
    assert scale(spec, depth=2.0).stages[0].width == 13
    assert scale(spec, width=1.0, divisor=32) == spec


def test_a_divisor_decides_the_widths():
    assert scale(B0, width=1.1, divisor=16).stages[2].width == 48
    assert scale(B0, width=1.1, divisor=1).stages[2].width == 44


def test_scaling_keeps_what_it_does_not_scale():
    spec = scale(B0, width=1.3, depth=1.7, resolution=1.5)
    assert spec.resolution == 336
    assert [(stage.kernel, stage.stride, stage.expansion, stage.se) for stage in spec.stages] == [
        (stage.kernel, stage.stride, stage.expansion, stage.se) for stage in B0.stages
    ]


@given(st.floats(1, 4), st.floats(1, 4), st.floats(1, 4))
def test_growing_never_shrinks_a_stage(width, depth, resolution):
    spec = scale(B0, width=width, depth=depth, resolution=resolution)
    assert spec.resolution >= B0.resolution
    assert all(
        new.width >= old.width * 0.9 * width
        for new, old in zip(spec.stages, B0.stages, strict=True)
    )
    assert all(new.width >= old.width for new, old in zip(spec.stages, B0.stages, strict=True))
    assert all(new.depth >= old.depth for new, old in zip(spec.stages, B0.stages, strict=True))


@pytest.mark.parametrize("factor", [0, -1, math.nan, math.inf, 1e308, True, "2", None])
@pytest.mark.parametrize("name", ["width", "depth", "resolution"])
def test_a_factor_that_is_no_positive_number_is_refused(name, factor):
    with pytest.raises(SpecError, match=f"^{name}: factor {re.escape(repr(factor))} is not"):
        scale(B0, **{name: factor})


def test_shrinking_below_the_total_stride_is_refused():
    with pytest.raises(SpecError, match="resolution: 22 is below the total stride 32"):
        scale(B0, resolution=0.1)


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
    assert [stage.depth for stage in scale(LAYERS, depth=factor).stages] == depths


def test_a_shallower_network_keeps_the_layer_that_has_the_stride():
    smaller = scale(LAYERS, depth=0.34, rounding="round")
    assert [(stage.width, stage.stride, stage.depth) for stage in smaller.stages] == [
        (16, 2, 1),
        (24, 1, 1),
        (24, 2, 1),
    ]


DEPTHS = st.lists(st.integers(1, 12), min_size=1, max_size=9)


@given(DEPTHS, st.floats(0.05, 6))
def test_balanced_depths_add_up_to_the_nearest_of_the_whole(depths, factor):
    expected = max(len(depths), math.floor(sum(depths) * factor + 0.5))
    assert sum(scale_depths(depths, factor, rounding="balanced")) == expected


@given(DEPTHS, st.floats(1, 6))
def test_balanced_depths_from_one_on_are_never_below_their_own(depths, factor):
    assert all(
        new >= old
        for new, old in zip(scale_depths(depths, factor, rounding="balanced"), depths, strict=True)
    )


@given(DEPTHS, st.floats(0.05, 6), st.floats(0.05, 6))
def test_no_stage_loses_a_block_as_the_balanced_factor_rises(depths, one, other):
    small, large = (
        scale_depths(depths, factor, rounding="balanced") for factor in sorted((one, other))
    )
    assert all(less <= more for less, more in zip(small, large, strict=True))


def test_the_first_stage_of_v2_s_keeps_its_third_block_where_largest_remainders_take_it_away():
    """The Alabama paradox: from 49 to 50 blocks they make [3, 5, 5, 7, 11, 18] into [2, 5, 5, 8,
    11, 19].
    """
    depths = [stage.depth for stage in preset("efficientnet_v2_s").stages]
    assert (
        scale_depths(depths, 49 / 40, rounding="balanced")[0]
        <= scale_depths(depths, 50 / 40, rounding="balanced")[0]
    )
    assert depths == [2, 4, 4, 6, 9, 15]


@given(DEPTHS, st.floats(1, 6))
def test_balanced_depths_are_all_rounded_to_the_nearest_under_one_factor(depths, factor):
    """Sainte-Laguë's rule: some common factor has depth * factor within half a block of every
    stage.
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
        (1.05, [1, 2, 2, 3, 3, 5, 1]),  # 17 blocks, where `ceil` has 23 and `round` 16
        (1.2, [1, 2, 2, 4, 4, 5, 1]),
        (1.8, [2, 4, 4, 5, 5, 7, 2]),
        (0.3, [1, 1, 1, 1, 1, 1, 1]),
    ],
)
def test_balanced_depths_of_b0(factor, depths):
    assert [stage.depth for stage in scale(B0, depth=factor, rounding="balanced").stages] == depths


@settings(deadline=None)
@given(st.floats(0.9, 3), st.floats(0.9, 3), st.sampled_from(["ceil", "round", "balanced"]))
def test_one_network_scales_to_one_network_however_it_is_written(width, depth, rounding):
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
        scale(spec, width=width, depth=depth, rounding=rounding)
        for spec in (split, split.canonicalize())
    ]
    assert scaled[0].spec_id == scaled[1].spec_id


@pytest.mark.parametrize("factor", [1.0, 1.25])
def test_a_shortcut_that_was_left_out_to_no_effect_means_the_same_at_every_width(factor):
    unsimplified = ArchSpec((StageSpec(16, 1, skip=False), StageSpec(24, 2)))
    assert unsimplified.spec_id == unsimplified.canonicalize().spec_id
    deeper = {
        scale(spec, width=factor, depth=2.0).spec_id
        for spec in (unsimplified, unsimplified.canonicalize())
    }
    assert len(deeper) == 1


@given(st.floats(0.1, 4), st.sampled_from(["ceil", "round", "balanced"]))
def test_layers_written_apart_or_together_scale_to_one_network(factor, rounding):
    separate = ArchSpec(
        (StageSpec(16, 1, stride=2), StageSpec(16, 1), StageSpec(16, 2), StageSpec(24, 3))
    )
    merged = ArchSpec((StageSpec(16, 4, stride=2), StageSpec(24, 3)))
    assert (
        scale(separate, depth=factor, rounding=rounding).spec_id
        == scale(merged, depth=factor, rounding=rounding).spec_id
    )


def test_a_network_without_head_convolution_stays_without():
    assert scale(ArchSpec((StageSpec(16, 1),), head_width=0), width=2).head_width == 0


def test_layers_left_out_are_not_scaled_into_being():
    spec = ArchSpec((StageSpec(16, 2), StageSpec(16, 2, block="identity")))
    assert scale(spec, depth=2).depth == 4
