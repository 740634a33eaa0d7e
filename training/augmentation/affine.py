"""Random crops, rotations, shears and translations of a batch by one affine map per image.

A map has the shape (N, 2, 3) and leads from the pixels of the result to those of the image. Its
coordinates run from -1 to 1 across the image, x first, so it does not depend on the resolution.
Maps are composed and the pixels are resampled once, bilinearly and with repeated edges, so that a
crop that is also rotated is blurred only once. Products are elementwise, for a matrix product might
use TensorFloat-32.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from phinas.training.augmentation.randaugment import operation_mask

NUM_CROP_DRAWS = 4
_MAX_ASPECT = 4 / 3  # of a crop, and of the inverse of its aspect ratio
# At magnitude 1, as in RandAugment: an angle in radians, a shear factor, and a fraction of the
# image size, which is twice as much in coordinates.
_MAX_ROTATION, _MAX_SHEAR, _MAX_TRANSLATION = math.radians(30), 0.3, 0.45


def crop_map(uniforms: Tensor, min_area: Tensor | float) -> Tensor:
    """The maps of random crops, uniform in area, logarithm of the aspect ratio, and position.

    The aspect ratio is sampled among those that fit into the image. So no crop is smaller than its
    sampled area, and none is rejected.

    Args:
        uniforms: Uniform random numbers (NUM_CROP_DRAWS, N).
        min_area: Minimum area, as a fraction of the image.
    """
    area = 1 - uniforms[0] * (1 - min_area)
    max_log_aspect = (-area.log()).clamp_max_(math.log(_MAX_ASPECT))
    sqrt_aspect = (max_log_aspect * (uniforms[1] - 0.5)).exp_()
    width, height = (
        (area.sqrt() * sqrt_aspect).clamp_max_(1),
        (area.sqrt() / sqrt_aspect).clamp_max_(1),
    )
    zero = torch.zeros_like(area)
    center_x, center_y = (1 - width) * (2 * uniforms[2] - 1), (1 - height) * (2 * uniforms[3] - 1)
    return torch.stack([width, zero, center_x, zero, height, center_y], dim=1).view(-1, 2, 3)


def operation_map(operations: Tensor, magnitudes: Tensor) -> Tensor:
    """The maps of the RandAugment operations that move pixels, one layer after the other.

    Args:
        operations: Indices of `randaugment.OPERATIONS` (NUM_LAYERS, N). Color operations have the
            identity map.
        magnitudes: Signed magnitudes (NUM_LAYERS, N).
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
    """Apply a map to each image.

    Args:
        images: uint8 (N, C, S, S).
        maps: (N, 2, 3).

    Returns:
        Rounded levels as float32 (N, C, S, S), contiguous.
    """
    size = images.shape[-1]
    centers = (torch.arange(size, device=images.device) * 2 + 1) / size - 1
    x_part = maps[:, None, :, 0] * centers[:, None]
    y_part = maps[:, None, :, 1] * centers[:, None] + maps[:, None, :, 2]
    grid = y_part[:, :, None] + x_part[:, None]
    return F.grid_sample(
        images.float(), grid, mode="bilinear", padding_mode="border", align_corners=False
    ).round_()
