"""The preprocessing of a network as a part of its graph: from 8-bit pixels to logits.

The resizes are products with matrices of weights, which any ONNX runtime computes alike. The first
one repeats Pillow's arithmetic, with its fixed-point weights and a rounding after each direction.
So its pixels are those of the training images. Only for images about twice as tall as wide, or
taller, some differ by one or two of 256 levels: Pillow 13 resizes those vertically first, where
height - new height > 2 * (width - new width) and height > new height (measured).
"""

from typing import Protocol

import torch
from torch import Tensor, nn

_PRECISION_BITS = 22  # of Pillow's weights: 32 bits, less 8 of the pixels, less 2 of headroom
_BICUBIC_A = -0.5
_BICUBIC_SUPPORT = 2.0


class InputSteps(Protocol):
    """How an image becomes the input of a network.

    As `phinas.experiment.artifacts.preprocessing.Preprocessing`, which explains each attribute.
    """

    @property
    def image_size(self) -> int: ...
    @property
    def resolution(self) -> int: ...
    @property
    def resize_mode(self) -> str: ...
    @property
    def channel_order(self) -> str: ...
    @property
    def mean(self) -> tuple[float, ...]: ...
    @property
    def std(self) -> tuple[float, ...]: ...


class InputGraph(nn.Module):
    """A network behind its preprocessing.

    Args:
        model: The network.
        steps: The preprocessing.
    """

    mean: Tensor
    std: Tensor
    resize_weights: Tensor

    def __init__(self, model: nn.Module, steps: InputSteps) -> None:
        super().__init__()
        self.model = model
        self._size, self._mode = steps.image_size, steps.resize_mode
        self._resizes_twice = steps.image_size != steps.resolution
        for name, values in (("mean", steps.mean), ("std", steps.std)):
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1))
        weights = _bilinear_weights(steps.image_size, steps.resolution)
        self.register_buffer("resize_weights", weights)

    def forward(self, images: Tensor) -> Tensor:
        """Compute the logits.

        Args:
            images: uint8 (N, height, width, C) of any size.
        """
        pixels = self._make_square(images.permute(0, 3, 1, 2).double()).float()
        if self._resizes_twice:
            pixels = self.resize_weights @ (pixels @ self.resize_weights.T)
            pixels = pixels.round().clamp(0, 255)
        logits: Tensor = self.model((pixels / 255 - self.mean) / self.std)
        return logits

    def _make_square(self, pixels: Tensor) -> Tensor:
        """float64 (N, C, height, width) to (N, C, size, size); both have the values 0 to 255."""
        rows, columns = (_positions(length) for length in pixels.shape[2:])
        height, width = _length_of(rows), _length_of(columns)
        pixels = _resample(pixels, self._weights(columns, width, height))
        return _resample(pixels.transpose(2, 3), self._weights(rows, height, width)).transpose(2, 3)

    def _weights(self, positions: Tensor, length: Tensor, other_length: Tensor) -> Tensor:
        """Pillow's bicubic weights of one direction.

        Args:
            positions: float64 (length,), 0, 1, 2, ...
            length: The size of the image in this direction.
            other_length: Its size in the other one.

        Returns:
            float64 (size, length), whole numbers.
        """
        outputs = torch.arange(self._size, dtype=torch.float64, device=positions.device)
        first_output = torch.zeros_like(length)
        num_outputs = torch.full_like(length, self._size)
        start, extent = torch.zeros_like(length), length
        if self._mode == "crop":
            extent = torch.minimum(length, other_length)
            start = (length - extent) / 2
        elif self._mode == "letterbox":
            ratio = length / torch.maximum(length, other_length)
            num_outputs = (ratio * self._size).round()
            first_output = ((self._size - num_outputs) / 2).round()
        scale = extent / num_outputs
        outputs = outputs - first_output
        centers = start + (outputs + 0.5) * scale
        distances = (positions - centers[:, None] + 0.5) / scale.clamp(min=1.0)
        weights = _bicubic(distances.abs())
        weights = weights / weights.sum(dim=1, keepdim=True)
        fixed = weights * 2**_PRECISION_BITS
        fixed = torch.where(fixed < 0, -(0.5 - fixed).floor(), (fixed + 0.5).floor())
        is_inside = (outputs >= 0) & (outputs < num_outputs)
        # letterbox: the outputs beyond the image are black
        return torch.where(is_inside[:, None], fixed, torch.zeros_like(fixed))


def _positions(length: int) -> Tensor:
    return torch.arange(length, dtype=torch.float64)


def _length_of(positions: Tensor) -> Tensor:
    """The number of positions as a tensor of one element, which a graph can compute with."""
    return positions[-1:] + 1


def _bicubic(distances: Tensor) -> Tensor:
    a = _BICUBIC_A
    near = ((a + 2) * distances - (a + 3)) * distances * distances + 1
    far = (((distances - 5) * distances + 8) * distances - 4) * a
    beyond = torch.zeros_like(distances)
    return torch.where(distances < 1, near, torch.where(distances < _BICUBIC_SUPPORT, far, beyond))


def _resample(pixels: Tensor, weights: Tensor) -> Tensor:
    """Resize the last dimension by fixed-point weights, rounded to 0 to 255."""
    sums = pixels @ weights.T + 2 ** (_PRECISION_BITS - 1)
    return (sums / 2**_PRECISION_BITS).floor().clamp(0, 255)


def _bilinear_weights(size: int, new_size: int) -> Tensor:
    """The weights of torch's antialiased bilinear resize, float32 (new_size, size).

    They are taken from torch, with its rounding errors. Resized pixels are often halfway between
    two levels (weights such as 1/8), so their last bits decide which level they get.
    """
    columns = torch.eye(size)[None, None]
    return nn.functional.interpolate(
        columns, size=(new_size, size), mode="bilinear", antialias=True
    )[0, 0].contiguous()
