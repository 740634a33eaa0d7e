"""Tests of the interface Network as implemented by ArchSpec."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from phinas.space.network import Network, ScalableNetwork, network_from_dict
from phinas.space.presets import preset
from phinas.space.spec import ArchSpec, SpecError, StageSpec

B0 = preset("efficientnet_b0")
SMALL = ArchSpec((StageSpec(8, 1), StageSpec(16, 2, stride=2)), stem_width=8, resolution=32)


def logits_shape(network: Network) -> tuple[int, ...]:
    images = torch.zeros(2, network.channels, network.resolution, network.resolution)
    with torch.no_grad():
        return tuple(network.build().eval()(images).shape)


def test_a_network_is_restored_from_plain_data():
    network: ScalableNetwork = network_from_dict(B0.to_dict())
    assert network == B0
    assert network_from_dict({"kind": "spec", **B0.to_dict()}) == B0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"kind": "spce", "stages": []}, "kind: 'spce' is not one of spec"),
        ({"resolution": 32}, "stages: missing"),
        (None, "spec: None is not a mapping"),
    ],
)
def test_data_that_describes_no_network_is_refused(data, message):
    with pytest.raises(SpecError, match=message):
        network_from_dict(data)


def test_an_adapted_network_has_the_new_images_and_classes():
    adapted = SMALL.adapt(channels=1, classes=7, resolution=40)
    assert adapted == replace(SMALL, channels=1, classes=7, resolution=40)
    assert logits_shape(adapted) == (2, 7)


def test_adapt_without_arguments_returns_an_equal_network():
    assert SMALL.adapt() == SMALL


def test_the_smallest_legal_resolution_is_min_resolution():
    smallest = SMALL.adapt(resolution=SMALL.min_resolution)
    assert logits_shape(smallest) == (2, 1000)
    with pytest.raises(SpecError, match="below the total stride"):
        SMALL.adapt(resolution=SMALL.min_resolution - 1)


def test_a_built_network_has_the_parameters_of_its_cost():
    params = sum(parameter.numel() for parameter in SMALL.build().parameters())
    assert params == SMALL.cost().params


def test_scaling_a_network_scales_its_cost():
    scaled = SMALL.scale(depth=2, width=2, resolution=1.5)
    assert (scaled.depth, scaled.resolution) == (6, 48)
    assert scaled.cost().flops > 5 * SMALL.cost().flops


def test_only_build_imports_torch():
    code = """
import sys
from phinas.space.network import network_from_dict
from phinas.space.spec import ArchSpec, StageSpec
network = network_from_dict(ArchSpec((StageSpec(8, 1),), resolution=32).to_dict())
network.adapt(classes=2).scale(width=1.5).cost()
network.network_id
before = "torch" in sys.modules
network.build()
print(before, "torch" in sys.modules)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["False", "True"]
