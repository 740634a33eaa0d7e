"""Tests that PyTorch's transforms of modules work on a network in eval mode."""

from dataclasses import replace

import pytest
import torch
from torch.func import functional_call, grad, vmap

from phinas.space.loading import load_spec

NETWORKS = ("mobilenet_v2", "efficientnet_b0")  # without and with squeeze-and-excitation


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


@pytest.mark.parametrize(
    "network",
    [
        "mobilenet_v2",
        pytest.param(
            "efficientnet_b0",
            marks=pytest.mark.xfail(
                strict=True,
                raises=RuntimeError,
                reason="squeeze-and-excitation uses an autograd.Function without setup_context",
            ),
        ),
    ],
    indirect=True,
)
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


@pytest.mark.xfail(
    strict=True,
    raises=RuntimeError,
    reason="TorchScript cannot compile the forward method: unknown type name 'Module'",
)
def test_jit_script_gives_the_same_outputs(network, images):
    assert_same_outputs(torch.jit.script(network), network, images)
