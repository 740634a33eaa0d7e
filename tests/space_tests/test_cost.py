"""The closed-form cost against fvcore and against the network that is built. Published numbers:
test_presets.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from phinas.space.blocks import build, conv_linear_flops
from phinas.space.cost import ZERO_COST, network_cost, stage_costs
from phinas.space.layers import lower
from phinas.space.presets import preset
from phinas.space.spec import ACTIVATIONS, PADDINGS, ArchSpec, StageSpec

stages = st.builds(
    StageSpec,
    width=st.integers(1, 24),
    depth=st.integers(1, 3),
    kernel=st.sampled_from([1, 3, 5, 7]),
    stride=st.sampled_from([1, 2]),
    expansion=st.sampled_from([1, 1.04, 1.5, 2, 3.7, 6]),
    se=st.sampled_from([0, 0.03, 0.25, 0.5, 1]),
    skip=st.booleans(),
    block=st.sampled_from(["mbconv", "mbconv", "fused_mbconv", "bottleneck", "separable", "conv"]),
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
    """Output elements of every convolution and linear layer while one image passes."""
    network = build(spec).eval()
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
        return sum(parameter.numel() for parameter in build(spec).parameters())


@settings(max_examples=12, deadline=None)
@given(specs)
def test_cost_equals_what_is_measured_on_the_built_network(spec):
    spec_cost = network_cost(spec)
    assert spec_cost.flops == conv_linear_flops(spec)
    assert spec_cost.params == parameter_count(spec)
    assert spec_cost.activations == measured_activations(spec)


@settings(max_examples=50, deadline=None)
@given(specs)
def test_stage_costs_add_up_to_the_cost(spec):
    rows = stage_costs(spec)
    assert [row.name for row in rows] == ["stem", *map(str, range(1, len(spec.stages) + 1)), "head"]
    assert sum((row.cost for row in rows), ZERO_COST) == network_cost(spec)


def test_resolution_changes_flops_but_no_parameters():
    small, large = (
        preset("efficientnet_b0"),
        ArchSpec.from_dict(preset("efficientnet_b0").to_dict() | {"resolution": 448}),
    )
    assert network_cost(large).params == network_cost(small).params
    # the squeezes and the classifier do not grow
    assert 3.9 < network_cost(large).flops / network_cost(small).flops < 4.0


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


def test_shortcuts_stand_only_where_stride_is_one_and_widths_agree():
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
    network = build(spec).train()
    network(torch.randn(4, 3, 9, 9)).square().sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())


def test_dropped_path_leaves_an_image_as_it_came():
    spec = ArchSpec(
        stages=(StageSpec(4, 2, expansion=1),), stem_width=4, resolution=8, drop_path=0.95
    )
    block = build(spec).stages[0][1].train()
    block.drop_path = 1 - 1e-12
    images = torch.randn(3, 4, 4, 4)
    assert torch.equal(block(images), images)


def test_stochastic_depth_rises_from_zero_by_block_over_blocks():
    network = build(preset("efficientnet_b0"))
    rates = [block.drop_path for stage in network.stages for block in stage]
    assert rates == pytest.approx([0.2 * index / 16 for index in range(16)])


def test_batch_norm_has_the_published_constants():
    norms = [
        module
        for module in build(preset("efficientnet_b0")).modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.01)}
