"""Every shape of a grid at the resolution nearest to the wanted FLOPs, and what to change where too
few meet them.
"""

import math
from dataclasses import dataclass

from phinas.experiment.schema.config import ScalingSection
from phinas.scaling_search.grid.depth_width_grid import Shapes
from phinas.scaling_search.grid.grid_member import middle
from phinas.scaling_search.grid.resolutions import feasible_sides, solve_side
from phinas.scaling_search.grid.rounding_intervals import Plan
from phinas.space.cost_by_resolution import flops_at


@dataclass(frozen=True, slots=True)
class Candidate:
    """A shape at its side. ratio: FLOPs over the baseline's; off: how far they are from the target,
    relatively; least and
    greatest: the ratio at the smallest and at the largest side."""

    depth: Plan
    width: Plan
    side: int
    ratio: float
    off: float
    least: float
    greatest: float


def find_candidates(shapes: Shapes, multiple: float, sides: tuple[int, int]) -> list[Candidate]:
    """sides: the smallest and the largest feasible one."""
    base, target = shapes.base_flops, multiple * shapes.base_flops
    candidates = []
    for width in shapes.different_widths:
        for depth in shapes.different_depths:
            weights = shapes.weights(depth, width)
            side = solve_side(weights, target, *sides)
            ratio, least, greatest = (flops_at(weights, pixels) / base for pixels in (side, *sides))
            candidates.append(
                Candidate(depth, width, side, ratio, abs(ratio / multiple - 1), least, greatest)
            )
    return candidates


def advice(
    candidates: list[Candidate], section: ScalingSection, resolution: int, *, largest_side: float
) -> str:
    """How near the nearest comes, and what to change so that two at least meet the FLOPs.
    resolution: the baseline's.
    """
    first, *others = sorted(candidates, key=lambda candidate: candidate.off)
    alpha, beta = middle(first.depth.factors), middle(first.width.factors)
    nearest = (
        f"the nearest of all is at {first.ratio:.3g} times (alpha {alpha:.3g}, beta "
        f"{beta:.3g}, {first.side} pixels)"
    )
    least, greatest = min(one.least for one in candidates), max(one.greatest for one in candidates)
    capped = feasible_sides(resolution, section, largest_side=math.inf)[1] > largest_side
    images = f"(gamma ends at the images' {largest_side:g} pixels: set data.upsample: true)"
    if greatest < section.multiple:
        gamma = images if capped else "or scaling.gamma"
        multiple = math.floor(100 * greatest) / 100
        remedy = (
            f"raise the upper bound of scaling.alpha, scaling.beta {gamma}, or lower "
            f"scaling.multiple to {multiple:g}"
        )
        return f"{nearest}, and the ranges reach no further than {greatest:.3g}; {remedy}"
    if least > section.multiple:
        multiple = math.ceil(100 * least) / 100
        remedy = (
            "lower the lower bound of scaling.alpha, scaling.beta or scaling.gamma, or "
            f"raise scaling.multiple to {multiple:g}"
        )
        return f"{nearest}, and the ranges begin at {least:.3g}; {remedy}"
    if not others:
        return (
            f"{nearest}, and there is one depth and one width; widen scaling.alpha or "
            "scaling.beta, or lower scaling.step"
        )
    tolerance = math.ceil(1000 * others[0].off) / 1000
    enough = (
        f"raise scaling.tolerance to {tolerance:g}, which holds two, " if tolerance <= 0.5 else ""
    )
    return (
        f"{nearest}; {enough}lower scaling.step or scaling.divisor, or widen the "
        f"ranges{' ' + images if capped else ''}"
    )
