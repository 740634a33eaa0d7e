"""Tests of the classifier of a network that starts from initial weights."""

from dataclasses import replace

import pytest
import torch

from phinas.space.search_spaces.loading import load_space
from phinas.training.engine.weights_io import save_weights
from phinas.training.weights.pretrained import read_pretrained

SPEC = load_space("tiny").adapt_to(channels=1, classes=10, resolution=8).base


def load_from(source, target, path):
    """A model of `source`, and one of `target` that starts from its weights."""
    torch.manual_seed(0)
    trained, model = source.build(), target.build()
    save_weights(trained, source, path, normalization=((0.5,), (0.5,)))
    read_pretrained(str(path)).load_into(model, target)
    return trained, model


@pytest.mark.parametrize("classes", [7, 10])
def test_the_backbone_is_loaded_whatever_the_number_of_classes(tmp_path, classes):
    target = replace(SPEC, classes=classes)
    trained, model = load_from(SPEC, target, tmp_path / "weights.safetensors")
    for name, tensor in trained.state_dict().items():
        if not name.startswith("classifier."):
            assert torch.equal(model.state_dict()[name], tensor), name


def test_a_classifier_of_the_same_classes_is_loaded(tmp_path):
    trained, model = load_from(SPEC, SPEC, tmp_path / "weights.safetensors")
    assert torch.equal(model.classifier.weight, trained.classifier.weight)


def test_a_classifier_of_other_classes_starts_at_zero(tmp_path):
    """Its first gradients do not reach the backbone."""
    _, model = load_from(SPEC, replace(SPEC, classes=7), tmp_path / "weights.safetensors")
    assert not model.classifier.weight.any()
    assert not model.classifier.bias.any()
    model(torch.rand(4, 1, 8, 8)).logsumexp(1).sum().backward()
    assert not any(
        parameter.grad.any()
        for name, parameter in model.named_parameters()
        if not name.startswith("classifier.")
    )
