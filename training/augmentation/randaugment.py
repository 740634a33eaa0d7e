"""The color of each image changed by operations of its own, drawn as in RandAugment (Cubuk et al.,
arXiv:1909.13719).

The one decision to know: no image is picked out of its batch. An image's operation is a set of
parameters that are neutral for every other operation, and the batch goes through one formula twice
(two operations an image, one magnitude for all, as in the paper): a stretch and a blend, then a
table of levels. So the sizes are static, and it costs the same whatever was drawn. Parameters are
multiplied by masks where one would write `torch.where` with a plain number: torch copies that
number from the host, which a CUDA graph does not allow.

The operations are the paper's fourteen (which has no inversion). The five that move pixels are in
the list, so that they are as frequent as in the paper; what they do stands in
`phinas.training.augmentation.affine`. Magnitude 1 is the paper's 10 of 10: factors of 0.1 or 1.9,
four bits, all inverted. Autocontrast and equalize know no magnitude, but 0 changes nothing.
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
NUM_LAYERS = 2  # operations an image
NUM_DRAWS = 2 * NUM_LAYERS
# at magnitude 1: how far a factor is from 1, bits that are lost
_MAX_FACTOR_CHANGE, _MAX_LOST_BITS = (
    0.9,
    4,
)
_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R 601, as Pillow has it
_CENTER_WEIGHT, _NEIGHBOR_WEIGHT = 5 / 13, 1 / 13  # Pillow's smoothing, 3x3


def sample_operations(uniforms: Tensor, magnitude: Tensor | float) -> tuple[Tensor, Tensor]:
    """Of uniform (NUM_DRAWS, N): indices of OPERATIONS and magnitudes with a random sign, both
    (NUM_LAYERS, N).
    """
    operations = (uniforms[:NUM_LAYERS] * len(OPERATIONS)).long()
    return operations, (uniforms[NUM_LAYERS:] < 0.5).float().mul_(-2).add_(1) * magnitude


def operation_mask(operations: Tensor, *names: str) -> Tensor:
    """Where the operation is one of `names`."""
    return torch.stack([operations == OPERATIONS.index(name) for name in names]).any(dim=0)


def apply_color_operations(pixels: Tensor, operations: Tensor, magnitudes: Tensor) -> Tensor:
    """Whole numbers from 0 to 255 as float (N, C, S, S), C 1 or 3, after the operations
    `operations` with signed magnitudes `magnitudes`, both (NUM_LAYERS, N). Channels first in memory
    is by far the faster order here."""
    for layer in range(len(operations)):
        choice, magnitude = operations[layer].view(-1, 1, 1, 1), magnitudes[layer].view(-1, 1, 1, 1)
        pixels = _apply_level_table(_enhance(pixels, choice, magnitude), choice, magnitude)
    return pixels


def _enhance(pixels: Tensor, operations: Tensor, magnitude: Tensor) -> Tensor:
    """Brightness, contrast, saturation and sharpness: from black, the mean gray, the gray image or
    the smoothed one through the image and beyond. Autocontrast: each channel stretched to 0..255.
    The result is whole numbers from 0 to 255."""
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
    """Equalize, posterize and solarize: of each channel a table of what becomes of its 256 levels,
    and one look-up.
    """
    levels = pixels.long().flatten(2)[:, :, None]  # tables are images one pixel high
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
    """(N, C, 1, 256): each level, or where `equalize_mask` what its histogram makes of it, in
    Pillow's whole numbers.
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
    """Whole numbers add up to the same in any order; torch's deterministic way to add them can't be
    captured.
    """
    was_deterministic = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was_deterministic)


def _luminance(pixels: Tensor) -> Tensor:
    """(N, 1, S, S); a gray image is its own."""
    if pixels.shape[1] == 1:
        return pixels
    red, green, blue = (pixels[:, channel : channel + 1] for channel in range(3))
    return _LUMINANCE[0] * red + _LUMINANCE[1] * green + _LUMINANCE[2] * blue


def _smooth(pixels: Tensor) -> Tensor:
    """As Pillow smooths: the outermost rows and columns stay."""
    rows = pixels[:, :, :-2] + pixels[:, :, 1:-1] + pixels[:, :, 2:]
    squares = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    smoothed = pixels.clone()
    # The sum of nine counts the center once, so it is added as often as is missing.
    smoothed[:, :, 1:-1, 1:-1].mul_(_CENTER_WEIGHT - _NEIGHBOR_WEIGHT).add_(
        squares, alpha=_NEIGHBOR_WEIGHT
    )
    return smoothed
