"""Tests that PyTorch's transforms of modules work on a network in eval mode."""

from dataclasses import replace

import pytest
import torch
from torch.func import functional_call, grad, jvp, vmap

from phinas.space.loading import load_spec

# without and with squeeze-and-excitation, and with TensorFlow's padding
NETWORKS = ("mobilenet_v2", "efficientnet_b0", "timm:tf_efficientnet_b0")


@pytest.fixture(params=NETWORKS)
def network(request):
    """The first two stages of a network, which have all its kinds of layers."""
    torch.manual_seed(0)
    spec = load_spec(request.param)
    return replace(spec, stages=spec.stages[:2], resolution=32, classes=5).build().eval()


@pytest.fixture
def images():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def assert_same_outputs(transformed, network, images):
    with torch.no_grad():
        torch.testing.assert_close(transformed(images), network(images), atol=1e-5, rtol=1e-4)


def test_torch_func_computes_the_gradients_of_each_image(network, images):
    def total(parameters, image):
        return functional_call(network, parameters, (image[None],)).sum()

    parameters = dict(network.named_parameters())
    gradients = vmap(grad(total), in_dims=(None, 0))(parameters, images)
    network(images).sum().backward()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(gradients[name].sum(0), parameter.grad, atol=1e-3, rtol=1e-3)


def test_symbolic_trace_gives_the_same_outputs(network, images):
    assert_same_outputs(torch.fx.symbolic_trace(network), network, images)


def test_export_gives_the_same_outputs(network, images):
    assert_same_outputs(torch.export.export(network, (images,)).module(), network, images)


def test_jit_trace_gives_the_same_outputs(network, images):
    assert_same_outputs(torch.jit.trace(network, images), network, images)


def test_jit_script_gives_the_same_outputs(network, images):
    assert_same_outputs(torch.jit.script(network), network, images)


def test_a_scripted_network_has_the_same_state_dict_and_trains(network, images):
    scripted = torch.jit.script(network)
    assert scripted.state_dict().keys() == network.state_dict().keys()
    scripted.train()
    scripted(images).sum().backward()
    assert all(parameter.grad is not None for parameter in scripted.parameters())


def test_forward_mode_differentiation_gives_the_directional_derivative(network, images):
    direction = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    outputs, derivative = jvp(network, (images,), (direction,))
    images = images.requires_grad_()
    network(images).sum().backward()
    torch.testing.assert_close(outputs, network(images))
    expected = (images.grad * direction).sum()
    torch.testing.assert_close(derivative.sum(), expected, atol=1e-3, rtol=1e-3)
