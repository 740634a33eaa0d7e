"""Tests of the custom CPU kernels for training: same results as torch, and only where supported."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from phinas.space.loading import load_spec
from phinas.space.pytorch.cpu_kernels import convolve, global_avg_pool

POINTWISE = [nn.Conv2d(6, 4, 1, bias=False), nn.Conv2d(4, 6, 1), nn.Conv2d(16, 96, 1, bias=False)]
DEPTHWISE = [
    nn.Conv2d(8, 8, kernel, stride=stride, padding=padding, groups=8, bias=False)
    for kernel in (1, 3, 5, 7)
    for stride in (1, 2)
    for padding in {0, kernel // 2}
]


def make_images(conv: nn.Conv2d, *, size: int, count: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(size)
    pixels = torch.randn(count, conv.in_channels, size, size, generator=generator)
    return pixels.to(memory_format=torch.channels_last).requires_grad_()


def output_and_gradients(function, conv: nn.Conv2d, images: torch.Tensor) -> list[torch.Tensor]:
    """Compute the output, and the gradients of its weighted sum for images and parameters."""
    output = function(images)
    weights = torch.linspace(-1, 1, output.numel()).view_as(output)
    return [
        output.detach(),
        *torch.autograd.grad((output * weights).sum(), [images, *conv.parameters()]),
    ]


CONV_SIZES = [
    (conv, size)
    for conv in POINTWISE + DEPTHWISE
    for size in (1, 2, 3, 4, 7)
    if size + 2 * conv.padding[0] >= conv.kernel_size[0]
]


@pytest.mark.parametrize(("conv", "size"), CONV_SIZES, ids=str)
def test_output_and_gradients_are_those_of_torch(conv, size):
    images = make_images(conv, size=size)
    for actual, expected in zip(
        output_and_gradients(lambda x: convolve(conv, x), conv, images),
        output_and_gradients(conv, conv, images),
        strict=True,
    ):
        assert torch.allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 1), (1, 4), (5, 3)], ids=str)
def test_images_need_not_be_square(shape):
    conv = nn.Conv2d(8, 8, 5, padding=2, groups=8, bias=False)
    images = torch.randn(2, 8, *shape).to(memory_format=torch.channels_last).requires_grad_()
    for actual, expected in zip(
        output_and_gradients(lambda x: convolve(conv, x), conv, images),
        output_and_gradients(conv, conv, images),
        strict=True,
    ):
        assert torch.allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_the_mean_of_pixels_has_the_gradient_of_torchs_mean():
    images = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last).requires_grad_()
    weights = torch.randn(2, 3, 1, 1)
    actual = torch.autograd.grad((global_avg_pool(images) * weights).sum(), images)[0]
    expected = torch.autograd.grad((images.mean((2, 3), keepdim=True) * weights).sum(), images)[0]
    assert torch.equal(actual, expected)


def uses_custom_kernel(conv: nn.Conv2d, images: torch.Tensor) -> bool:
    """Whether another operator than torch's convolution computes the output and its gradients."""
    output = convolve(conv, images)
    return "Convolution" not in type(output.grad_fn).__name__


@pytest.mark.parametrize(
    "conv", [POINTWISE[0], nn.Conv2d(8, 8, 5, padding=2, groups=8, bias=False)], ids=str
)
def test_custom_kernels_run_in_training_on_a_cpu_only(conv):
    conv = conv.train()
    images = make_images(conv, size=4)
    assert uses_custom_kernel(conv, images)
    assert not uses_custom_kernel(conv.eval(), images)
    conv.train()
    assert not uses_custom_kernel(conv, images.contiguous())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not uses_custom_kernel(conv, images)
    assert not uses_custom_kernel(conv.double(), images.double())
    conv.float()


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 6, 1, padding=1),
        nn.Conv2d(4, 6, 1, stride=2),
        nn.Conv2d(8, 8, 5, padding=2, groups=8),
        nn.Conv2d(8, 16, 5, padding=2, groups=8, bias=False),
        nn.Conv2d(8, 8, 5, padding=4, dilation=2, groups=8, bias=False),
        nn.Conv2d(8, 8, 5, padding=2, groups=8, bias=False, padding_mode="reflect"),
    ],
    ids=str,
)
def test_torch_computes_all_other_convolutions(conv):
    images = make_images(conv, size=5)
    assert torch.equal(convolve(conv, images), conv(images))


@pytest.mark.parametrize(
    "conv", [POINTWISE[0], nn.Conv2d(8, 8, 5, padding=2, groups=8, bias=False)], ids=str
)
def test_hooks_of_a_convolution_are_called(conv):
    conv.train()
    images, calls = make_images(conv, size=4), []
    handle = conv.register_forward_hook(lambda *_: calls.append(True))
    convolve(conv, images)
    handle.remove()
    assert calls == [True]


def test_gradients_of_images_are_correct_with_frozen_weights():
    conv = nn.Conv2d(8, 8, 5, padding=2, groups=8, bias=False).requires_grad_(False)
    images = make_images(conv, size=4)
    actual, expected = (
        torch.autograd.grad(function(images).square().sum(), images)[0]
        for function in (lambda x: convolve(conv, x), conv)
    )
    assert torch.allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["efficientnet_b0", "mobilenet_v2", "resnet_50", "efficientnet_v2_s", "mobilenet_v1"]
)
def test_gradients_of_a_network_have_an_error_like_that_of_torchs_kernels(name, monkeypatch):
    published = load_spec(name)
    stages = tuple(replace(stage, depth=min(stage.depth, 2)) for stage in published.stages)
    spec = replace(published, stages=stages, resolution=64, classes=5, drop_path=0.0, dropout=0.0)

    def compute_gradients(dtype: torch.dtype) -> torch.Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = spec.build().to(dtype, memory_format=torch.channels_last).train()
            images = torch.randn(16, 3, 64, 64).to(dtype, memory_format=torch.channels_last)
        nn.functional.cross_entropy(model(images), torch.arange(16) % 5).backward()
        return torch.cat([parameter.grad.flatten().double() for parameter in model.parameters()])

    actual, reference = compute_gradients(torch.float32), compute_gradients(torch.float64)
    monkeypatch.setattr(
        "phinas.space.pytorch.cpu_kernels._is_supported", lambda _conv, _images: False
    )
    expected = compute_gradients(torch.float32)
    assert not torch.equal(actual, expected)
    assert (actual - reference).norm() <= 2 * (expected - reference).norm() < 0.1 * reference.norm()


@pytest.mark.parametrize("training", [True, False])
def test_a_tracer_sees_torchs_convolutions(training):
    model = (
        replace(load_spec("efficientnet_b0"), resolution=32, classes=5, drop_path=0.0)
        .build()
        .train(training)
    )
    called_types = {
        type(model.get_submodule(node.target))
        for node in torch.fx.symbolic_trace(model).graph.nodes
        if node.op == "call_module"
    }
    assert nn.Conv2d in called_types
