"""Tests of timm's block strings: writing, parsing, errors."""

import subprocess
import sys
from contextlib import suppress
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from phinas.space.interchange.timm_reader import spec_from_blocks
from phinas.space.interchange.timm_strings import TIMM_DEFAULTS, to_block_strings, to_timm_arguments
from phinas.space.presets import PRESETS, preset
from phinas.space.spec import ACTIVATIONS, PADDINGS, ArchSpec, SpecError, StageSpec

B0 = [
    ["ds_r1_k3_s1_c16_se0.25"],
    ["ir_r2_k3_s2_e6_c24_se0.25"],
    ["ir_r2_k5_s2_e6_c40_se0.25"],
    ["ir_r3_k3_s2_e6_c80_se0.25"],
    ["ir_r3_k5_s1_e6_c112_se0.25"],
    ["ir_r4_k5_s2_e6_c192_se0.25"],
    ["ir_r1_k3_s1_e6_c320_se0.25"],
]
CONVERTIBLE = [name for name in PRESETS if not name.startswith("resnet")]

stages = st.builds(
    StageSpec,
    width=st.integers(1, 4).map(lambda eighth: 8 * eighth),
    depth=st.integers(1, 3),
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.sampled_from([1, 2]),
    expansion=st.sampled_from([1, 2, 3, 4, 6]),
    se=st.sampled_from([0, 0.03, 0.1, 0.25, 0.3, 1]),
    skip=st.booleans(),
    block=st.sampled_from(["mbconv", "mbconv", "fused_mbconv", "separable", "conv"]),
    activation=st.sampled_from(["", *ACTIVATIONS]),
).filter(lambda stage: stage.block != "fused_mbconv" or stage.expansion > 1 or not stage.se)
identities = st.just(StageSpec(8, 1, block="identity"))
specs = st.builds(
    ArchSpec,
    stages=st.tuples(st.lists(stages | identities, max_size=3), stages).map(
        lambda pair: (*pair[0], pair[1])
    ),
    stem_width=st.sampled_from([8, 16, 24]),
    stem_kernel=st.sampled_from([1, 3, 5]),
    head_width=st.sampled_from([0, 20]),
    resolution=st.integers(33, 40),
    padding=st.sampled_from(PADDINGS),
    channels=st.sampled_from([1, 3]),
    classes=st.integers(1, 9),
    activation=st.sampled_from(ACTIVATIONS),
    dropout=st.sampled_from([0, 0.3]),
    drop_path=st.sampled_from([0, 0.2]),
    bn_eps=st.sampled_from([1e-5, 1e-3]),
)


def build_with_timm(blocks, arguments):
    from timm.models._efficientnet_builder import decode_arch_def
    from timm.models.efficientnet import EfficientNet

    plain_arguments = {
        name: value for name, value in arguments.items() if not name.startswith("bn_")
    }
    return EfficientNet(
        decode_arch_def(blocks), round_chs_fn=lambda channels: channels, **plain_arguments
    ).eval()


def conv_linear_flops(model, spec):
    from fvcore.nn import FlopCountAnalysis

    analysis = FlopCountAnalysis(
        model, torch.zeros(1, spec.channels, spec.resolution, spec.resolution)
    )
    flops_by_operator = (
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).by_operator()
    )
    return flops_by_operator["conv"] + flops_by_operator["linear"]


def test_block_strings_of_b0_equal_those_of_timm():
    assert to_block_strings(preset("efficientnet_b0")) == B0


@pytest.mark.parametrize("name", CONVERTIBLE)
def test_a_published_network_round_trips_through_block_strings(name):
    spec = preset(name)
    restored = spec_from_blocks(
        to_block_strings(spec), to_timm_arguments(spec), resolution=spec.resolution
    )
    assert restored.network_id == spec.network_id
    assert to_block_strings(restored) == to_block_strings(spec)


@pytest.mark.parametrize("name", ["efficientnet_b0", "efficientnet_v2_b0"])
def test_timm_builds_a_published_network_at_the_same_cost(name, timm):
    spec = replace(preset(name), resolution=64)
    model = build_with_timm(to_block_strings(spec), to_timm_arguments(spec))
    assert sum(parameter.numel() for parameter in model.parameters()) == spec.cost().params
    assert conv_linear_flops(model, spec) == spec.cost().flops


@settings(max_examples=10, deadline=None)
@given(spec=specs)
def test_timm_builds_any_network_of_its_blocks_at_the_same_cost(spec, timm):
    model = build_with_timm(to_block_strings(spec), to_timm_arguments(spec))
    assert sum(parameter.numel() for parameter in model.parameters()) == spec.cost().params
    assert conv_linear_flops(model, spec) == spec.cost().flops


@settings(max_examples=100, deadline=None)
@given(specs)
def test_any_network_of_timms_blocks_round_trips_through_block_strings(spec):
    blocks, arguments = to_block_strings(spec), to_timm_arguments(spec)
    restored = spec_from_blocks(blocks, arguments, resolution=spec.resolution)
    assert restored.cost() == spec.cost()
    assert [
        stage for strings_of_stage in to_block_strings(restored) for stage in strings_of_stage
    ] == [stage for strings_of_stage in blocks for stage in strings_of_stage]
    assert to_timm_arguments(restored) == arguments


block_strings = st.builds(
    lambda kind, r, k, e, c, se, n: (
        f"{kind}_r{r}_k{k}_s1{f'_e{e:g}' if kind in ('ir', 'er') else ''}_c{c}"
        f"{se if kind not in ('dsa', 'cn') else ''}{n}"
    ),
    st.sampled_from(["ds", "ir", "er", "cn", "dsa"]),
    st.integers(1, 3),
    st.sampled_from([3, 5]),
    st.sampled_from([1.7, 2, 3, 4.5, 6]),
    st.integers(1, 30),
    st.sampled_from(["", "_se0.25", "_se0.33"]),
    st.sampled_from(["", "_noskip", "_nre", "_nsw"]),
)


@settings(max_examples=12, deadline=None)
@given(strings=st.lists(st.lists(block_strings, min_size=1, max_size=2), min_size=1, max_size=2))
def test_parsed_strings_have_the_cost_of_the_network_that_timm_builds_from_them(strings, timm):
    arguments = {"stem_size": 12, "num_features": 16, "num_classes": 3}
    with suppress(SpecError):  # no spec has some of the widths that timm rounds to
        spec = spec_from_blocks(strings, arguments, resolution=32)
        model = build_with_timm(strings, arguments)
        assert sum(parameter.numel() for parameter in model.parameters()) == spec.cost().params
        assert conv_linear_flops(model, spec) == spec.cost().flops


def test_each_string_of_a_list_is_a_stage():
    spec = spec_from_blocks([["ir_r1_k5_s2_e6_c40", "ir_r3_k3_s1_e3_c40"]])
    assert [(stage.depth, stage.kernel, stage.stride) for stage in spec.stages] == [
        (1, 5, 2),
        (3, 3, 1),
    ]


def test_a_ratio_that_timm_rounds_differently_is_replaced_by_an_equivalent_one():
    # squeeze widths of 2.4 and 3.6 channels are 2 and 3 in phinas
    spec = ArchSpec(stages=(StageSpec(24, 2, expansion=2, se=0.15),), stem_width=16)
    assert to_block_strings(spec) == [["ir_r1_k3_s1_e2_c24_se0.15", "ir_r1_k3_s1_e2_c24_se0.125"]]


def test_defaults_of_timm_are_not_written():
    assert to_timm_arguments(spec_from_blocks(B0)) == {}
    assert to_timm_arguments(spec_from_blocks(B0, TIMM_DEFAULTS)) == {}


def test_a_total_stride_above_32_sets_output_stride():
    spec = ArchSpec(stages=tuple(StageSpec(8, 1, stride=2) for _ in range(5)), resolution=64)
    assert to_timm_arguments(spec)["output_stride"] == 64
    with pytest.raises(SpecError, match=r"the total stride is 64; .* output_stride=64"):
        spec_from_blocks(to_block_strings(spec))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ir_r2_k3_s2_e6", "'c' is missing; a 'ir' needs it"),
        ("ir_r2_k3_s2_c24", "'e' is missing"),
        ("xx_r2_k3_s2_e6_c24", "does not begin with a known kind of block: ds, ir, er, cn, dsa"),
        ("", "does not begin with a known kind of block"),
        ("ir_r2_k3_s2_e6_c24_q7", "'q7' is not supported; supported are"),
        ("ir_r2_k3_s2_e6_c24_nmi", "'nmi' is not supported"),
        ("ir_r2_k3_s2_e6_c24_cc4", "'cc4' is not supported"),
        ("ir_r2_k3_s2_e6_c24_c32", "'c32' repeats a key"),
        ("ir_r2_k3_s2_e6_c24_skip", "'skip' is not supported"),
        ("ir_r2_k3.5_s2_e6_c24", "'k3.5' is not a whole number"),
        ("ir_r2_k4_s2_e6_c24", "kernel: 4 is even"),
        ("ir_r2_k3_s3_e6_c24", "stride: 3 is not a whole number from 1 to 2"),
        ("ir_r0_k3_s1_e6_c24", "depth: 0 is not"),
        ("ir_r2_k3_s2_e1_c24", "'e1' does not expand 32 channels"),
        ("ir_r2_k3_s2_e6_c24_se0.001", "'se0.001' squeezes 192 channels to 0"),
        ("ds_r1_k3_s1_e6_c24", "'e6' has no effect in a 'ds', which does not expand"),
        ("cn_r1_k3_s1_c24_se0.25", "'se0.25' has no effect in a 'cn'; leave it out"),
        ("ir_r2_k3_s2_e6_c24_fc24", "'fc24' has no effect in a 'ir'"),
    ],
)
def test_an_invalid_string_is_refused_with_its_token(text, message):
    with pytest.raises(SpecError) as error_info:
        spec_from_blocks([[text]])
    assert message in str(error_info.value)
    assert repr(text) in str(error_info.value)


def test_a_stride_that_timm_would_ignore_is_refused():
    with pytest.raises(SpecError, match="uses the stride of a list's first string only"):
        spec_from_blocks([["ds_r1_k3_s1_c16", "ir_r1_k3_s2_e6_c24"]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stem": 32}, "stem: is not a supported argument; supported are num_classes"),
        ({"pad_type": "valid"}, "pad_type: 'valid' is neither"),
        ({"act_layer": "mish"}, "activation: 'mish' is not one of"),
    ],
)
def test_an_argument_without_a_counterpart_is_refused(arguments, message):
    with pytest.raises(SpecError, match=message):
        spec_from_blocks(B0, arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stem_stride": 1}, "stem_stride"),
        ({"stem_pool": True}, "stem_pool"),
        (
            {"stages": (StageSpec(64, 1, block="bottleneck", expansion=4),)},
            "stage 1: block 'bottleneck' has no block string in timm",
        ),
        (
            {"stages": (StageSpec(16, 1, expansion=1.1),)},
            "stage 1: expansion 1.1 gives 35 hidden channels",
        ),
        ({"stages": (StageSpec(16, 1, block="fused_mbconv", expansion=1, se=0.5),)}, "set se to 0"),
    ],
)
def test_a_network_that_timms_blocks_cannot_describe_is_refused_with_the_reason(change, message):
    with pytest.raises(SpecError, match=message):
        to_block_strings(replace(preset("efficientnet_b0"), **change))


def test_reading_strings_imports_no_heavy_library():
    code = (
        "import sys, phinas.space.interchange.library_models; print({'torch', 'numpy', "
        "'timm', 'torchvision'} & set(sys.modules))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "set()"
    )
