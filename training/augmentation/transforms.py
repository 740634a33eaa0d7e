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
    CROP_DRAWS,
    compose,
    crop_map,
    operation_map,
    resample,
)
from phinas.training.augmentation.randaugment import DRAWS, draw_operations, recolour
from phinas.training.augmentation.stateless_rng import uniform

_PIXELS = 1 << 27  # resized at a time: half a gigabyte as floats

# Which rows of the draws are whose: an option that is switched on leaves the draws of all others as
# they were.
_MOVE, _FLIP = slice(0, 2), 2
_CROP = slice(3, 3 + CROP_DRAWS)
_COLOUR = slice(_CROP.stop, _CROP.stop + DRAWS)
_CUTOUT = slice(_COLOUR.stop, _COLOUR.stop + 2)


@dataclass(frozen=True, slots=True)
class Augmentation:
    """shift: moved by up to this fraction of the side both ways, edges repeated; flip: half of the
    images are mirrored;
    crop: a random rectangle of at least this fraction of the area (aspect 3/4 to 4/3) is enlarged
    to the whole (0: none);
    cutout: a square of this fraction of the side, centred anywhere, is painted in the image's mean
    colour;
    colour: magnitude from 0 to 1 of two operations of
    `phinas.training.augmentation.randaugment.OPERATIONS` on each image (0: none)."""

    shift: float = 0.0
    flip: bool = False
    crop: float = 0.0
    cutout: float = 0.0
    colour: float = 0.0


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

    strength: from 0 to 1 scales colour, cutout and how much a crop may leave out; shift and flip
    stay as they are.
    """
    last = (
        _FLIP + 1
        if not (augmentation.crop or augmentation.colour or augmentation.cutout)
        else _CUTOUT.stop
    )
    drawn = uniform(seed, epoch, samples, "augmentation", last)
    seen = images.contiguous(memory_format=torch.channels_last)
    if augmentation.shift or augmentation.flip:
        far = round(augmentation.shift * images.shape[-1])
        seen = _shift_and_flip(
            seen,
            drawn[_MOVE],
            pixels=far,
            mirrored=drawn[_FLIP] < 0.5 if augmentation.flip else None,
        )
    maps = (
        crop_map(drawn[_CROP], 1 - strength * (1 - augmentation.crop))
        if augmentation.crop
        else None
    )
    if augmentation.colour:
        which, amounts = draw_operations(drawn[_COLOUR], strength * augmentation.colour)
        moves = operation_map(which, amounts)
        pixels = resample(seen, moves if maps is None else compose(maps, moves))
        seen = _to_bytes(recolour(pixels, which, amounts))
    elif maps is not None:
        seen = _to_bytes(resample(seen, maps))
    if augmentation.cutout:
        seen = _cut_out(seen, drawn[_CUTOUT], strength * augmentation.cutout)
    return seen


def _shift_and_flip(
    images: Tensor, drawn: Tensor, *, pixels: int, mirrored: Tensor | None
) -> Tensor:
    """Move each image by up to `pixels` both ways and mirror those that are `mirrored`, in one
    gather.
    """
    count, _, side, _ = images.shape
    rows = cols = torch.arange(side, device=images.device).expand(count, side)
    if mirrored is not None:
        cols = torch.where(mirrored[:, None], side - 1 - cols, cols)
    # Fractions: an image moves alike at every resolution.
    moves = (drawn * (2 * pixels + 1)).long().sub_(pixels)[:, :, None]
    rows = (rows + moves[0]).clamp_(0, side - 1)
    cols = (cols + moves[1]).clamp_(0, side - 1)
    which = torch.arange(count, device=images.device)[:, None, None]
    # Indexing the two spatial axes moves the channels last, which is the memory order that
    # convolutions want.
    return images[which, :, rows[:, :, None], cols[:, None, :]].permute(0, 3, 1, 2)


def _cut_out(images: Tensor, drawn: Tensor, fraction: Tensor | float) -> Tensor:
    """Paint a square of `fraction` of the side, centred at `drawn`, in the mean of each channel
    (arXiv:1708.04552).
    """
    side = images.shape[-1]
    centres = (torch.arange(side, device=images.device) + 0.5) / side
    rows, cols = ((centres - drawn[:, :, None]).abs() < fraction / 2).unbind()
    mean = images.float().mean((2, 3), keepdim=True).round_().to(torch.uint8)
    painted = torch.where(rows[:, None, :, None] & cols[:, None, None, :], mean, images)
    return painted.contiguous(memory_format=torch.channels_last)


def _to_bytes(pixels: Tensor) -> Tensor:
    return pixels.to(torch.uint8, memory_format=torch.channels_last)


def resize(images: Tensor, side: int) -> Tensor:
    """uint8 (N, C, S, S) to uint8 (N, C, side, side), bilinear with antialiasing; itself where it
    has that side.
    """
    if images.shape[-1] == side:
        return images
    shape = (*images.shape[:2], side, side)
    resized = torch.empty(
        shape, dtype=torch.uint8, device=images.device, memory_format=torch.channels_last
    )
    chunk = max(1, _PIXELS // images[:1].numel())
    for start in range(0, len(images), chunk):
        floats = images[start : start + chunk].float()
        floats = F.interpolate(
            floats, size=(side, side), mode="bilinear", antialias=True, align_corners=False
        )
        resized[start : start + chunk] = floats.round_().clamp_(0, 255).to(torch.uint8)
    return resized


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """uint8 (N, C, S, S) to float, per channel zero mean and unit deviation, channels last in
    memory.
    """
    floats = images.to(torch.float32, memory_format=torch.channels_last)
    return floats.div_(255).sub_(mean).div_(std)
