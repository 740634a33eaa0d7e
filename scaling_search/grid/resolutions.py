"""Which resolutions there are for a grid, and which of them meets a budget of FLOPs."""

import math
from bisect import bisect_right

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import ScalingSection
from phinas.space.cost_by_resolution import FlopsPerPixel, flops_at
from phinas.space.spec import MAX_RESOLUTION


def check_resolution_range(
    resolution: int, section: ScalingSection, *, max_resolution: float
) -> None:
    """Raises InputError where no resolution is within the ranges on these images, or a baseline's
    can't grow at all.
    """
    if resolution >= max_resolution and section.gamma[1] > 1:
        raise InputError(
            f"scaling.gamma: the baseline sees {resolution} pixels of a side and the images have "
            f"{max_resolution:g}, so gamma "
            "can't rise above 1; lower search.resolution, set data.upsample: true to enlarge "
            "images, or set gamma: [1.0, 1.0]"
        )
    low, high = feasible_resolutions(resolution, section, max_resolution=max_resolution)
    if low > high:
        raise InputError(
            f"scaling.gamma: no whole number of pixels is from {section.gamma[0]:g} to "
            f"{section.gamma[1]:g} times the "
            f"baseline's {resolution} and within the images' {max_resolution:g}; lower or widen "
            "the "
            "range"
        )


def feasible_resolutions(
    resolution: int, section: ScalingSection, *, max_resolution: float
) -> tuple[int, int]:
    """The smallest and the largest resolution that the range of gamma and the images allow; the
    first is above the second where there is none."""
    low, high = section.gamma
    return math.ceil(resolution * low - 1e-9), math.floor(
        min(resolution * high + 1e-9, max_resolution, MAX_RESOLUTION)
    )


def solve_resolution(flops_per_pixel: FlopsPerPixel, target: float, low: int, high: int) -> int:
    """The resolution from `low` to `high` whose FLOPs are nearest to `target`; of resolutions that
    cost the same, the largest.

    FLOPs never fall as the resolution rises. After a stem of stride 2 an odd resolution costs what
    the next even one does.
    """

    def flops(resolution: int) -> int:
        return flops_at(flops_per_pixel, resolution)

    # The largest resolution within the target, or `low`.
    nearest = low + bisect_right(range(low + 1, high + 1), target, key=flops)
    if nearest < high and abs(flops(nearest) - target) > abs(flops(nearest + 1) - target):
        nearest += 1
    while nearest < high and flops(nearest + 1) == flops(nearest):
        nearest += 1
    return nearest
