"""Tests of presets, compared with printed numbers, fvcore, torch, timm and torchvision."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from phinas.space.cost import Cost
from phinas.space.layers import lower
from phinas.space.presets import PRESETS, PUBLISHED_NETWORKS, preset
from phinas.space.pytorch.conv_net import conv_linear_flops
from phinas.space.spec import ArchSpec, SpecError
from phinas.space.yaml_io import read_yaml

FILES = ("efficientnet", "efficientnet_lite", "efficientnet_v2", "mobile_and_resnet")
FOLDER = Path(__file__).parent.parent / "golden"
GOLDEN: dict[str, Any] = {}
for _file in FILES:
    GOLDEN |= read_yaml(FOLDER / f"{_file}.yaml")["members"]

TIMM = {
    **{name: f"tf_{name}" for name in PRESETS if name.startswith("efficientnet_")},
    **{
        name: f"tf_{name.replace('_v2', 'v2')}"
        for name in PRESETS
        if name.startswith("efficientnet_v2")
    },
    "mnasnet_a1": "semnasnet_100",
    "mnasnet_b1": "mnasnet_100",
    "mnasnet_small": "mnasnet_small",
    "mobilenet_v1": "mobilenetv1_100",
    "mobilenet_v2": "mobilenetv2_100",
    **{f"resnet_{depth}": f"resnet{depth}" for depth in (18, 34, 50)},
}
TORCHVISION = {
    **{f"efficientnet_b{number}": f"efficientnet_b{number}" for number in range(8)},
    **{f"efficientnet_v2_{size}": f"efficientnet_v2_{size}" for size in "sml"},
    "mnasnet_b1": "mnasnet1_0",
    "mobilenet_v2": "mobilenet_v2",
    **{f"resnet_{depth}": f"resnet{depth}" for depth in (18, 34, 50)},
}


def representatives(*slow_names: str) -> list[Any]:
    """Return a preset of each kind, and `slow_names`, which are marked slow.

    Another test compares the closed-form cost of every preset with the golden numbers, so it is not
    necessary to build all of them.
    """
    return [
        "efficientnet_b0",
        "efficientnet_b3",
        "efficientnet_lite1",
        "efficientnet_v2_b3",
        *PRESETS[PRESETS.index("mnasnet_a1") :],
        *(pytest.param(name, marks=pytest.mark.slow) for name in slow_names),
    ]


# presets whose stages are listed in the published code, and not scaled from another preset
LARGE_PRESETS = ("efficientnet_v2_s", "efficientnet_v2_m", "efficientnet_v2_l")


@dataclass(frozen=True)
class MeasuredReference:
    """Measured cost of a network, and its convolutions and linear layers in their order.

    A layer has all sizes that its cost depends on.
    """

    layers: list[tuple[Any, ...]]
    flops: int  # multiply-adds by torch's counter
    params: int
    activations: int


def trace_network(make: Callable[[], nn.Module], resolution: int) -> MeasuredReference:
    """Measure the network that `make` returns, on torch's meta device."""
    layers: list[tuple[Any, ...]] = []

    def record(module: nn.Module, _inputs: object, output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            shape = (
                module.in_channels,
                module.out_channels,
                module.kernel_size,
                module.stride,
                module.groups,
            )
            layers.append((*shape, module.bias is not None, tuple(output.shape)))
        else:
            layers.append(("linear", *module.weight.shape, tuple(output.shape)))

    with torch.device("meta"), torch.no_grad():
        network = make().eval()
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.register_forward_hook(record)
        with FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, 3, resolution, resolution))
    params = sum(parameter.numel() for parameter in network.parameters())
    activations = sum(torch.Size(layer[-1]).numel() for layer in layers)
    return MeasuredReference(layers, counter.get_total_flops() // 2, params, activations)


@cache
def trace_preset(name: str) -> MeasuredReference:
    return trace_network(lambda: preset(name).build(), GOLDEN[name]["resolution"])


def test_golden_files_hold_every_published_network():
    assert set(GOLDEN) == set(PRESETS) == set(PUBLISHED_NETWORKS) == set(TIMM)


@pytest.mark.parametrize("name", PRESETS)
def test_cost_of_a_published_network_equals_the_golden_numbers(name):
    row = GOLDEN[name]
    assert preset(name).cost() == Cost(
        row["flops"], row["params"], row["activations"], row["peak_activations"]
    )


@pytest.mark.parametrize("name", PRESETS)
def test_published_network_has_the_published_widths_depth_and_resolution(name):
    spec, row = preset(name), GOLDEN[name]
    actual = {
        "resolution": spec.resolution,
        "stem": spec.stem_width,
        "head": spec.head_width,
        "depth": spec.depth,
    }
    assert actual == {key: row[key] for key in actual}
    assert (spec.resolution, spec.dropout) == (
        PUBLISHED_NETWORKS[name].resolution,
        PUBLISHED_NETWORKS[name].dropout,
    )


# --- printed numbers ----------------------------------------------------------------------------


def format_like(value: float, like: str) -> str:
    """Format `value` in the unit and with the digits of `like`."""
    unit = {"M": 1e6, "B": 1e9}[like[-1]]
    return f"{value / unit:.{len(like.partition('.')[2][:-1])}f}{like[-1]}"


def norm_params(spec: ArchSpec) -> int:
    """Count the parameters of all batch norms: a weight and a bias for each channel. The number of
    running statistics is the same.
    """
    network = lower(spec)
    blocks = [block for stage in network.stages for block in stage]
    convs = [
        network.stem,
        network.head,
        *(block.projection for block in blocks),
        *(c for block in blocks for c in block.convs),
    ]
    return sum(2 * conv.out_width for conv in convs if conv and conv.norm)


def flops_with_operations(count: int) -> Callable[[ArchSpec], float]:
    """Return a function for the FLOPs plus `count` operations for each output element."""
    return lambda spec: spec.cost().flops + count * spec.cost().activations


# printed numbers that differ from the exact ones, with a formula that reproduces their digits
EXPLAINED_DIFFERENCES: dict[tuple[str, str], Callable[[ArchSpec], float]] = {
    ("efficientnet_b1", "flops"): flops_with_operations(1),
    ("efficientnet_b2", "params"): lambda spec: spec.cost().params + norm_params(spec),
    ("efficientnet_b8", "flops"): flops_with_operations(2),
    ("efficientnet_l2", "flops"): flops_with_operations(2),
    ("efficientnet_v2_m", "flops"): flops_with_operations(1),
    ("mobilenet_v2", "params"): lambda spec: spec.cost().params - norm_params(spec),
    ("mobilenet_v2", "flops"): lambda spec: spec.cost().flops // 10**6 * 10**6,
}
# unexplained differences: range of the ratio of the printed number to the exact one
UNEXPLAINED_RATIOS = {
    ("efficientnet_b4", "flops"): (0.95, 0.97),
    ("efficientnet_b5", "flops"): (0.96, 0.97),
    ("efficientnet_b7", "flops"): (0.98, 0.99),
    ("efficientnet_v2_l", "flops"): (1.00, 1.01),
    ("efficientnet_v2_l", "params"): (1.00, 1.01),
    **{(f"efficientnet_lite{number}", "flops"): (1.03, 1.06) for number in range(5)},
}
NUMBERS = [(name, number) for name in PRESETS for number in ("params", "flops")]


@pytest.mark.parametrize(("name", "number"), NUMBERS)
def test_a_printed_number_is_the_exact_one_rounded_or_listed_as_different(name, number):
    exact, text = GOLDEN[name][number], getattr(PUBLISHED_NETWORKS[name], number)
    assert (format_like(exact, text) == text) == (
        (name, number) not in EXPLAINED_DIFFERENCES | UNEXPLAINED_RATIOS
    )


@pytest.mark.parametrize(("name", "number"), EXPLAINED_DIFFERENCES)
def test_explanation_of_a_printed_number_gives_its_digits(name, number):
    text = getattr(PUBLISHED_NETWORKS[name], number)
    assert format_like(EXPLAINED_DIFFERENCES[name, number](preset(name)), text) == text


@pytest.mark.parametrize(("name", "number"), UNEXPLAINED_RATIOS)
def test_unexplained_printed_number_is_near_the_exact_one(name, number):
    text = getattr(PUBLISHED_NETWORKS[name], number)
    min_ratio, max_ratio = UNEXPLAINED_RATIOS[name, number]
    assert (
        min_ratio
        < float(text[:-1]) * {"M": 1e6, "B": 1e9}[text[-1]] / GOLDEN[name][number]
        < max_ratio
    )


@pytest.mark.parametrize("number", range(5))
def test_printed_flops_of_efficientnet_lite_include_about_three_more_operations_per_element(number):
    name = f"efficientnet_lite{number}"
    text, row = PUBLISHED_NETWORKS[name].flops, GOLDEN[name]
    extra_operations = float(text[:-1]) * {"M": 1e6, "B": 1e9}[text[-1]] - row["flops"]
    assert 2.9 < extra_operations / row["activations"] < 3.3


@pytest.mark.parametrize("name", PRESETS)
def test_a_row_names_its_source_and_explains_differences(name):
    row = PUBLISHED_NETWORKS[name]
    assert re.search(r"arXiv:\d{4}\.\d{5}|tensorflow/tpu", row.source)
    assert bool(row.note) == any(
        (name, number) in EXPLAINED_DIFFERENCES | UNEXPLAINED_RATIOS
        for number in ("params", "flops")
    )


# --- counts of other tools ---------------------------------------------------------------------


@pytest.mark.parametrize("name", representatives("efficientnet_v2_s", "efficientnet_l2"))
def test_counters_on_the_built_network_give_the_golden_numbers(name):
    actual, row = trace_preset(name), GOLDEN[name]
    assert (actual.flops, actual.params, actual.activations) == (
        row["flops"],
        row["params"],
        row["activations"],
    )


@pytest.mark.parametrize("name", representatives("efficientnet_v2_s"))
def test_fvcore_counts_the_golden_flops_at_full_resolution(name):
    assert conv_linear_flops(preset(name)) == GOLDEN[name]["flops"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["efficientnet_v2_l"])
def test_fvcore_counts_the_cost_of_the_largest_preset_at_a_smaller_resolution(name):
    spec = replace(preset(name), resolution=97)
    assert conv_linear_flops(spec) == spec.cost().flops


@pytest.mark.parametrize("name", representatives(*LARGE_PRESETS, "efficientnet_l2"))
def test_layers_are_those_of_timm_one_by_one(name, timm):
    assert trace_preset(name) == trace_network(
        lambda: timm.create_model(TIMM[name]), GOLDEN[name]["resolution"]
    )


@pytest.mark.parametrize(
    "name",
    [
        param
        for param in representatives("efficientnet_v2_s")
        if getattr(param, "values", (param,))[0] in TORCHVISION
    ],
)
def test_layers_are_those_of_torchvision_one_by_one(name, torchvision):
    assert trace_preset(name) == trace_network(
        getattr(torchvision.models, TORCHVISION[name]), GOLDEN[name]["resolution"]
    )


def run_network(network: nn.Module, images: Tensor) -> tuple[list[nn.Module], Tensor]:
    """Return the modules with parameters in the order of the forward pass, and the logits."""
    modules: list[nn.Module] = []
    hooks = [
        module.register_forward_pre_hook(lambda module, _inputs: modules.append(module))
        for module in network.modules()
        if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d)
    ]
    with torch.no_grad():
        logits = network.eval()(images)
    for hook in hooks:
        hook.remove()
    return modules, logits


def randomize_norms(network: nn.Module) -> nn.Module:
    """Set random parameters and statistics in all batch norms."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.bias.data):
                tensor.normal_(std=0.1)
            for tensor in (module.running_var, module.weight.data):
                tensor.uniform_(0.7, 1.3)
    return network


@pytest.mark.parametrize("name", [name for name in representatives() if name != "efficientnet_b3"])
def test_logits_are_those_of_timm_with_the_same_weights(name, timm: ModuleType):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        timm_model = randomize_norms(timm.create_model(TIMM[name]))
        images = torch.randn(1, 3, 43, 43)
        padding = "same" if TIMM[name].startswith("tf_") else "symmetric"
        eps = next(
            module.eps for module in timm_model.modules() if isinstance(module, nn.BatchNorm2d)
        )
        model = replace(preset(name), padding=padding, bn_eps=eps).build()
    timm_modules, expected = run_network(timm_model, images)
    for module, timm_module in zip(run_network(model, images)[0], timm_modules, strict=True):
        module.load_state_dict(timm_module.state_dict())
    assert expected.std() > 1e-3
    torch.testing.assert_close(
        run_network(model, images)[1], expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item()
    )


# --- fields of the rows ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "constants"),
    [
        ("efficientnet_b", (1e-3, 0.01)),
        ("efficientnet_l", (1e-3, 0.01)),
        ("efficientnet_v2", (1e-3, 0.1)),
        ("mnasnet", (1e-3, 0.01)),
        ("mobilenet", (1e-5, 0.1)),
        ("resnet", (1e-5, 0.1)),
    ],
)
def test_batch_norm_has_the_constants_of_the_published_code(prefix, constants):
    assert {
        (s.bn_eps, s.bn_momentum)
        for name in PRESETS
        if name.startswith(prefix)
        for s in [preset(name)]
    } == {constants}


@pytest.mark.parametrize("name", PRESETS)
def test_only_efficientnets_have_stochastic_depth(name):
    assert preset(name).drop_path == (0.2 if name.startswith("efficientnet") else 0)


def test_first_stage_of_v2_b3_is_narrower_than_with_the_rounding_of_version_one():
    published, scaled = (
        preset("efficientnet_v2_b3"),
        preset("efficientnet_v2_b0").scale(width=1.2, depth=1.4),
    )
    assert (
        (published.stem_width, published.head_width)
        == (scaled.stem_width, scaled.head_width)
        == (40, 1536)
    )
    width_pairs = [
        (published_stage.width, scaled_stage.width)
        for published_stage, scaled_stage in zip(published.stages, scaled.stages, strict=True)
    ]
    assert [
        index
        for index, (published_stage, scaled_stage) in enumerate(width_pairs)
        if published_stage != scaled_stage
    ] == [0]
    assert width_pairs[0] == (16, 24)
    assert [stage.depth for stage in published.stages] == [stage.depth for stage in scaled.stages]


def test_lite_does_not_scale_stem_head_and_the_depth_of_first_and_last_stage():
    for number in range(5):
        spec = preset(f"efficientnet_lite{number}")
        assert (spec.stem_width, spec.head_width, spec.stages[0].depth, spec.stages[-1].depth) == (
            32,
            1280,
            1,
            1,
        )
        assert {stage.se for stage in spec.stages} == {0}
    assert (spec.stages[0].width, spec.stages[-1].width, spec.stages[5].depth) == (24, 448, 8)


def test_mnasnet_a1_has_squeeze_and_excitation_in_the_published_stages():
    assert [stage.se for stage in preset("mnasnet_a1").stages] == [0, 0, 0.25, 0, 0.25, 0.25, 0]
    assert {stage.se for stage in preset("mnasnet_b1").stages} == {0}


def test_a_preset_is_cached():
    assert preset("resnet_50") is preset("resnet_50")


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [("resnet50", "resnet_50"), ("mobilenetv2", "mobilenet_v2"), ("mnasnet_A1", "mnasnet_a1")],
)
def test_the_nearest_name_is_suggested(name, suggestion):
    with pytest.raises(SpecError, match=f"did you mean '{suggestion}'"):
        preset(name)
