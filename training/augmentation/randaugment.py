"""The colour of each image changed by operations of its own, drawn as in RandAugment (Cubuk et al.,
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
LAYERS = 2  # operations an image
DRAWS = 2 * LAYERS
_FACTOR, _BITS = 0.9, 4  # at magnitude 1: how far a factor is from 1, bits that are lost
_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R 601, as Pillow has it
_CENTRE, _NEIGHBOUR = 5 / 13, 1 / 13  # Pillow's smoothing, 3x3


def draw_operations(drawn: Tensor, magnitude: Tensor | float) -> tuple[Tensor, Tensor]:
    """Of uniform (DRAWS, N): indices of OPERATIONS and magnitudes with a random sign, both (LAYERS,
    N).
    """
    which = (drawn[:LAYERS] * len(OPERATIONS)).long()
    return which, (drawn[LAYERS:] < 0.5).float().mul_(-2).add_(1) * magnitude


def drew(which: Tensor, *names: str) -> Tensor:
    """Where the operation is one of `names`."""
    return torch.stack([which == OPERATIONS.index(name) for name in names]).any(dim=0)


def recolour(pixels: Tensor, which: Tensor, amounts: Tensor) -> Tensor:
    """Whole numbers from 0 to 255 as float (N, C, S, S), C 1 or 3, after the operations `which`
    with signed magnitudes `amounts`, both (LAYERS, N). Channels first in memory is by far the
    faster order here."""
    for layer in range(len(which)):
        choice, amount = which[layer].view(-1, 1, 1, 1), amounts[layer].view(-1, 1, 1, 1)
        pixels = _by_level(_enhance(pixels, choice, amount), choice, amount)
    return pixels


def _enhance(pixels: Tensor, which: Tensor, amount: Tensor) -> Tensor:
    """Brightness, contrast, saturation and sharpness: from black, the mean grey, the grey image or
    the smoothed one through the image and beyond. Autocontrast: each channel stretched to 0..255.
    The result is whole numbers from 0 to 255."""
    factor = 1 + _FACTOR * amount * drew(which, "brightness", "contrast", "saturation", "sharpness")
    grey = _luminance(pixels)
    origin = torch.where(
        drew(which, "saturation"), grey, grey.mean((2, 3), keepdim=True) * drew(which, "contrast")
    )
    origin = torch.where(drew(which, "sharpness"), _smooth(pixels), origin)
    low, high = pixels.amin((2, 3), keepdim=True), pixels.amax((2, 3), keepdim=True)
    stretched = drew(which, "autocontrast") & (amount != 0) & (high > low)
    slope = torch.where(stretched, 255 / (high - low).clamp_min_(1), factor)
    offset = -low * slope * stretched
    return torch.addcmul(offset, pixels, slope).addcmul_(origin, 1 - factor).round_().clamp_(0, 255)


def _by_level(pixels: Tensor, which: Tensor, amount: Tensor) -> Tensor:
    """Equalize, posterize and solarize: of each channel a table of what becomes of its 256 levels,
    and one look-up.
    """
    levels = pixels.long().flatten(2)[:, :, None]  # tables are images one pixel high
    magnitude = amount.abs()
    table = _spread(levels, drew(which, "equalize") & (magnitude != 0))
    step = (_BITS * magnitude * drew(which, "posterize")).round_().exp2_().round_()
    table = (table / step).floor_().mul_(step)
    threshold = 256 * (1 - magnitude * drew(which, "solarize"))
    table = torch.where(table < threshold, table, 255 - table)
    return table.gather(3, levels).view_as(pixels)


def _spread(levels: Tensor, equalized: Tensor) -> Tensor:
    """(N, C, 1, 256): each level, or where `equalized` what its histogram makes of it, in Pillow's
    whole numbers.
    """
    counts = torch.zeros(*levels.shape[:3], 256, dtype=torch.int32, device=levels.device)
    with _any_order():
        counts.scatter_add_(
            3, levels, torch.ones((), dtype=torch.int32, device=levels.device).expand_as(levels)
        )
    brightest = counts.gather(3, levels.amax(3, keepdim=True))
    step = (levels.shape[3] - brightest) // 255
    below = counts.cumsum(3, dtype=torch.int32) - counts
    spread = ((step // 2 + below) // step.clamp(min=1)).clamp_(max=255).float()
    plain = torch.arange(256, dtype=torch.float32, device=levels.device)
    return torch.where(equalized & (step > 0), spread, plain)


@contextmanager
def _any_order() -> Iterator[None]:
    """Whole numbers add up to the same in any order; torch's deterministic way to add them can't be
    captured.
    """
    asked = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(asked)


def _luminance(pixels: Tensor) -> Tensor:
    """(N, 1, S, S); a grey image is its own."""
    if pixels.shape[1] == 1:
        return pixels
    red, green, blue = (pixels[:, channel : channel + 1] for channel in range(3))
    return _LUMINANCE[0] * red + _LUMINANCE[1] * green + _LUMINANCE[2] * blue


def _smooth(pixels: Tensor) -> Tensor:
    """As Pillow smooths: the outermost rows and columns stay."""
    rows = pixels[:, :, :-2] + pixels[:, :, 1:-1] + pixels[:, :, 2:]
    squares = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    smoothed = pixels.clone()
    # The sum of nine counts the centre once, so it is added as often as is missing.
    smoothed[:, :, 1:-1, 1:-1].mul_(_CENTRE - _NEIGHBOUR).add_(squares, alpha=_NEIGHBOUR)
    return smoothed
