"""The color operations of RandAugment (Cubuk et al., arXiv:1909.13719), batched.

Each image has its own operations, but images are not grouped by operation. An operation is a set of
parameters that are neutral for all other operations, and the batch passes through the same formulas
twice (two operations per image, one magnitude for all, as in the paper): a stretch and blend, then
a table of levels. So the tensor sizes are static, and the time does not depend on the sampled
operations. Parameters are multiplied by masks where `torch.where` with a Python number would be
more obvious, because torch copies that number from the host, which a CUDA graph does not allow.

The operations are the fourteen of the paper, which has no inversion. The five that move pixels are
listed, so that they are as frequent as in the paper, and are applied in
`phinas.training.augmentation.affine`. Magnitude 1 is magnitude 10 of 10 in the paper: a factor of
0.1 or 1.9, four bits lost, all levels inverted. Autocontrast and equalize have no magnitude, except
that they do nothing at 0.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

OPERATIONS = (
    "identity",
    "brightness",
    "contrast",
    "saturation",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
    "equalize",
    "rotate",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
)
NUM_LAYERS = 2  # operations per image
NUM_DRAWS = 2 * NUM_LAYERS  # random numbers per image
_MAX_FACTOR_CHANGE = 0.9  # difference of a factor from 1, at magnitude 1
_MAX_LOST_BITS = 4  # of posterize, at magnitude 1
_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R 601, as in Pillow
_CENTER_WEIGHT, _NEIGHBOR_WEIGHT = 5 / 13, 1 / 13  # of Pillow's 3x3 smoothing filter


def sample_operations(uniforms: Tensor, magnitude: Tensor | float) -> tuple[Tensor, Tensor]:
    """Sample the operations of each image.

    Args:
        uniforms: Uniform random numbers (NUM_DRAWS, N).
        magnitude: From 0 to 1.

    Returns:
        Indices of OPERATIONS, and magnitudes with a random sign, both (NUM_LAYERS, N).
    """
    operations = (uniforms[:NUM_LAYERS] * len(OPERATIONS)).long()
    return operations, (uniforms[NUM_LAYERS:] < 0.5).float().mul_(-2).add_(1) * magnitude


def operation_mask(operations: Tensor, *names: str) -> Tensor:
    """A mask of where the operation is one of `names`."""
    return torch.stack([operations == OPERATIONS.index(name) for name in names]).any(dim=0)


def apply_color_operations(pixels: Tensor, operations: Tensor, magnitudes: Tensor) -> Tensor:
    """Apply the color operations of each image. The others change nothing here.

    Args:
        pixels: Integers from 0 to 255 as float (N, C, S, S), with C 1 or 3. The contiguous memory
            format is much faster here than channels_last.
        operations: Indices of OPERATIONS (NUM_LAYERS, N).
        magnitudes: Signed magnitudes (NUM_LAYERS, N).

    Returns:
        Integers from 0 to 255 as float (N, C, S, S).
    """
    for layer in range(len(operations)):
        choice, magnitude = operations[layer].view(-1, 1, 1, 1), magnitudes[layer].view(-1, 1, 1, 1)
        pixels = _apply_level_table(_enhance(pixels, choice, magnitude), choice, magnitude)
    return pixels


def _enhance(pixels: Tensor, operations: Tensor, magnitude: Tensor) -> Tensor:
    """Apply brightness, contrast, saturation, sharpness and autocontrast.

    The first four extrapolate from another image through the image: from black, the mean gray, the
    gray image and the smoothed image. Autocontrast stretches each channel to 0..255.
    """
    factor = 1 + _MAX_FACTOR_CHANGE * magnitude * operation_mask(
        operations, "brightness", "contrast", "saturation", "sharpness"
    )
    gray = _luminance(pixels)
    origin = torch.where(
        operation_mask(operations, "saturation"),
        gray,
        gray.mean((2, 3), keepdim=True) * operation_mask(operations, "contrast"),
    )
    origin = torch.where(operation_mask(operations, "sharpness"), _smooth(pixels), origin)
    low, high = pixels.amin((2, 3), keepdim=True), pixels.amax((2, 3), keepdim=True)
    stretch_mask = operation_mask(operations, "autocontrast") & (magnitude != 0) & (high > low)
    slope = torch.where(stretch_mask, 255 / (high - low).clamp_min_(1), factor)
    offset = -low * slope * stretch_mask
    return torch.addcmul(offset, pixels, slope).addcmul_(origin, 1 - factor).round_().clamp_(0, 255)


def _apply_level_table(pixels: Tensor, operations: Tensor, magnitude: Tensor) -> Tensor:
    """Apply equalize, posterize and solarize by one table of 256 levels for each channel."""
    levels = pixels.long().flatten(2)[:, :, None]  # (N, C, 1, S * S), like the tables
    absolute_magnitude = magnitude.abs()
    table = _equalization_table(
        levels, operation_mask(operations, "equalize") & (absolute_magnitude != 0)
    )
    step = (
        (_MAX_LOST_BITS * absolute_magnitude * operation_mask(operations, "posterize"))
        .round_()
        .exp2_()
        .round_()
    )
    table = (table / step).floor_().mul_(step)
    threshold = 256 * (1 - absolute_magnitude * operation_mask(operations, "solarize"))
    table = torch.where(table < threshold, table, 255 - table)
    return table.gather(3, levels).view_as(pixels)


def _equalization_table(levels: Tensor, equalize_mask: Tensor) -> Tensor:
    """The table (N, C, 1, 256) of equalize in Pillow's integer arithmetic.

    Where `equalize_mask` is False, it is the identity.
    """
    counts = torch.zeros(*levels.shape[:3], 256, dtype=torch.int32, device=levels.device)
    with _nondeterministic():
        counts.scatter_add_(
            3, levels, torch.ones((), dtype=torch.int32, device=levels.device).expand_as(levels)
        )
    brightest = counts.gather(3, levels.amax(3, keepdim=True))
    step = (levels.shape[3] - brightest) // 255
    below = counts.cumsum(3, dtype=torch.int32) - counts
    equalized = ((step // 2 + below) // step.clamp(min=1)).clamp_(max=255).float()
    identity = torch.arange(256, dtype=torch.float32, device=levels.device)
    return torch.where(equalize_mask & (step > 0), equalized, identity)


@contextmanager
def _nondeterministic() -> Iterator[None]:
    """Allow nondeterministic algorithms.

    Sums of integers are the same in any order, and torch's deterministic `scatter_add_` cannot be
    captured in a CUDA graph.
    """
    was_deterministic = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was_deterministic)


def _luminance(pixels: Tensor) -> Tensor:
    """The gray image (N, 1, S, S)."""
    if pixels.shape[1] == 1:
        return pixels
    red, green, blue = (pixels[:, channel : channel + 1] for channel in range(3))
    return _LUMINANCE[0] * red + _LUMINANCE[1] * green + _LUMINANCE[2] * blue


def _smooth(pixels: Tensor) -> Tensor:
    """Smooth like Pillow, which keeps the outermost rows and columns."""
    rows = pixels[:, :, :-2] + pixels[:, :, 1:-1] + pixels[:, :, 2:]
    squares = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    smoothed = pixels.clone()
    # The sum over the 3x3 square already includes the center with the weight of a neighbor.
    smoothed[:, :, 1:-1, 1:-1].mul_(_CENTER_WEIGHT - _NEIGHBOR_WEIGHT).add_(
        squares, alpha=_NEIGHBOR_WEIGHT
    )
    return smoothed
