"""Random crops, rotations, shears and translations of a batch, as one map from each image's new
pixels to its old ones.

The one decision to know: maps are composed and the pixels are resampled once, bilinearly and with
the edges repeated, so that a crop which is also turned is blurred once. A map is (N, 2, 3):
coordinates from -1 to 1 across the image, x first, so an image is treated alike at every
resolution. Products are elementwise: a matrix product might run in TensorFloat-32.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from phinas.training.augmentation.randaugment import operation_mask

NUM_CROP_DRAWS = 4
_MAX_ASPECT = 4 / 3  # crops are at most this much wider than high, or higher than wide
# At magnitude 1, as in RandAugment: radians, sides a side, and a fraction of the side (half of the
# coordinates' range).
_MAX_ROTATION, _MAX_SHEAR, _MAX_TRANSLATION = math.radians(30), 0.3, 0.45


def crop_map(uniforms: Tensor, min_area: Tensor | float) -> Tensor:
    """A rectangle of at least the fraction `min_area` of the area, uniform in area, log aspect and
    place; of uniform (4, N).

    The aspect is drawn among those that fit inside the image, so none is drawn twice and no area
    falls short.
    """
    area = 1 - uniforms[0] * (1 - min_area)
    max_log_aspect = (-area.log()).clamp_max_(math.log(_MAX_ASPECT))
    sqrt_aspect = (max_log_aspect * (uniforms[1] - 0.5)).exp_()  # of the aspect
    width, height = (
        (area.sqrt() * sqrt_aspect).clamp_max_(1),
        (area.sqrt() / sqrt_aspect).clamp_max_(1),
    )
    zero = torch.zeros_like(area)
    center_x, center_y = (1 - width) * (2 * uniforms[2] - 1), (1 - height) * (2 * uniforms[3] - 1)
    return torch.stack([width, zero, center_x, zero, height, center_y], dim=1).view(-1, 2, 3)


def operation_map(operations: Tensor, magnitudes: Tensor) -> Tensor:
    """The operations (NUM_LAYERS, N) of `phinas.training.augmentation.randaugment` that move
    pixels, one after the other; the others move nothing.
    """
    angle = _MAX_ROTATION * magnitudes * operation_mask(operations, "rotate")
    shear_x, shear_y = (
        _MAX_SHEAR * magnitudes * operation_mask(operations, name)
        for name in ("shear_x", "shear_y")
    )
    translate_x, translate_y = (
        2 * _MAX_TRANSLATION * magnitudes * operation_mask(operations, name)
        for name in ("translate_x", "translate_y")
    )
    cos, sin = angle.cos(), angle.sin()
    maps = torch.stack(
        [cos, shear_x - sin, translate_x, shear_y + sin, cos, translate_y], dim=2
    ).view(len(operations), -1, 2, 3)
    composed = maps[0]
    for layer in maps[1:]:
        composed = compose(composed, layer)
    return composed


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """The map that applies `inner` and then `outer`."""
    linear = (outer[:, :, :2, None] * inner[:, None]).sum(2)
    return torch.cat([linear[:, :, :2], linear[:, :, 2:] + outer[:, :, 2:]], dim=2)


def resample(images: Tensor, maps: Tensor) -> Tensor:
    """uint8 (N, C, S, S) to whole numbers as float, channels first in memory: each pixel from where
    its map points.
    """
    size = images.shape[-1]
    centers = (torch.arange(size, device=images.device) * 2 + 1) / size - 1
    x_part = maps[:, None, :, 0] * centers[:, None]
    y_part = maps[:, None, :, 1] * centers[:, None] + maps[:, None, :, 2]
    grid = y_part[:, :, None] + x_part[:, None]
    return F.grid_sample(
        images.float(), grid, mode="bilinear", padding_mode="border", align_corners=False
    ).round_()
