"""Tests that networks of timm learn."""

import pytest

from phinas.experiment.schema.config import Recipe
from phinas.space.builders.built_network import BuiltNetwork


@pytest.mark.slow
@pytest.mark.parametrize("name", ["convnext_atto", "vit_tiny_patch16_224"])
def test_network_learns_more_than_chance_in_one_epoch(timm, fit, data, name):
    network = BuiltNetwork.of_builder(f"timm:{name}", resolution=32).adapt(channels=1, classes=10)
    spec = network.with_factors(depth=0.5, width=0.7)
    trained = fit(data, spec=spec, recipe=Recipe(epochs=1, batch_size=16))
    assert trained.curve[-1].accuracy > 0.2  # chance is 0.1
