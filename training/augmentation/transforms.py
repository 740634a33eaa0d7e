"""Batched augmentation on the device. Each image of a batch is changed independently.

The changes of an image depend on (seed, epoch, its index in the training split) only, by
`phinas.training.augmentation.stateless_rng`. Tensor sizes are static, and nothing synchronizes with
the device. So a CUDA graph may contain all of it, with the epoch and the strength as tensors that
change between replays.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from phinas.training.augmentation.affine import (
    NUM_CROP_DRAWS,
    compose,
    crop_map,
    operation_map,
    resample,
)
from phinas.training.augmentation.randaugment import (
    NUM_DRAWS,
    apply_color_operations,
    sample_operations,
)
from phinas.training.augmentation.stateless_rng import stateless_uniform

_CHUNK_PIXELS = 1 << 27  # resized at a time, half a GiB as float32

# The rows of the random numbers that each operation uses. They are fixed, so an additional
# operation does not change the others.
_SHIFT, _FLIP = slice(0, 2), 2
_CROP = slice(3, 3 + NUM_CROP_DRAWS)
_RANDAUGMENT = slice(_CROP.stop, _CROP.stop + NUM_DRAWS)
_CUTOUT = slice(_RANDAUGMENT.stop, _RANDAUGMENT.stop + 2)


@dataclass(frozen=True, slots=True)
class Augmentation:
    """The augmentations and their strengths. The defaults change nothing.

    Attributes:
        max_shift: Maximum shift in each direction, as a fraction of the image size. Edges are
            repeated.
        horizontal_flip: Whether images are mirrored, each with a probability of one half.
        min_crop_area: Minimum area of a random crop with an aspect ratio of 3/4 to 4/3, as a
            fraction of the image. The crop is enlarged to the image size. 0 disables it.
        cutout_size: Size of a square at a random position that is filled with the mean color of the
            image, as a fraction of the image size. 0 disables it.
        randaugment_magnitude: Magnitude of two RandAugment operations per image, from 0 to 1. 0
            disables them.
    """

    max_shift: float = 0.0
    horizontal_flip: bool = False
    min_crop_area: float = 0.0
    cutout_size: float = 0.0
    randaugment_magnitude: float = 0.0


def augment(
    images: Tensor,
    samples: Tensor,
    *,
    augmentation: Augmentation,
    seed: int,
    epoch: Tensor | int,
    strength: Tensor | float = 1.0,
) -> Tensor:
    """Augment a batch.

    Args:
        images: uint8 (N, C, S, S).
        samples: int64 (N,), the indices of the images in the training split.
        augmentation: What is changed.
        seed: Random seed.
        epoch: The epoch, or a 0-dim int64 tensor on the device of `samples`.
        strength: From 0 to 1. It scales RandAugment, cutout and the area that a crop may leave out,
            but not shift and flip.

    Returns:
        uint8 (N, C, S, S) in channels_last memory format.
    """
    num_draws = (
        _FLIP + 1
        if not (
            augmentation.min_crop_area
            or augmentation.randaugment_magnitude
            or augmentation.cutout_size
        )
        else _CUTOUT.stop
    )
    uniforms = stateless_uniform(seed, epoch, samples, "augmentation", num_draws)
    batch = images.contiguous(memory_format=torch.channels_last)
    if augmentation.max_shift or augmentation.horizontal_flip:
        max_pixels = round(augmentation.max_shift * images.shape[-1])
        batch = _shift_and_flip(
            batch,
            uniforms[_SHIFT],
            max_pixels=max_pixels,
            flipped=uniforms[_FLIP] < 0.5 if augmentation.horizontal_flip else None,
        )
    maps = (
        crop_map(uniforms[_CROP], 1 - strength * (1 - augmentation.min_crop_area))
        if augmentation.min_crop_area
        else None
    )
    if augmentation.randaugment_magnitude:
        operations, magnitudes = sample_operations(
            uniforms[_RANDAUGMENT], strength * augmentation.randaugment_magnitude
        )
        geometric = operation_map(operations, magnitudes)
        pixels = resample(batch, geometric if maps is None else compose(maps, geometric))
        batch = _to_bytes(apply_color_operations(pixels, operations, magnitudes))
    elif maps is not None:
        batch = _to_bytes(resample(batch, maps))
    if augmentation.cutout_size:
        batch = _cut_out(batch, uniforms[_CUTOUT], strength * augmentation.cutout_size)
    return batch


def _shift_and_flip(
    images: Tensor, uniforms: Tensor, *, max_pixels: int, flipped: Tensor | None
) -> Tensor:
    """Shift and mirror images in one gather.

    Args:
        images: (N, C, S, S).
        uniforms: Uniform random numbers (2, N).
        max_pixels: Maximum shift in each direction.
        flipped: Mask (N,) of the images to mirror.
    """
    count, _, size, _ = images.shape
    rows = columns = torch.arange(size, device=images.device).expand(count, size)
    if flipped is not None:
        columns = torch.where(flipped[:, None], size - 1 - columns, columns)
    # The random number is a fraction of the range, so the shift is alike at every resolution.
    shifts = (uniforms * (2 * max_pixels + 1)).long().sub_(max_pixels)[:, :, None]
    rows = (rows + shifts[0]).clamp_(0, size - 1)
    columns = (columns + shifts[1]).clamp_(0, size - 1)
    image_index = torch.arange(count, device=images.device)[:, None, None]
    # Indexing the two spatial axes puts the channels last in memory, as channels_last requires.
    return images[image_index, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _cut_out(images: Tensor, uniforms: Tensor, fraction: Tensor | float) -> Tensor:
    """Fill a square of each image with the mean of each channel (cutout, arXiv:1708.04552).

    Args:
        images: uint8 (N, C, S, S).
        uniforms: The centers of the squares (2, N), from 0 to 1. A square may cross the edge.
        fraction: The size of the squares, as a fraction of the image size.
    """
    size = images.shape[-1]
    centers = (torch.arange(size, device=images.device) + 0.5) / size
    rows, columns = ((centers - uniforms[:, :, None]).abs() < fraction / 2).unbind()
    mean = images.float().mean((2, 3), keepdim=True).round_().to(torch.uint8)
    filled = torch.where(rows[:, None, :, None] & columns[:, None, None, :], mean, images)
    return filled.contiguous(memory_format=torch.channels_last)


def _to_bytes(pixels: Tensor) -> Tensor:
    return pixels.to(torch.uint8, memory_format=torch.channels_last)


def resize(images: Tensor, size: int) -> Tensor:
    """Resize images, bilinearly with antialiasing.

    Args:
        images: uint8 (N, C, S, S).
        size: Height and width of the result.

    Returns:
        uint8 (N, C, size, size). `images` itself if it has that size.
    """
    if images.shape[-1] == size:
        return images
    shape = (*images.shape[:2], size, size)
    resized = torch.empty(
        shape, dtype=torch.uint8, device=images.device, memory_format=torch.channels_last
    )
    chunk = max(1, _CHUNK_PIXELS // images[:1].numel())
    for start in range(0, len(images), chunk):
        floats = images[start : start + chunk].float()
        floats = F.interpolate(
            floats, size=(size, size), mode="bilinear", antialias=True, align_corners=False
        )
        resized[start : start + chunk] = floats.round_().clamp_(0, 255).to(torch.uint8)
    return resized


def normalize(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Normalize the channels of images.

    Args:
        images: uint8 (N, C, S, S).
        mean: Mean of each channel, of levels from 0 to 1, in a shape that broadcasts.
        std: Standard deviation of each channel, likewise.

    Returns:
        float32 (N, C, S, S) in channels_last memory format.
    """
    floats = images.to(torch.float32, memory_format=torch.channels_last)
    return floats.div_(255).sub_(mean).div_(std)
