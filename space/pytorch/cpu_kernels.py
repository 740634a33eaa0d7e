"""Faster algorithms for some convolutions in training on a CPU; they compute the same.

The main decision: shapes decide the algorithm at each call, and only training in float32,
channels last, on a CPU is affected. Modules and their names stay torch's, so counters, exports and
state dicts do not change.

Measured on two cores (torch 2.13), B0 at 32 and 64 px: a sixth of a step was the weight gradient of
depthwise convolutions, for which oneDNN has no kernel wider than 3 and none for images smaller than
the kernel; a third was 1x1 convolutions, whose weights oneDNN reorders at each call. What remains
is in benchmarks/training.md. Without gain: batch norm by matrix products and elementwise
operations, and an allocator that retains its pages.
"""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

# Maximum pixels of a batch for which a matrix product is faster than a widening 1x1 convolution.
_MAX_POINTWISE_PIXELS = 8192
# Maximum pixels of an image for which all pairs of input and output pixels are multiplied.
_MAX_PAIRWISE_PIXELS = 4
# Maximum kernel whose weight gradient oneDNN implements.
_MAX_ONEDNN_KERNEL = 3


def convolve(conv: nn.Conv2d, images: Tensor) -> Tensor:
    """`conv(images)`."""
    if not _is_supported(conv, images):
        return conv(images)
    _, channels, height, width = images.shape
    if conv.kernel_size == conv.stride == (1, 1) and conv.padding == (0, 0) and conv.groups == 1:
        if (
            conv.in_channels >= conv.out_channels
            or len(images) * height * width <= _MAX_POINTWISE_PIXELS
        ):
            return functional.linear(
                images.permute(0, 2, 3, 1), conv.weight.flatten(1), conv.bias
            ).permute(0, 3, 1, 2)
    elif (
        conv.groups == channels == conv.out_channels
        and conv.bias is None
        and _is_slow_in_onednn(conv, height * width)
    ):
        return _DepthwiseConv.apply(images, conv.weight, conv.stride[0], conv.padding[0])  # type: ignore[no-untyped-call]
    return conv(images)


def global_avg_pool(features: Tensor) -> Tensor:
    """The mean over pixels, (N, C, H, W) to (N, C, 1, 1).

    Its gradient is a view; torch's would write a copy for each pixel.
    """
    if not _is_traced(features) and features.requires_grad and features.device.type == "cpu":
        return _GlobalAvgPool.apply(features)  # type: ignore[no-untyped-call]
    return features.mean((2, 3), keepdim=True)


def _is_slow_in_onednn(conv: nn.Conv2d, pixels: int) -> bool:
    return conv.kernel_size[1] > _MAX_ONEDNN_KERNEL or pixels <= _MAX_PAIRWISE_PIXELS


def _is_supported(conv: nn.Conv2d, images: Tensor) -> bool:
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
    """Whether a tracer (torch.fx, jit, compile) or a transform of torch.func runs, which needs
    torch's own operators.
    """
    if not isinstance(images, Tensor) or torch.compiler.is_compiling():
        return True
    if torch._C._functorch.peek_interpreter_stack() is not None:  # there is no public function
        return True
    return torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]


class _GlobalAvgPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        ctx.shape = features.shape
        return features.mean((2, 3), keepdim=True)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Tensor:
        return (grad_output / (ctx.shape[2] * ctx.shape[3])).expand(ctx.shape)


class _DepthwiseConv(torch.autograd.Function):
    """A depthwise convolution with a faster weight gradient."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.stride, ctx.padding = stride, padding
        return functional.conv2d(images, weight, None, stride, padding, 1, len(weight))

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        images, weight = ctx.saved_tensors
        stride, padding = ctx.stride, ctx.padding
        grad_output = grad_output.contiguous(memory_format=torch.channels_last)
        grad_images = None
        if ctx.needs_input_grad[0]:
            grad_images = _conv_gradients(
                grad_output, images, weight, stride, padding, (True, False, False)
            )[0]
        grad_weight = None
        if ctx.needs_input_grad[1]:
            use_pairs = images.shape[2] * images.shape[3] <= _MAX_PAIRWISE_PIXELS
            grad_weight = (
                _weight_gradient_by_pixel_pairs if use_pairs else _weight_gradient_by_columns
            )(grad_output, images, weight.shape[2], stride, padding)
        return grad_images, grad_weight, None, None


def _conv_gradients(
    grad_output: Tensor,
    images: Tensor,
    weight: Tensor,
    stride: int,
    padding: int,
    output_mask: tuple[bool, bool, bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """torch's own gradients of images, weight and bias."""
    geometry = (stride, stride), (padding, padding), (1, 1)
    return torch.ops.aten.convolution_backward(
        grad_output, images, weight, None, *geometry, False, (0, 0), len(weight), output_mask
    )


def _weight_gradient_by_columns(
    grad_output: Tensor, images: Tensor, kernel: int, stride: int, padding: int
) -> Tensor:
    """The weight gradient, three columns of the kernel at a time, each with a narrower kernel on
    shifted images.
    """
    parts = []
    width = images.shape[3]
    for column in range(0, kernel, _MAX_ONEDNN_KERNEL):
        columns = min(_MAX_ONEDNN_KERNEL, kernel - column)
        # Pixels of a row that these columns read.
        num_columns_read = (grad_output.shape[3] - 1) * stride + columns
        padding_left = padding - column
        shifted = functional.pad(
            images, (padding_left, num_columns_read - width - padding_left, padding, padding)
        )
        narrow_weight = images.new_empty((images.shape[1], 1, kernel, columns))
        parts.append(
            _conv_gradients(grad_output, shifted, narrow_weight, stride, 0, (False, True, False))[1]
        )
    return torch.cat(parts, dim=3)


def _weight_gradient_by_pixel_pairs(
    grad_output: Tensor, images: Tensor, kernel: int, stride: int, padding: int
) -> Tensor:
    """The weight gradient from all pairs of input and output pixels, each added to the weight that
    connects them.
    """
    count, channels, *image_size = images.shape
    inputs = images.permute(0, 2, 3, 1).reshape(count, -1, 1, channels)
    outputs = grad_output.permute(0, 2, 3, 1).reshape(count, 1, -1, channels)
    products = (inputs * outputs).sum(0).view(-1, channels)
    weight_indices = _weight_indices(
        tuple(image_size), tuple(grad_output.shape[2:]), kernel, stride, padding
    )
    return (
        images.new_zeros(kernel * kernel + 1, channels)
        .index_add_(0, weight_indices, products)[:-1]
        .t()
        .reshape(channels, 1, kernel, kernel)
    )


@lru_cache(maxsize=256)
def _weight_indices(
    inputs: tuple[int, ...], outputs: tuple[int, ...], kernel: int, stride: int, padding: int
) -> Tensor:
    """For each pair of pixels the index of the weight that connects them; kernel^2 without such a
    weight.
    """
    (rows, out_rows), (columns, out_columns) = (
        (torch.arange(size)[:, None], torch.arange(out_size)[None] * stride - padding)
        for size, out_size in zip(inputs, outputs, strict=True)
    )
    row = (rows - out_rows)[:, None, :, None]
    column = (columns - out_columns)[None, :, None, :]
    in_kernel = (row >= 0) & (row < kernel) & (column >= 0) & (column < kernel)
    return torch.where(in_kernel, row * kernel + column, kernel * kernel).flatten()
