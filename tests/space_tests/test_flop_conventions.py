"""Tests that the closed form reproduces the counts of other tools, which are run here.

The counts of a tool depend on its version; the verified versions are in space/flop_conventions.py.
"""

import importlib.util
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from phinas.space.flop_conventions import CONVENTIONS, IMPLEMENTATIONS, TERMS, count_flops
from phinas.space.presets import preset
from phinas.space.spec import ArchSpec, StageSpec

COUNTERS = Path(__file__).resolve().parents[2] / "benchmarks" / "counters.py"
TOOLS = [name for name in CONVENTIONS if name != "phinas"]

# counts for EfficientNet-B0 at 224 px, as implemented by phinas, timm and torchvision
B0 = {
    "phinas": (385_814_752, 385_814_752, 385_814_752),
    "fvcore": (399_290_144, 399_352_864, 401_659_392),
    "ptflops": (405_458_400, 392_108_448, 410_196_896),
    "ptflops_aten": (385_825_092, 385_825_092, 385_825_092),
    "thop": (412_765_536, 385_878_752, 415_145_024),
    "torchinfo": (385_867_108, 385_825_092, 385_867_108),
    "calflops_macs": (385_814_752, 385_814_752, 385_814_752),
    "calflops": (791_272_152, 791_334_872, 793_641_400),
    "torch": (771_629_504, 771_629_504, 771_629_504),
}

# three small networks with all kinds of blocks and activations, both paddings and poolings
NETWORKS = {
    "symmetric": ArchSpec(
        stages=(
            StageSpec(12, 2, 3, 2, 4, 0.25),
            StageSpec(12, 2, 5, 1, 3, 0, activation="relu"),
            StageSpec(16, 1, 3, 1, 1, 0, block="identity"),
            StageSpec(16, 2, 3, 2, 2, 0.5, block="fused_mbconv", activation="hard_swish"),
        ),
        stem_width=8,
        resolution=37,
        classes=5,
    ),
    "same": ArchSpec(
        stages=(
            StageSpec(8, 2, 3, 2, 1, 0.25, block="bottleneck", activation="relu6"),
            StageSpec(10, 2, 5, 2, 1, 0, block="separable"),
            StageSpec(12, 2, 3, 1, 1.5, 0.25, activation="relu"),
        ),
        stem_width=6,
        stem_kernel=5,
        stem_pool=True,
        padding="same",
        resolution=41,
        channels=3,
        activation="relu6",
    ),
    "plain": ArchSpec(
        stages=(
            StageSpec(8, 2, 3, 1, block="conv"),
            StageSpec(16, 2, 3, 2, 4, 0, block="bottleneck"),
            StageSpec(16, 2, 3, 2, se=0.25, block="basic"),
        ),
        stem_width=4,
        stem_pool=True,
        head_width=0,
        resolution=34,
        activation="relu",
    ),
}


# implementation, library, name of the network there, name in phinas, padding; all at 64 px
_SLOW_LIBRARY_NETWORKS = [
    ("timm", "timm", "semnasnet_100", "mnasnet_a1", "symmetric"),
    ("timm", "timm", "resnet18", "resnet_18", "symmetric"),
    ("timm", "timm", "resnet50", "resnet_50", "symmetric"),
    ("timm", "timm", "tf_efficientnetv2_s", "efficientnet_v2_s", "same"),
    ("torchvision", "torchvision", "resnet50", "resnet_50", "symmetric"),
]
LIBRARY_NETWORKS = [
    ("timm", "timm", "tf_efficientnet_b0", "efficientnet_b0", "same"),
    ("torchvision", "torchvision", "efficientnet_b0", "efficientnet_b0", "symmetric"),
    ("functional", "torchvision", "mobilenet_v2", "mobilenet_v2", "symmetric"),
    *(pytest.param(*row, marks=pytest.mark.slow) for row in _SLOW_LIBRARY_NETWORKS),
]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Use one thread, since the counters are 30 times slower with two on a shared machine."""
    previous = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(previous)


@cache
def create_library_model(library: str, name: str) -> nn.Module:
    """Create a random network of a library that the fixture `timm` or `torchvision` imported."""
    if library == "timm":
        return sys.modules["timm"].create_model(name)
    return sys.modules["torchvision"].models.get_model(name, weights=None)


@cache
def load_counters() -> ModuleType:
    """Import benchmarks/counters.py, which is in no package."""
    spec = importlib.util.spec_from_file_location("counters", COUNTERS)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_counter(tool: str, model: nn.Module, resolution: int) -> int:
    """Count the FLOPs of a network with a tool; skip the test if the tool is not installed."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            counter = load_counters().COUNTERS[tool]()
        except ImportError as error:
            pytest.skip(f"{tool} is not installed: {error}")
        return counter(model.eval(), torch.zeros(1, 3, resolution, resolution))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("tool", TOOLS)
def test_closed_form_equals_the_count_of_a_tool_for_a_built_network(tool, name, torchvision):
    spec = NETWORKS[name]
    assert count_flops(spec)[tool] == run_counter(tool, spec.build(), spec.resolution)


@pytest.mark.parametrize(
    ("implementation", "library", "name", "preset_name", "padding"), LIBRARY_NETWORKS
)
@pytest.mark.parametrize("tool", TOOLS)
def test_closed_form_equals_the_count_of_a_tool_for_a_network_of_a_library(
    tool, implementation, library, name, preset_name, padding, timm
):
    spec = replace(preset(preset_name), padding=padding, resolution=64)
    assert count_flops(spec, implementation)[tool] == run_counter(
        tool, create_library_model(library, name), 64
    )


def test_counts_of_b0_by_tool_and_library():
    actual = [
        count_flops(preset("efficientnet_b0"), implementation)
        for implementation in ("phinas", "timm", "torchvision")
    ]
    assert {name: tuple(counts[name] for counts in actual) for name in CONVENTIONS} == B0


@pytest.mark.parametrize("name", NETWORKS)
def test_the_phinas_convention_is_the_cost(name):
    assert {
        count_flops(NETWORKS[name], implementation)["phinas"] for implementation in IMPLEMENTATIONS
    } == {NETWORKS[name].cost().flops}


def test_every_term_is_counted_by_some_tool():
    assert {term for convention in CONVENTIONS.values() for term in convention.coefficients} == set(
        TERMS
    )


def test_counters_of_the_benchmark_are_the_tools_of_the_conventions():
    assert set(load_counters().COUNTERS) == set(TOOLS)
