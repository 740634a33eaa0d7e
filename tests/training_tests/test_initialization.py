"""Tests of the initialization of networks."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from phinas.experiment.schema.config import Recipe
from phinas.space.search_spaces.loading import load_space
from phinas.training.engine.initialization import (
    FROM_SCRATCH,
    initialize_network,
    min_batch_norm_momentum,
)

SPEC = load_space("tiny").adapt_to(channels=1, classes=10, resolution=8).base


@pytest.mark.parametrize("steps", [1, 5, 31, 300, 5000])
def test_batch_norm_statistics_are_of_the_last_fifth_of_the_steps(steps):
    remaining_weight = (1 - min_batch_norm_momentum(steps)) ** max(1.0, steps / 5)
    assert remaining_weight == pytest.approx(0.01)


def momenta(spec, steps):
    model = initialize_network(spec, FROM_SCRATCH, device=torch.device("cpu"), steps=steps)
    return {module.momentum for module in model.modules() if isinstance(module, nn.BatchNorm2d)}


def test_a_short_training_has_a_larger_batch_norm_momentum_than_the_network():
    published = replace(SPEC, bn_momentum=0.01)
    assert momenta(published, 5000) == {0.01}
    assert momenta(published, 31) == {min_batch_norm_momentum(31)}
    assert min_batch_norm_momentum(31) == pytest.approx(0.52, abs=0.01)


def test_the_scores_of_a_short_training_do_not_depend_on_the_networks_batch_norm_momentum(
    data, fit
):
    recipe = Recipe(epochs=2, batch_size=50)
    low, high = (
        fit(data, spec=replace(SPEC, bn_momentum=momentum), recipe=recipe)
        for momentum in (0.01, 0.1)
    )
    assert low.curve == high.curve
