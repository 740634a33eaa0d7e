"""Batched augmentation on the device: every image of a batch is changed by itself in a few tensor
operations.

The one decision to know: what happens to an image follows from (seed, epoch, its index in the
training split) by `phinas.training.augmentation.stateless_rng`. Sizes are static and nothing waits
for the device, so a CUDA graph may hold all of it, with the epoch and the strength as tensors that
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

_CHUNK_PIXELS = 1 << 27  # resized at a time: half a gigabyte as floats

# Which rows of the draws are whose: an option that is switched on leaves the draws of all others as
# they were.
_SHIFT, _FLIP = slice(0, 2), 2
_CROP = slice(3, 3 + NUM_CROP_DRAWS)
_RANDAUGMENT = slice(_CROP.stop, _CROP.stop + NUM_DRAWS)
_CUTOUT = slice(_RANDAUGMENT.stop, _RANDAUGMENT.stop + 2)


@dataclass(frozen=True, slots=True)
class Augmentation:
    """max_shift: moved by up to this fraction of the side both ways, edges repeated;
    horizontal_flip: half of the images are mirrored;
    min_crop_area: a random rectangle of at least this fraction of the area (aspect 3/4 to 4/3) is
    enlarged to the whole (0: none);
    cutout_size: a square of this fraction of the side, centered anywhere, is painted in the image's
    mean color;
    randaugment_magnitude: magnitude from 0 to 1 of two operations of
    `phinas.training.augmentation.randaugment.OPERATIONS` on each image (0: none)."""

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
    """uint8 (N, C, S, S) to the same, channels last in memory; samples: int64 (N,), their indices
    in the training split.

    strength: from 0 to 1 scales RandAugment, cutout and how much a crop may leave out; shift and
    flip stay as they are.
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
    """Move each image by up to `max_pixels` both ways and mirror those that are `flipped`, in one
    gather.
    """
    count, _, size, _ = images.shape
    rows = columns = torch.arange(size, device=images.device).expand(count, size)
    if flipped is not None:
        columns = torch.where(flipped[:, None], size - 1 - columns, columns)
    # Fractions: an image moves alike at every resolution.
    shifts = (uniforms * (2 * max_pixels + 1)).long().sub_(max_pixels)[:, :, None]
    rows = (rows + shifts[0]).clamp_(0, size - 1)
    columns = (columns + shifts[1]).clamp_(0, size - 1)
    image_index = torch.arange(count, device=images.device)[:, None, None]
    # Indexing the two spatial axes moves the channels last, which is the memory order that
    # convolutions want.
    return images[image_index, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _cut_out(images: Tensor, uniforms: Tensor, fraction: Tensor | float) -> Tensor:
    """Paint a square of `fraction` of the side, centered at `uniforms`, in the mean of each channel
    (arXiv:1708.04552).
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
    """uint8 (N, C, S, S) to uint8 (N, C, size, size), bilinear with antialiasing; itself where it
    has that size.
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
    """uint8 (N, C, S, S) to float, per channel zero mean and unit deviation, channels last in
    memory.
    """
    floats = images.to(torch.float32, memory_format=torch.channels_last)
    return floats.div_(255).sub_(mean).div_(std)
