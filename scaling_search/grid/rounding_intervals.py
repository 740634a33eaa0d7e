"""What each factor makes of a dimension of the baseline: the different depths, widths and sides of
a grid, each once.

Most factors of a grid mean what their neighbours mean (around B0, 21 depth factors from 1 to 2 are
7 plans with `ceil`), and depth, width and resolution are rounded apart. So a grid is rounded a
dimension at a time: as many roundings as there are factors, not as there are triples.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

from phinas.scaling_search.grid.grid_member import Interval, interval_around
from phinas.space.scaling import (
    DepthRounding,
    all_widths,
    round_depth,
    round_side,
    round_width,
    run_depths,
    scaled_depths,
    scaled_widths,
)
from phinas.space.spec import ArchSpec

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """sizes: blocks of the runs (`phinas.space.scaling.run_depths`), or widths (`all_widths`), or
    the side.
    """

    sizes: Sizes
    find_factors: Callable[[], Interval] = field(repr=False, compare=False)

    @cached_property
    def factors(self) -> Interval:
        """All factors that mean these sizes; found when asked for, since few plans of a large grid
        are ever.
        """
        return self.find_factors()


def factors_of(bounds: Sequence[float], step: float) -> list[float]:
    """From the lower bound up in steps, to the upper bound where a step meets it."""
    low, high = bounds
    return [
        round(low + index * step, 9) for index in range(math.floor((high - low) / step + 1e-9) + 1)
    ]


def depth_plans(
    baseline: ArchSpec, factors: Sequence[float], rounding: DepthRounding
) -> dict[float, Plan]:
    """The plan of each factor; equal plans are one object. `baseline` is `simplified`, as for
    `width_plans`.
    """
    depths = run_depths(baseline)
    if rounding == "balanced":
        rounded, parts = _nearest, [sum(depths)]
    else:
        rounded, parts = (_up if rounding == "ceil" else _nearest), depths
    return _plans(
        factors,
        lambda factor: tuple(scaled_depths(depths, factor, rounding=rounding)),
        lambda factor, _: _common(parts, factor, rounded),
    )


def width_plans(baseline: ArchSpec, factors: Sequence[float], divisor: int) -> dict[float, Plan]:
    widths = all_widths(baseline)
    parts = sorted({width for width in widths if width})

    def rounded(width: float) -> int:
        return round_width(width, divisor=divisor)

    def interval(factor: float, sizes: Sizes) -> Interval:
        unchanged = sizes == tuple(widths)
        if unchanged and any(rounded(width) != width for width in parts):
            return 1.0, 1.0  # rounding would move a width, and moves none at a factor of exactly 1
        low, high = _common(parts, factor, rounded)
        return (low if unchanged or low > 1 else math.nextafter(1.0, 2.0)), high

    return _plans(
        factors, lambda factor: tuple(scaled_widths(widths, factor, divisor=divisor)), interval
    )


def side_plan(resolution: int, side: int) -> Plan:
    """Of the factors of `resolution` pixels that are rounded to `side`, which is no fewer."""
    return Plan((side,), partial(_common, [resolution], side / resolution, round_side))


def _up(depth: float) -> int:
    return round_depth(depth, rounding="ceil")


def _nearest(depth: float) -> int:
    return round_depth(depth, rounding="round")


def _common(parts: Sequence[int], factor: float, rounded: Callable[[float], int]) -> Interval:
    """The factors that round every part as `factor` does."""
    wanted = [(part, rounded(part * factor)) for part in parts]
    return interval_around(
        factor, lambda other: all(rounded(part * other) == size for part, size in wanted)
    )


def _plans(
    factors: Sequence[float],
    sizes_of: Callable[[float], Sizes],
    interval: Callable[[float, Sizes], Interval],
) -> dict[float, Plan]:
    known: dict[Sizes, Plan] = {}
    plans = {}
    for factor in factors:
        sizes = sizes_of(factor)
        if sizes not in known:
            known[sizes] = Plan(sizes, partial(interval, factor, sizes))
        plans[factor] = known[sizes]
    return plans
