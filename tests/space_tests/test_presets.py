"""Published networks against what is printed of them, against fvcore and torch's counters, against
timm and torchvision.
"""

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

from phinas.space.blocks import build, conv_linear_flops
from phinas.space.cost import Cost, cost
from phinas.space.layers import lower
from phinas.space.presets import PRESETS, PUBLISHED, preset
from phinas.space.scaling import scale
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
    "resnet_50": "resnet50",
}
TORCHVISION = {
    **{f"efficientnet_b{number}": f"efficientnet_b{number}" for number in range(8)},
    **{f"efficientnet_v2_{size}": f"efficientnet_v2_{size}" for size in "sml"},
    "mnasnet_b1": "mnasnet1_0",
    "mobilenet_v2": "mobilenet_v2",
    "resnet_50": "resnet50",
}


def by_size(limit: float, *, most: float = 1e15) -> list[Any]:
    """The presets of up to `most` FLOPs, those above `limit` marked slow."""
    names = [name for name in PRESETS if GOLDEN[name]["flops"] <= most]
    return [
        pytest.param(name, marks=pytest.mark.slow) if GOLDEN[name]["flops"] > limit else name
        for name in names
    ]


@dataclass(frozen=True)
class Measured:
    """A network while one image passes: each convolution and linear layer in order with all that
    its cost depends on.
    """

    layers: list[tuple[Any, ...]]
    flops: int  # torch's own counter, two a multiply-add
    params: int
    activations: int


def measured(make: Callable[[], nn.Module], side: int) -> Measured:
    """What `make` makes, on torch's meta device: shapes without numbers."""
    layers: list[tuple[Any, ...]] = []

    def note(module: nn.Module, _inputs: object, output: Tensor) -> None:
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
                module.register_forward_hook(note)
        with FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, 3, side, side))
    params = sum(parameter.numel() for parameter in network.parameters())
    activations = sum(torch.Size(layer[-1]).numel() for layer in layers)
    return Measured(layers, counter.get_total_flops() // 2, params, activations)


@cache
def built(name: str) -> Measured:
    return measured(lambda: build(preset(name)), GOLDEN[name]["resolution"])


def test_golden_files_hold_every_published_network():
    assert set(GOLDEN) == set(PRESETS) == set(PUBLISHED) == set(TIMM)


@pytest.mark.parametrize("name", PRESETS)
def test_cost_of_a_published_network_equals_the_golden_numbers(name):
    row = GOLDEN[name]
    assert cost(preset(name)) == Cost(
        row["flops"], row["params"], row["activations"], row["peak_activations"]
    )


@pytest.mark.parametrize("name", PRESETS)
def test_published_network_has_the_published_widths_depth_and_resolution(name):
    spec, row = preset(name), GOLDEN[name]
    found = {
        "resolution": spec.resolution,
        "stem": spec.stem_width,
        "head": spec.head_width,
        "depth": spec.depth,
    }
    assert found == {key: row[key] for key in found}
    assert (spec.resolution, spec.dropout) == (PUBLISHED[name].resolution, PUBLISHED[name].dropout)


# --- what is printed ------------------------------------------------------------------------------------------------------


def printed(value: float, like: str) -> str:
    """`value` in the unit and with the digits of `like`."""
    unit = {"M": 1e6, "B": 1e9}[like[-1]]
    return f"{value / unit:.{len(like.partition('.')[2][:-1])}f}{like[-1]}"


def norm_params(spec: ArchSpec) -> int:
    """Trainable numbers of all batch norms: a weight and a bias for each channel. They keep as many
    statistics.
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


def with_operations(count: int) -> Callable[[ArchSpec], float]:
    """FLOPs and `count` more operations for each output element."""
    return lambda spec: cost(spec).flops + count * cost(spec).activations


# What the printed number that is not the exact one is instead, in its own digits.
EXPLAINED: dict[tuple[str, str], Callable[[ArchSpec], float]] = {
    ("efficientnet_b1", "flops"): with_operations(1),
    ("efficientnet_b2", "params"): lambda spec: cost(spec).params + norm_params(spec),
    ("efficientnet_b8", "flops"): with_operations(2),
    ("efficientnet_l2", "flops"): with_operations(2),
    ("efficientnet_v2_m", "flops"): with_operations(1),
    ("mobilenet_v2", "params"): lambda spec: cost(spec).params - norm_params(spec),
    ("mobilenet_v2", "flops"): lambda spec: cost(spec).flops // 10**6 * 10**6,
}
# Not matched: the least and the most that the printed number is of the exact one.
UNEXPLAINED = {
    ("efficientnet_b4", "flops"): (0.95, 0.97),
    ("efficientnet_b5", "flops"): (0.96, 0.97),
    ("efficientnet_b7", "flops"): (0.98, 0.99),
    ("efficientnet_v2_l", "flops"): (1.00, 1.01),
    ("efficientnet_v2_l", "params"): (1.00, 1.01),
    **{(f"efficientnet_lite{number}", "flops"): (1.03, 1.06) for number in range(5)},
}
NUMBERS = [(name, number) for name in PRESETS for number in ("params", "flops")]


@pytest.mark.parametrize(("name", "number"), NUMBERS)
def test_printed_number_is_the_golden_one_rounded_or_is_known_not_to_be(name, number):
    exact, text = GOLDEN[name][number], getattr(PUBLISHED[name], number)
    assert (printed(exact, text) == text) == ((name, number) not in EXPLAINED | UNEXPLAINED)


@pytest.mark.parametrize(("name", "number"), EXPLAINED)
def test_explanation_of_a_printed_number_gives_its_digits(name, number):
    text = getattr(PUBLISHED[name], number)
    assert printed(EXPLAINED[name, number](preset(name)), text) == text


@pytest.mark.parametrize(("name", "number"), UNEXPLAINED)
def test_unexplained_printed_number_is_near_the_exact_one(name, number):
    text = getattr(PUBLISHED[name], number)
    least, most = UNEXPLAINED[name, number]
    assert least < float(text[:-1]) * {"M": 1e6, "B": 1e9}[text[-1]] / GOLDEN[name][number] < most


@pytest.mark.parametrize("number", range(5))
def test_printed_flops_of_a_lite_hold_about_three_more_operations_an_element(number):
    name = f"efficientnet_lite{number}"
    text, row = PUBLISHED[name].flops, GOLDEN[name]
    more = float(text[:-1]) * {"M": 1e6, "B": 1e9}[text[-1]] - row["flops"]
    assert 2.9 < more / row["activations"] < 3.3


@pytest.mark.parametrize("name", PRESETS)
def test_a_row_names_its_source_and_remarks_on_what_differs(name):
    row = PUBLISHED[name]
    assert re.search(r"arXiv:\d{4}\.\d{5}|tensorflow/tpu", row.source)
    assert bool(row.remark) == any(
        (name, number) in EXPLAINED | UNEXPLAINED for number in ("params", "flops")
    )


# --- what other tools count -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", by_size(1e9))
def test_counters_on_the_built_network_give_the_golden_numbers(name):
    found, row = built(name), GOLDEN[name]
    assert (found.flops, found.params, found.activations) == (
        row["flops"],
        row["params"],
        row["activations"],
    )


@pytest.mark.parametrize("name", by_size(0.5e9, most=4e10))
def test_fvcore_counts_the_golden_flops_at_full_resolution(name):
    assert conv_linear_flops(preset(name)) == GOLDEN[name]["flops"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PRESETS if GOLDEN[name]["flops"] > 4e10])
def test_fvcore_counts_the_cost_of_the_largest_at_a_smaller_resolution(name):
    spec = replace(preset(name), resolution=97)
    assert conv_linear_flops(spec) == cost(spec).flops


@pytest.mark.parametrize("name", by_size(1e9))
def test_layers_are_those_of_timm_one_by_one(name, timm):
    assert built(name) == measured(
        lambda: timm.create_model(TIMM[name]), GOLDEN[name]["resolution"]
    )


@pytest.mark.parametrize(
    "name", [mark for mark in by_size(1e9) if getattr(mark, "values", (mark,))[0] in TORCHVISION]
)
def test_layers_are_those_of_torchvision_one_by_one(name, torchvision):
    assert built(name) == measured(
        getattr(torchvision.models, TORCHVISION[name]), GOLDEN[name]["resolution"]
    )


def parts(network: nn.Module, images: Tensor) -> tuple[list[nn.Module], Tensor]:
    """The modules that hold numbers in the order in which `images` meet them, and the logits."""
    met: list[nn.Module] = []
    hooks = [
        module.register_forward_pre_hook(lambda module, _inputs: met.append(module))
        for module in network.modules()
        if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d)
    ]
    with torch.no_grad():
        logits = network.eval()(images)
    for hook in hooks:
        hook.remove()
    return met, logits


def stirred(network: nn.Module) -> nn.Module:
    """`network` with statistics and scales of batch norm that do something."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.bias.data):
                tensor.normal_(std=0.1)
            for tensor in (module.running_var, module.weight.data):
                tensor.uniform_(0.7, 1.3)
    return network


ONE_OF_A_KIND = (
    "efficientnet_b0",
    "efficientnet_lite1",
    "efficientnet_v2_b3",
    *PRESETS[PRESETS.index("mnasnet_a1") :],
)


@pytest.mark.parametrize("name", ONE_OF_A_KIND)
def test_logits_are_those_of_timm_with_the_same_weights(name, timm: ModuleType):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        peer = stirred(timm.create_model(TIMM[name]))
        images = torch.randn(1, 3, 43, 43)
        padding = "same" if TIMM[name].startswith("tf_") else "symmetric"
        eps = next(module.eps for module in peer.modules() if isinstance(module, nn.BatchNorm2d))
        own = build(replace(preset(name), padding=padding, bn_eps=eps))
    theirs, expected = parts(peer, images)
    for mine, other in zip(parts(own, images)[0], theirs, strict=True):
        mine.load_state_dict(other.state_dict())
    assert expected.std() > 1e-3
    torch.testing.assert_close(
        parts(own, images)[1], expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item()
    )


# --- what a row means -----------------------------------------------------------------------------------------------------


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
def test_only_the_efficientnets_drop_paths(name):
    assert preset(name).drop_path == (0.2 if name.startswith("efficientnet") else 0)


def test_third_v2_base_is_narrower_than_the_official_rounding_of_version_one_makes_it():
    published, scaled = (
        preset("efficientnet_v2_b3"),
        scale(preset("efficientnet_v2_b0"), width=1.2, depth=1.4),
    )
    assert (
        (published.stem_width, published.head_width)
        == (scaled.stem_width, scaled.head_width)
        == (40, 1536)
    )
    pairs = [
        (mine.width, theirs.width)
        for mine, theirs in zip(published.stages, scaled.stages, strict=True)
    ]
    assert [index for index, (mine, theirs) in enumerate(pairs) if mine != theirs] == [0]
    assert pairs[0] == (16, 24)
    assert [stage.depth for stage in published.stages] == [stage.depth for stage in scaled.stages]


def test_lite_keeps_stem_head_and_the_depth_of_both_ends():
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


def test_squeeze_and_excitation_stands_where_mnasnet_a1_has_it():
    assert [stage.se for stage in preset("mnasnet_a1").stages] == [0, 0, 0.25, 0, 0.25, 0.25, 0]
    assert {stage.se for stage in preset("mnasnet_b1").stages} == {0}


def test_a_preset_is_made_once():
    assert preset("resnet_50") is preset("resnet_50")


@pytest.mark.parametrize(
    ("name", "near"),
    [("resnet50", "resnet_50"), ("mobilenetv2", "mobilenet_v2"), ("mnasnet_A1", "mnasnet_a1")],
)
def test_the_nearest_name_is_suggested(name, near):
    with pytest.raises(SpecError, match=f"did you mean '{near}'"):
        preset(name)
