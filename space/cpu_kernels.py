"""Convolutions in training on a CPU, by other algorithms where torch's own are slow; what they
compute is the same.

The one decision to know: which algorithm is decided at each call by shapes, and everything that is
not training in float32, channels last, on a CPU is left to torch. Modules and their names stay
torch's, so counters, exports and weights see nothing.

Measured on two cores (torch 2.13), B0 at 32 and 64 px: a sixth of a step went into the weights'
gradient of depthwise convolutions, for which oneDNN has no kernel wider than 3 nor one for images
smaller than the kernel, and a third into 1x1 convolutions, whose weights it puts into another order
at each call. What is left is in benchmarks/training.md. Tried, and no
gain: batch norm by matrix products and elementwise operations, an allocator that keeps its pages.
"""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_ROWS = 8192  # pixels of a batch up to which a matrix product beats the 1x1 convolution that widens
_FEW = 4  # pixels of an image up to which every pair of input and output pixel is multiplied
_COLUMNS = 3  # the widest kernel whose weights' gradient oneDNN has a kernel for


def convolve(conv: nn.Conv2d, images: Tensor) -> Tensor:
    """`conv(images)`."""
    if not _is_ours(conv, images):
        return conv(images)
    _, width, height, side = images.shape
    if conv.kernel_size == conv.stride == (1, 1) and conv.padding == (0, 0) and conv.groups == 1:
        if conv.in_channels >= conv.out_channels or len(images) * height * side <= _ROWS:
            return functional.linear(
                images.permute(0, 2, 3, 1), conv.weight.flatten(1), conv.bias
            ).permute(0, 3, 1, 2)
    elif (
        conv.groups == width == conv.out_channels
        and conv.bias is None
        and _is_slow(conv, height * side)
    ):
        return _Depthwise.apply(images, conv.weight, conv.stride[0], conv.padding[0])  # type: ignore[no-untyped-call]
    return conv(images)


def mean_pixel(features: Tensor) -> Tensor:
    """The mean over pixels, (N, C, H, W) to (N, C, 1, 1); its gradient is a view, where torch's
    writes one to each pixel.
    """
    if not _is_traced(features) and features.requires_grad and features.device.type == "cpu":
        return _Mean.apply(features)  # type: ignore[no-untyped-call]
    return features.mean((2, 3), keepdim=True)


def _is_slow(conv: nn.Conv2d, pixels: int) -> bool:
    return conv.kernel_size[1] > _COLUMNS or pixels <= _FEW


def _is_ours(conv: nn.Conv2d, images: Tensor) -> bool:
    return (
        conv.training
        and not _is_traced(images)
        and images.device.type == "cpu"
        and images.dtype == conv.weight.dtype == torch.float32
        and images.is_contiguous(memory_format=torch.channels_last)
        and not torch.is_autocast_enabled("cpu")
        and type(conv) is nn.Conv2d
        and not (conv._forward_hooks or conv._forward_pre_hooks or conv._backward_hooks)
        and conv.padding_mode == "zeros"
        and conv.dilation == (1, 1)
    )


def _is_traced(images: object) -> bool:
    """Whether a tracer (torch.fx, jit, compile) is to see torch's own operators."""
    if not isinstance(images, Tensor) or torch.compiler.is_compiling():
        return True
    return torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, features: Tensor) -> Tensor:
        context.shape = features.shape
        return features.mean((2, 3), keepdim=True)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return (gradient / (context.shape[2] * context.shape[3])).expand(context.shape)


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution with a weights' gradient of our own."""

    @staticmethod
    def forward(context: Any, images: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        context.save_for_backward(images, weight)
        context.stride, context.padding = stride, padding
        return functional.conv2d(images, weight, None, stride, padding, 1, len(weight))

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        images, weight = context.saved_tensors
        stride, padding = context.stride, context.padding
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_images = None
        if context.needs_input_grad[0]:
            of_images = _gradients(gradient, images, weight, stride, padding, (True, False, False))[
                0
            ]
        of_weight = None
        if context.needs_input_grad[1]:
            few = images.shape[2] * images.shape[3] <= _FEW
            of_weight = (_by_pairs if few else _by_columns)(
                gradient, images, weight.shape[2], stride, padding
            )
        return of_images, of_weight, None, None


def _gradients(
    gradient: Tensor,
    images: Tensor,
    weight: Tensor,
    stride: int,
    padding: int,
    wanted: tuple[bool, bool, bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """torch's own, of images, weight and bias."""
    pair = (stride, stride), (padding, padding), (1, 1)
    return torch.ops.aten.convolution_backward(
        gradient, images, weight, None, *pair, False, (0, 0), len(weight), wanted
    )


def _by_columns(gradient: Tensor, images: Tensor, side: int, stride: int, padding: int) -> Tensor:
    """The weights' gradient, three columns of the kernel at a time: each is that of a narrower
    kernel on images moved aside.
    """
    parts = []
    width = images.shape[3]
    for column in range(0, side, _COLUMNS):
        columns = min(_COLUMNS, side - column)
        reach = (gradient.shape[3] - 1) * stride + columns  # pixels of a row that these columns see
        left = padding - column
        moved = functional.pad(images, (left, reach - width - left, padding, padding))
        narrow = images.new_empty((images.shape[1], 1, side, columns))
        parts.append(_gradients(gradient, moved, narrow, stride, 0, (False, True, False))[1])
    return torch.cat(parts, dim=3)


def _by_pairs(gradient: Tensor, images: Tensor, side: int, stride: int, padding: int) -> Tensor:
    """The same from all pairs of input and output pixel, each added to the one weight that joins
    them.
    """
    count, width, *of_images = images.shape
    inputs = images.permute(0, 2, 3, 1).reshape(count, -1, 1, width)
    outputs = gradient.permute(0, 2, 3, 1).reshape(count, 1, -1, width)
    joined = (inputs * outputs).sum(0).view(-1, width)
    places = _joining(tuple(of_images), tuple(gradient.shape[2:]), side, stride, padding)
    return (
        images.new_zeros(side * side + 1, width)
        .index_add_(0, places, joined)[:-1]
        .t()
        .reshape(width, 1, side, side)
    )


@lru_cache(maxsize=256)
def _joining(
    inputs: tuple[int, ...], outputs: tuple[int, ...], side: int, stride: int, padding: int
) -> Tensor:
    """For each pair of pixels the index of the weight that joins them; beyond the last for those
    that none does.
    """
    (rows, out_rows), (columns, out_columns) = (
        (torch.arange(near)[:, None], torch.arange(far)[None] * stride - padding)
        for near, far in zip(inputs, outputs, strict=True)
    )
    row = (rows - out_rows)[:, None, :, None]
    column = (columns - out_columns)[None, :, None, :]
    inside = (row >= 0) & (row < side) & (column >= 0) & (column < side)
    return torch.where(inside, row * side + column, side * side).flatten()
