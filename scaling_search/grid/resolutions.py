"""The feasible resolutions of a grid, and the one nearest to a budget of FLOPs."""

import math
from bisect import bisect_right
from collections.abc import Callable
from typing import Any

from phinas.experiment.errors import InputError
from phinas.experiment.schema.scaling import TOLERANCE_WITHOUT_RESOLUTION, ScalingSection
from phinas.space.spec import MAX_RESOLUTION


def adapt_section(
    section: ScalingSection, resolution: int, *, max_resolution: float
) -> ScalingSection:
    """The section with the defaults for these images: without room for a higher resolution, depth
    and width are scaled alone.

    Args:
        section: The configuration of the scaling search.
        resolution: Of the baseline, in px.
        max_resolution: Of networks for these images, in px.
    """
    if not scales_without_resolution(section, resolution, max_resolution=max_resolution):
        return section
    changes: dict[str, Any] = {"gamma": [1.0, 1.0]}
    if section.tolerance is None:
        changes["tolerance"] = TOLERANCE_WITHOUT_RESOLUTION
    return section.model_copy(update=changes)


def scales_without_resolution(
    section: ScalingSection, resolution: int, *, max_resolution: float
) -> bool:
    """Whether the range of gamma is a default that the images leave no room for."""
    return section.gamma is None and resolution == limit_resolution(
        section, max_resolution=max_resolution
    )


def limit_resolution(section: ScalingSection, *, max_resolution: float) -> float:
    """The highest resolution in px for the grid: that of the images or of the configuration.

    Args:
        section: The configuration of the scaling search.
        max_resolution: Of networks for these images, in px.
    """
    return min(max_resolution, section.max_resolution or math.inf)


def check_resolution_range(
    resolution: int, section: ScalingSection, *, max_resolution: float
) -> None:
    """Check that there is a feasible resolution.

    Args:
        resolution: Of the baseline, in px.
        max_resolution: Of networks for these images, in px.

    Raises:
        InputError: There is none, or the resolution of the baseline cannot be scaled up.
    """
    section = adapt_section(section, resolution, max_resolution=max_resolution)
    gamma = section.ranges["gamma"]
    limit = limit_resolution(section, max_resolution=max_resolution)
    by_option = limit < max_resolution
    limit_text = f"{'scaling.max_resolution' if by_option else 'the image size'} ({limit:g} px)"
    if resolution >= limit and gamma[1] > 1:
        remedy = (
            "raise scaling.max_resolution"
            if by_option
            else "set data.upsample: true to enlarge the images"
        )
        raise InputError(
            f"scaling.gamma: cannot exceed 1, because the baseline's resolution ({resolution} px) "
            f"is not below {limit_text}; lower search.resolution (such as {limit * 3 // 4:g}), "
            f"{remedy}, or set scaling.gamma: [1.0, 1.0]"
        )
    low, high = feasible_resolutions(resolution, section, max_resolution=max_resolution)
    if low > high:
        raise InputError(
            f"scaling.gamma: no resolution is from {gamma[0]:g} to {gamma[1]:g} "
            f"times the baseline's {resolution} px and at most {limit_text}; lower or widen the "
            "range"
        )


def feasible_resolutions(
    resolution: int, section: ScalingSection, *, max_resolution: float
) -> tuple[int, int]:
    """The smallest and the largest resolution in px that the range of gamma and the images allow.

    The first is above the second where there is none.
    """
    low, high = section.ranges["gamma"]
    return math.ceil(resolution * low - 1e-9), math.floor(
        min(
            resolution * high + 1e-9,
            limit_resolution(section, max_resolution=max_resolution),
            MAX_RESOLUTION,
        )
    )


def solve_resolution(flops: Callable[[int], float], target: float, low: int, high: int) -> int:
    """The resolution from `low` to `high` px whose FLOPs are nearest to `target`; of resolutions
    with equal FLOPs, the largest.

    FLOPs never fall as the resolution rises. After a stem of stride 2 an odd resolution has the
    FLOPs of the next even one.
    """
    # The largest resolution within the target, or `low`.
    nearest = low + bisect_right(range(low + 1, high + 1), target, key=flops)
    if nearest < high and abs(flops(nearest) - target) > abs(flops(nearest + 1) - target):
        nearest += 1
    while nearest < high and flops(nearest + 1) == flops(nearest):
        nearest += 1
    return nearest
