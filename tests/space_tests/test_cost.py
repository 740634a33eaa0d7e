"""Tests of the closed-form cost, compared with fvcore and with the built network.

Published numbers are in test_presets.py.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from phinas.space.cost import ZERO_COST, stage_costs
from phinas.space.layers import lower
from phinas.space.presets import preset
from phinas.space.pytorch.conv_net import conv_linear_flops
from phinas.space.spec import ACTIVATIONS, BLOCKS, PADDINGS, ArchSpec, StageSpec

stages = st.builds(
    StageSpec,
    width=st.integers(1, 24),
    depth=st.integers(1, 3),
    kernel=st.sampled_from([1, 3, 5, 7]),
    stride=st.sampled_from([1, 2]),
    expansion=st.sampled_from([1, 1.04, 1.5, 2, 3.7, 6]),
    se=st.sampled_from([0, 0.03, 0.25, 0.5, 1]),
    skip=st.booleans(),
    block=st.sampled_from(["mbconv", *(kind for kind in BLOCKS if kind != "identity")]),
    activation=st.sampled_from(["", *ACTIVATIONS]),
)
identities = st.builds(
    StageSpec, width=st.integers(1, 24), depth=st.integers(1, 3), block=st.just("identity")
)
specs = st.builds(
    ArchSpec,
    stages=st.tuples(st.lists(stages | identities, max_size=2), stages).map(
        lambda pair: (*pair[0], pair[1])
    ),
    stem_width=st.integers(1, 16),
    stem_stride=st.sampled_from([1, 2]),
    stem_kernel=st.sampled_from([1, 3, 5]),
    head_width=st.integers(0, 32),
    resolution=st.integers(32, 45),
    stem_pool=st.booleans(),
    padding=st.sampled_from(PADDINGS),
    channels=st.sampled_from([1, 3, 4]),
    classes=st.integers(1, 12),
    activation=st.sampled_from(ACTIVATIONS),
    drop_path=st.sampled_from([0, 0.2]),
)


def measured_activations(spec: ArchSpec) -> int:
    """Count the output elements of all convolutions and linear layers for one image."""
    network = spec.build().eval()
    element_counts: list[int] = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(
                lambda _module, _inputs, output: element_counts.append(output.numel())
            )
    with torch.no_grad():
        network(torch.zeros(1, spec.channels, spec.resolution, spec.resolution))
    return sum(element_counts)


def parameter_count(spec: ArchSpec) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in spec.build().parameters())


@settings(max_examples=12, deadline=None)
@given(specs)
def test_cost_equals_the_counts_of_the_built_network(spec):
    spec_cost = spec.cost()
    assert spec_cost.flops == conv_linear_flops(spec)
    assert spec_cost.params == parameter_count(spec)
    assert spec_cost.activations == measured_activations(spec)


@settings(max_examples=50, deadline=None)
@given(specs)
def test_stage_costs_add_up_to_the_cost(spec):
    rows = stage_costs(spec)
    assert [row.name for row in rows] == ["stem", *map(str, range(1, len(spec.stages) + 1)), "head"]
    assert sum((row.cost for row in rows), ZERO_COST) == spec.cost()


def test_resolution_changes_flops_but_no_parameters():
    small, large = (
        preset("efficientnet_b0"),
        ArchSpec.from_dict(preset("efficientnet_b0").to_dict() | {"resolution": 448}),
    )
    assert large.cost().params == small.cost().params
    # the cost of squeeze-and-excitation and of the classifier does not depend on the resolution
    assert 3.9 < large.cost().flops / small.cost().flops < 4.0


def test_squeeze_width_follows_the_input_width_of_the_block():
    network = lower(preset("efficientnet_b0"))
    squeeze_widths = [
        conv.out_width
        for stage in network.stages
        for block in stage
        for conv in block.convs
        if conv.name == "squeeze"
    ]
    assert squeeze_widths == [8, 4, 6, 6, 10, 10, 20, 20, 20, 28, 28, 28, 48, 48, 48, 48]


def test_expansion_of_one_has_no_expanding_convolution():
    network = lower(preset("efficientnet_b0"))
    assert [conv.name for conv in network.stages[0][0].convs] == [
        "depthwise",
        "squeeze",
        "excite",
        "project",
    ]


def test_shortcuts_exist_only_if_the_stride_is_one_and_widths_are_equal():
    network = lower(preset("efficientnet_b0"))
    assert [[block.shortcut for block in stage] for stage in network.stages] == [
        [False],
        [False, True],
        [False, True],
        [False, True, True],
        [False, True, True],
        [False, True, True, True],
        [False],
    ]


def test_a_network_trains_through_every_kind_of_block():
    spec = ArchSpec(
        stages=(StageSpec(8, 2, expansion=1), StageSpec(8, 2, stride=2)),
        stem_width=8,
        resolution=9,
        classes=3,
    )
    network = spec.build().train()
    network(torch.randn(4, 3, 9, 9)).square().sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())


def test_a_dropped_block_returns_its_input():
    spec = ArchSpec(
        stages=(StageSpec(4, 2, expansion=1),), stem_width=4, resolution=8, drop_path=0.95
    )
    block = spec.build().stages[0][1].train()
    block.drop_path = 1 - 1e-12
    images = torch.randn(3, 4, 4, 4)
    assert torch.equal(block(images), images)


def test_stochastic_depth_rises_from_zero_by_block_over_blocks():
    network = preset("efficientnet_b0").build()
    rates = [block.drop_path for stage in network.stages for block in stage]
    assert rates == pytest.approx([0.2 * index / 16 for index in range(16)])


def test_batch_norm_has_the_published_constants():
    norms = [
        module
        for module in preset("efficientnet_b0").build().modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.01)}
