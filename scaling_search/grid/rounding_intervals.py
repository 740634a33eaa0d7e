"""The different depths, widths and resolutions that the factors of a grid round to, each once.

Most factors of a grid round to the same sizes as their neighbors: around B0, 21 depth factors from
1 to 2 give 7 different depths with `ceil`. Depth, width and resolution are rounded separately, so a
grid needs one rounding for each factor, not for each triple.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

from phinas.experiment.artifacts.artifact import Interval
from phinas.scaling_search.grid.grid_member import equivalent_interval
from phinas.space.scaling import (
    DepthRounding,
    round_depth,
    round_resolution,
    round_width,
    scale_depths,
    scale_widths,
)
from phinas.space.spec import ArchSpec

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class RoundingInterval:
    """Rounded sizes of one dimension, and the factors that round to them.

    Attributes:
        sizes: Blocks of the groups (`ArchSpec.group_depths`), or widths (`ArchSpec.widths`), or the
            resolution.
        find_factors: Computes the factors.
    """

    sizes: Sizes
    find_factors: Callable[[], Interval] = field(repr=False, compare=False)

    @cached_property
    def factors(self) -> Interval:
        """All factors that round to these sizes. They are computed on first use, since few
        intervals of a large grid are used.
        """
        return self.find_factors()


def grid_factors(bounds: Sequence[float], step: float) -> list[float]:
    """From the lower bound in steps, up to the upper bound at most."""
    low, high = bounds
    return [
        round(low + index * step, 9) for index in range(math.floor((high - low) / step + 1e-9) + 1)
    ]


def depth_intervals(
    baseline: ArchSpec, factors: Sequence[float], rounding: DepthRounding
) -> dict[float, RoundingInterval]:
    """The rounding interval of each factor; equal ones are one object.

    Args:
        baseline: In its simplest form (`ArchSpec.canonicalize`).
    """
    depths = baseline.group_depths
    if rounding == "balanced":
        round_size, sizes_to_round = _round_nearest, [sum(depths)]
    else:
        round_size, sizes_to_round = (_round_up if rounding == "ceil" else _round_nearest), depths
    return _rounding_intervals(
        factors,
        lambda factor: tuple(scale_depths(depths, factor, rounding=rounding)),
        lambda factor, _: _common_interval(sizes_to_round, factor, round_size),
    )


def width_intervals(
    baseline: ArchSpec, factors: Sequence[float], divisor: int
) -> dict[float, RoundingInterval]:
    widths = baseline.widths
    sizes_to_round = sorted({width for width in widths if width})

    def round_size(width: float) -> int:
        return round_width(width, divisor=divisor)

    def interval(factor: float, sizes: Sizes) -> Interval:
        unchanged = sizes == tuple(widths)
        if unchanged and any(round_size(width) != width for width in sizes_to_round):
            return 1.0, 1.0  # only a factor of exactly 1 leaves all widths as they are
        low, high = _common_interval(sizes_to_round, factor, round_size)
        return (low if unchanged or low > 1 else math.nextafter(1.0, 2.0)), high

    return _rounding_intervals(
        factors, lambda factor: tuple(scale_widths(widths, factor, divisor=divisor)), interval
    )


def resolution_interval(baseline_resolution: int, resolution: int) -> RoundingInterval:
    """The factors of the baseline's resolution that round to `resolution` (not smaller)."""
    factor = resolution / baseline_resolution
    return RoundingInterval(
        (resolution,), partial(_common_interval, [baseline_resolution], factor, round_resolution)
    )


def _round_up(depth: float) -> int:
    return round_depth(depth, rounding="ceil")


def _round_nearest(depth: float) -> int:
    return round_depth(depth, rounding="round")


def _common_interval(
    sizes_to_round: Sequence[int], factor: float, round_size: Callable[[float], int]
) -> Interval:
    """The factors that round every size as `factor` does."""
    targets = [(size, round_size(size * factor)) for size in sizes_to_round]
    return equivalent_interval(
        factor, lambda other: all(round_size(size * other) == target for size, target in targets)
    )


def _rounding_intervals(
    factors: Sequence[float],
    sizes_of: Callable[[float], Sizes],
    interval: Callable[[float, Sizes], Interval],
) -> dict[float, RoundingInterval]:
    interval_by_sizes: dict[Sizes, RoundingInterval] = {}
    intervals = {}
    for factor in factors:
        sizes = sizes_of(factor)
        if sizes not in interval_by_sizes:
            interval_by_sizes[sizes] = RoundingInterval(sizes, partial(interval, factor, sizes))
        intervals[factor] = interval_by_sizes[sizes]
    return intervals
