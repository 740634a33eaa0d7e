"""Batched augmentation on the device: every image of a batch gets its own shift and flip in a few tensor operations."""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

_CHUNK = 1024


def resize(images: Tensor, side: int) -> Tensor:
    """uint8 (N, C, S, S) to uint8 (N, C, side, side), bilinear with antialiasing; itself where it has that side."""
    if images.shape[-1] == side:
        return images
    resized = torch.empty((*images.shape[:2], side, side), dtype=torch.uint8, device=images.device)
    for start in range(0, len(images), _CHUNK):
        chunk = images[start : start + _CHUNK].float()
        chunk = F.interpolate(chunk, size=(side, side), mode="bilinear", antialias=True, align_corners=False)
        resized[start : start + _CHUNK] = chunk.round_().clamp_(0, 255).to(torch.uint8)
    return resized


def shift_and_flip(images: Tensor, *, pixels: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Move each image by up to `pixels` both ways (edges repeated) and mirror every other one, in one gather.

    images: (N, C, S, S). The draws come from `generator` on the CPU, so they are the same on every device.
    """
    if not flip and not pixels:
        return images
    count, _, side, _ = images.shape
    rows = cols = torch.arange(side).expand(count, side)
    if flip:
        mirrored = torch.rand(count, 1, generator=generator) < 0.5
        cols = torch.where(mirrored, side - 1 - cols, cols)
    # Fractions, and drawn for no pixels too: an image moves and turns alike at every resolution.
    moves = (torch.rand(2, count, 1, generator=generator) * (2 * pixels + 1)).long() - pixels
    rows = (rows + moves[0]).clamp_(0, side - 1)
    cols = (cols + moves[1]).clamp_(0, side - 1)
    which = torch.arange(count, device=images.device)[:, None, None]
    # Indexing the two spatial axes moves the channels last, which is the memory order that convolutions want.
    return images[which, :, rows.to(images.device)[:, :, None], cols.to(images.device)[:, None, :]].permute(0, 3, 1, 2)


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """uint8 (N, C, S, S) to float, per channel zero mean and unit deviation, channels last in memory."""
    floats = images.to(torch.float32, memory_format=torch.channels_last)
    return floats.div_(255).sub_(mean).div_(std)
