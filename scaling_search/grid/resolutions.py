"""Which resolutions there are for a grid, and which of them meets a budget of FLOPs."""

import math

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import ScalingSection
from phinas.space.cost_by_resolution import Weights, flops_at
from phinas.space.spec import MAX_SIDE


def require_room(resolution: int, section: ScalingSection, *, largest_side: float) -> None:
    """Raises InputError where no resolution is within the ranges on these images, or a baseline's
    can't grow at all.
    """
    if resolution >= largest_side and section.gamma[1] > 1:
        raise InputError(
            f"scaling.gamma: the baseline sees {resolution} pixels of a side and the images have "
            f"{largest_side:g}, so gamma "
            "can't rise above 1; lower search.resolution, set data.upsample: true to enlarge "
            "images, or set gamma: [1.0, 1.0]"
        )
    low, high = feasible_sides(resolution, section, largest_side=largest_side)
    if low > high:
        raise InputError(
            f"scaling.gamma: no whole number of pixels is from {section.gamma[0]:g} to "
            f"{section.gamma[1]:g} times the "
            f"baseline's {resolution} and within the images' {largest_side:g}; lower or widen the "
            "range"
        )


def feasible_sides(
    resolution: int, section: ScalingSection, *, largest_side: float
) -> tuple[int, int]:
    """The smallest and the largest resolution that the range of gamma and the images allow; the
    first is above the second where there is none."""
    low, high = section.gamma
    return math.ceil(resolution * low - 1e-9), math.floor(
        min(resolution * high + 1e-9, largest_side, MAX_SIDE)
    )


def solve_side(weights: Weights, target: float, low: int, high: int) -> int:
    """The side from `low` to `high` whose FLOPs come nearest to `target`; of sides that cost the
    same, the largest.

    FLOPs never fall as the side rises. Behind a stem of stride 2 an odd side costs what the next
    even one does.
    """

    def flops(side: int) -> int:
        return flops_at(weights, side)

    within, beyond = (
        low,
        high + 1,
    )  # the largest side within the target, if that is not already below `low`
    while beyond - within > 1:
        between = (within + beyond) // 2
        if flops(between) <= target:
            within = between
        else:
            beyond = between
    nearest = (
        within
        if within == high or abs(flops(within) - target) <= abs(flops(within + 1) - target)
        else within + 1
    )
    while nearest < high and flops(nearest + 1) == flops(nearest):
        nearest += 1
    return nearest
