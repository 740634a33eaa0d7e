"""One walk for every side and depth, against the closed form of each network."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phinas.space.cost import network_cost
from phinas.space.cost_by_resolution import cost_by_resolution, flops_at
from phinas.space.presets import PRESETS, preset


@pytest.mark.parametrize("name", PRESETS)
def test_the_flops_of_every_published_network_at_any_side_are_those_of_the_closed_form(name):
    spec = preset(name).canonicalize()
    flops_per_pixel = cost_by_resolution(spec).flops_per_pixel(
        [stage.depth for stage in spec.stages]
    )
    for resolution in (spec.total_stride, spec.total_stride + 1, 223, 224, 225, 257):
        assert (
            flops_at(flops_per_pixel, resolution)
            == network_cost(replace(spec, resolution=resolution)).flops
        )


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_depths_enter_linearly(data):
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
    exact = network_cost(replace(spec, stages=stages, resolution=resolution)).flops
    assert flops_at(cost_by_resolution(spec).flops_per_pixel(depths), resolution) == exact
