"""Tests of the initialization of networks."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from phinas.experiment.schema.config import Recipe
from phinas.space.loading import load_spec
from phinas.space.pytorch.conv_net import ConvBlock, last_norm
from phinas.space.search_spaces.loading import load_space
from phinas.training.engine.initialization import (
    FROM_SCRATCH,
    Initialization,
    initialize_network,
    min_batch_norm_momentum,
    set_train_mode,
)

SPEC = load_space("tiny").adapt_to(channels=1, classes=10, resolution=8).base


@pytest.mark.parametrize("steps", [1, 5, 31, 300, 5000])
def test_batch_norm_statistics_are_of_the_last_fifth_of_the_steps(steps):
    remaining_weight = (1 - min_batch_norm_momentum(steps)) ** max(1.0, steps / 5)
    assert remaining_weight == pytest.approx(0.01)


def initialize(spec, recipe, *, steps=100):
    return initialize_network(spec, recipe, FROM_SCRATCH, device=torch.device("cpu"), steps=steps)


def momenta(spec, steps):
    model = initialize(spec, Recipe(), steps=steps)
    return {module.momentum for module in model.modules() if isinstance(module, nn.BatchNorm2d)}


def test_a_short_training_has_a_larger_batch_norm_momentum_than_the_network():
    published = replace(SPEC, bn_momentum=0.01)
    assert momenta(published, 5000) == {0.01}
    assert momenta(published, 31) == {min_batch_norm_momentum(31)}
    assert min_batch_norm_momentum(31) == pytest.approx(0.52, abs=0.01)


@pytest.mark.parametrize("preset", ["efficientnet_b0", "mobilenet_v2", "resnet_18", "resnet_50"])
def test_a_new_network_starts_with_residual_blocks_that_are_their_shortcuts(preset):
    spec = load_spec(preset)
    spec = spec.adapt(resolution=spec.min_resolution)
    model = initialize(spec, Recipe()).eval()
    blocks = [block for block in model.modules() if isinstance(block, ConvBlock)]
    residual = [block for block in blocks if block.has_shortcut]
    assert residual
    for block in residual:
        images = torch.randn(2, *block_input(block), 8, 8)
        assert torch.equal(block(images), block.activation(block.shortcut(images)))
    assert all(last_norm(block).weight.all() for block in blocks if not block.has_shortcut)


def block_input(block):
    first = next(module for module in block.modules() if isinstance(module, nn.Conv2d))
    return (first.in_channels,)


@pytest.mark.parametrize(
    ("classes", "head_width", "bound"),
    [(10, 1280, 20 / 1280), (40, 640, 20 / 640), (10, 64, 10**-0.5), (1000, 128, 1000**-0.5)],
)
def test_a_new_classifier_is_small_for_many_inputs_or_classes(classes, head_width, bound):
    spec = replace(SPEC, head_width=head_width).adapt(classes=classes)
    largest = initialize(spec, Recipe()).classifier.weight.abs().max().item()
    assert largest == pytest.approx(bound, rel=0.02)


def test_initial_weights_replace_those_of_a_new_network():
    trained = SPEC.build()

    def load(module):
        module.load_state_dict(trained.state_dict())

    model = initialize_network(
        SPEC, Recipe(), Initialization(load), device=torch.device("cpu"), steps=100
    )
    for name, tensor in trained.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


def probabilities(model):
    """Of dropout and of stochastic depth."""
    drop_paths = [block.drop_path for block in model.modules() if isinstance(block, ConvBlock)]
    return [model.dropout.p, *drop_paths]


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0])
def test_the_regularization_multiplies_dropout_and_stochastic_depth(factor):
    network = replace(SPEC, dropout=0.4, drop_path=0.2)
    expected = probabilities(replace(SPEC, dropout=0.4 * factor, drop_path=0.2 * factor).build())
    model = initialize(network, Recipe(regularization=factor))
    assert probabilities(model) == pytest.approx(expected)


def test_by_default_short_trainings_have_no_regularization_and_long_ones_that_of_the_network():
    network = replace(SPEC, dropout=0.4, drop_path=0.2)
    assert not any(probabilities(initialize(network, Recipe(epochs=10))))
    long_training = initialize(network, Recipe(epochs=350))
    assert probabilities(long_training) == probabilities(network.build())


@pytest.mark.parametrize("freeze_backbone", [False, True])
def test_frozen_batch_norm_is_in_evaluation_mode_and_all_else_in_training_mode(freeze_backbone):
    model = SPEC.build()
    initialization = Initialization(freeze_backbone=freeze_backbone)
    set_train_mode(model, Recipe(freeze_batch_norm=True), initialization)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training for norm in norms)
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert {module.training for module in convolutions} == {not freeze_backbone}
    assert model.classifier.training
    assert model.dropout.training


def test_the_scores_of_a_short_training_do_not_depend_on_the_networks_batch_norm_momentum(
    data, fit
):
    recipe = Recipe(epochs=2, batch_size=50)
    low, high = (
        fit(data, spec=replace(SPEC, bn_momentum=momentum), recipe=recipe)
        for momentum in (0.01, 0.1)
    )
    assert low.curve == high.curve
