"""The grid: distinct rounded networks of equal measured FLOPs, each with the (alpha, beta, gamma) that mean it.

Done literally, the paper's grid compares unlike with unlike: around B0 the nominal constraint |alpha * beta^2 * gamma^2 - 2| <
0.1 holds 108 triples that are 65 networks of 1.9 to 3.3 times B0's FLOPs, and the biggest wins. Here depth and width factors
run over a grid, equal networks are merged, and the resolution is solved so that the *measured* FLOPs are `multiple` times
the baseline's. Rounding makes a network mean a whole box of coefficients; the box is kept, its middle is the point.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from experiment.config import ScalingSection
from experiment.errors import InputError
from scaling_search.coefficients import Coefficients
from space.cost import cost
from space.scaling import scale
from space.spec import ArchSpec

Interval = tuple[float, float]
_EDGE = 1e-6


@dataclass(frozen=True, slots=True)
class Member:
    """A network of the grid; alpha, beta, gamma are the intervals that mean it, `ratio` its FLOPs over the baseline's."""

    spec: ArchSpec
    flops: int
    ratio: float
    alpha: Interval
    beta: Interval
    gamma: Interval

    def point(self, section: ScalingSection) -> Coefficients:
        """One triple of the box: its middle, but 1 in a dimension that is not scaled."""
        alpha, beta, gamma = (_middle(interval) for interval in (self.alpha, self.beta, self.gamma))
        return Coefficients(alpha, beta, gamma, divisor=section.divisor, rounding=section.rounding)


def _middle(interval: Interval) -> float:
    return 1.0 if interval[0] == 1.0 else sum(interval) / 2


def make_grid(baseline: ArchSpec, section: ScalingSection, *, largest_side: float = math.inf) -> list[Member]:
    """Every distinct network within `tolerance` of `multiple`, by rising alpha, then beta.

    largest_side: the pixels of a side that the data can show. Raises InputError for an empty grid, naming the nearest miss,
    and for a baseline whose resolution can't grow.
    """
    require_room(baseline.resolution, section, largest_side=largest_side)
    base = cost(baseline).flops
    target = section.multiple * base
    members: list[Member] = []
    nearest = (math.inf, 0)
    for shape in _shapes(baseline, section):
        spec = _solve_resolution(shape, target, section, base=baseline.resolution, largest_side=largest_side)
        flops = cost(spec).flops
        nearest = min(nearest, (abs(flops / target - 1), flops))
        if abs(flops / target - 1) <= section.tolerance:
            members.append(_describe(baseline, spec, flops, section))
    if len(members) < 2:
        raise InputError(
            f"scaling: the grid holds {len(members)} networks within {section.tolerance:.1%} of {section.multiple:g} times "
            f"the baseline's {base:,} FLOPs (the nearest of all is at {nearest[1] / base:.3g} times); "
            "raise scaling.tolerance (--set scaling.tolerance=0.1), lower scaling.step or scaling.divisor, or widen the ranges"
        )
    return sorted(members, key=lambda member: (member.alpha, member.beta, member.gamma))


def require_room(resolution: int, section: ScalingSection, *, largest_side: float) -> None:
    """Raises InputError where no resolution is within the ranges on these images, or a baseline's can't grow at all."""
    if resolution >= largest_side and section.gamma[1] > 1:
        raise InputError(
            f"scaling.gamma: the baseline sees {resolution} pixels of a side and the images have {largest_side:g}, so gamma "
            "can't rise above 1; lower search.resolution, set data.upsample: true to enlarge images, or set gamma: [1.0, 1.0]"
        )
    low, high = _sides(resolution, section, largest_side=largest_side)
    if low > high:
        raise InputError(
            f"scaling.gamma: no whole number of pixels is from {section.gamma[0]:g} to {section.gamma[1]:g} times the "
            f"baseline's {resolution} and within the images' {largest_side:g}; lower or widen the range"
        )


def _sides(resolution: int, section: ScalingSection, *, largest_side: float) -> tuple[int, int]:
    """The smallest and the largest resolution that the range of gamma and the images allow; the first is above the second
    where there is none."""
    low, high = section.gamma
    return math.ceil(resolution * low - 1e-9), math.floor(min(resolution * high + 1e-9, largest_side))


def _shapes(baseline: ArchSpec, section: ScalingSection) -> list[ArchSpec]:
    """The distinct networks of the grid over alpha and beta, at the baseline's resolution, in the order met."""
    shapes: dict[ArchSpec, None] = {}
    for alpha in _range(section.alpha, section.step):
        for beta in _range(section.beta, section.step):
            shapes[scale(baseline, depth=alpha, width=beta, divisor=section.divisor, rounding=section.rounding)] = None
    return list(shapes)


def _range(bounds: list[float], step: float) -> list[float]:
    low, high = bounds
    count = math.floor((high - low) / step + 1e-9)
    return [round(low + index * step, 9) for index in range(count + 1)]


def _solve_resolution(shape: ArchSpec, target: float, section: ScalingSection, *, base: int, largest_side: float) -> ArchSpec:
    """`shape` at the feasible side whose FLOPs come nearest to the target (FLOPs never fall as the side rises)."""

    def at(side: int) -> ArchSpec:
        return replace(shape, resolution=side)

    low, largest = _sides(base, section, largest_side=largest_side)
    high = largest
    while low < high:  # the largest side within the target
        middle = (low + high + 1) // 2
        if cost(at(middle)).flops <= target:
            low = middle
        else:
            high = middle - 1
    candidates = [at(side) for side in (low, low + 1) if side <= largest]
    return min(candidates, key=lambda spec: abs(cost(spec).flops - target))


def _describe(baseline: ArchSpec, spec: ArchSpec, flops: int, section: ScalingSection) -> Member:
    def depths(factor: float) -> bool:
        scaled = scale(baseline, depth=factor, rounding=section.rounding)
        return [stage.depth for stage in scaled.stages] == [stage.depth for stage in spec.stages]

    def widths(factor: float) -> bool:
        scaled = scale(baseline, width=factor, divisor=section.divisor)
        return replace(scaled, stages=spec.stages, resolution=spec.resolution) == spec and [
            stage.width for stage in scaled.stages
        ] == [stage.width for stage in spec.stages]

    side = baseline.resolution
    gamma = (max(1.0, (spec.resolution - 0.5) / side), (spec.resolution + 0.5) / side)
    return Member(
        spec,
        flops,
        flops / cost(baseline).flops,
        alpha=_interval(depths, section.alpha, section.step),
        beta=_interval(widths, section.beta, section.step),
        gamma=gamma,
    )


def _interval(means: Callable[[float], bool], bounds: list[float], step: float) -> Interval:
    """The factors >= 1 that satisfy `means`, which holds on one interval that a grid point lies in."""
    inside = next(factor for factor in _range(bounds, step) if means(factor))
    low = 1.0 if means(1.0) else _edge(means, inside, 1.0)
    # A factor of exactly 1 changes nothing, also where the next larger one would already round to something else.
    return low, _edge(means, max(inside, low), 2 * inside + 1)


def _edge(means: Callable[[float], bool], inside: float, outside: float) -> float:
    """The last factor from `inside` towards `outside` that satisfies `means`, to 1e-6, by bisection."""
    while abs(outside - inside) > _EDGE:
        middle = (inside + outside) / 2
        if means(middle):
            inside = middle
        else:
            outside = middle
    return inside


def spread(members: list[Member], count: int) -> list[Member]:
    """At most `count` members that lie far apart in (log alpha, log beta, log gamma), in the order given.

    The first is the most balanced one; each next is the farthest from all chosen so far.
    """
    if len(members) <= count:
        return members
    points = [[math.log(_middle(interval)) for interval in (m.alpha, m.beta, m.gamma)] for m in members]
    chosen = [min(range(len(points)), key=lambda index: max(points[index]) - min(points[index]))]
    gaps = [math.dist(point, points[chosen[0]]) for point in points]
    while len(chosen) < count:
        chosen.append(max(range(len(points)), key=gaps.__getitem__))
        gaps = [min(gap, math.dist(point, points[chosen[-1]])) for gap, point in zip(gaps, points, strict=True)]
    return [members[index] for index in sorted(chosen)]
