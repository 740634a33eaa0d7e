"""Tests that FLOPs by resolution and depth equal the closed form of each network."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phinas.space.cost_by_resolution import cost_by_resolution, flops_at
from phinas.space.presets import PRESETS, preset


@pytest.mark.parametrize("name", PRESETS)
def test_flops_by_resolution_equal_the_cost_of_every_published_network(name):
    spec = preset(name).canonicalize()
    flops_per_pixel = cost_by_resolution(spec).flops_per_pixel(
        [stage.depth for stage in spec.stages]
    )
    for resolution in (spec.total_stride, spec.total_stride + 1, 223, 224, 225, 257):
        assert (
            flops_at(flops_per_pixel, resolution)
            == replace(spec, resolution=resolution).cost().flops
        )


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_flops_are_exact_for_any_depths_and_resolution(data):
    spec = preset(
        data.draw(
            st.sampled_from(["efficientnet_b0", "resnet_50", "efficientnet_v2_b0", "mobilenet_v1"])
        )
    )
    depths = data.draw(st.tuples(*[st.integers(1, 9)] * len(spec.stages)))
    resolution = data.draw(st.integers(32, 400))
    stages = tuple(
        replace(stage, depth=depth) for stage, depth in zip(spec.stages, depths, strict=True)
    )
    exact = replace(spec, stages=stages, resolution=resolution).cost().flops
    assert flops_at(cost_by_resolution(spec).flops_per_pixel(depths), resolution) == exact
