"""Every shape of a grid at the resolution nearest to the target FLOPs, and what to change where too
few are near enough.
"""

import math
from dataclasses import dataclass

from phinas.experiment.schema.config import ScalingSection
from phinas.scaling_search.grid.grid_member import interval_midpoint
from phinas.scaling_search.grid.resolutions import feasible_resolutions, limit_resolution
from phinas.scaling_search.grid.rounding_intervals import RoundingInterval
from phinas.scaling_search.grid.shape_grid import ShapeGrid


@dataclass(frozen=True, slots=True)
class Candidate:
    """Depths and widths at the resolution nearest to the target FLOPs.

    Attributes:
        depth: Depths and the factors that round to them.
        width: Widths and the factors that round to them.
        resolution: In px.
        ratio: FLOPs over the baseline's.
        relative_error: Of the FLOPs from the target.
        min_ratio: The ratio at the smallest feasible resolution.
        max_ratio: The ratio at the largest feasible resolution.
    """

    depth: RoundingInterval
    width: RoundingInterval
    resolution: int
    ratio: float
    relative_error: float
    min_ratio: float
    max_ratio: float


def make_candidates(
    shape_grid: ShapeGrid, flops_multiple: float, resolution_range: tuple[int, int]
) -> list[Candidate]:
    """A candidate for each shape of the grid.

    Args:
        resolution_range: The smallest and the largest feasible resolution in px.
    """
    base_flops = shape_grid.base_flops
    target = flops_multiple * base_flops
    candidates = []
    for width in shape_grid.distinct_widths:
        for depth in shape_grid.distinct_depths:
            resolution = shape_grid.solve_resolution(depth, width, target, *resolution_range)
            ratio, min_ratio, max_ratio = (
                shape_grid.flops(depth, width, size) / base_flops
                for size in (resolution, *resolution_range)
            )
            error = abs(ratio / flops_multiple - 1)
            candidates.append(
                Candidate(depth, width, resolution, ratio, error, min_ratio, max_ratio)
            )
    return candidates


def suggest_changes(
    candidates: list[Candidate],
    section: ScalingSection,
    resolution: int,
    *,
    phi: float,
    max_resolution: float,
) -> str:
    """The nearest candidate, and what to change so that at least two are near enough.

    Args:
        section: With the factors and FLOPs of the compared phi.
        resolution: Of the baseline, in px.
        phi: The compared phi.
        max_resolution: Of networks for these images, in px.
    """
    nearest, *other_candidates = sorted(candidates, key=lambda candidate: candidate.relative_error)
    alpha = interval_midpoint(nearest.depth.factors) ** (1 / phi)
    beta = interval_midpoint(nearest.width.factors) ** (1 / phi)
    nearest_text = (
        f"the nearest has {nearest.ratio:.3g} times (alpha {alpha:.3g}, beta {beta:.3g}, "
        f"{nearest.resolution} px)"
    )
    min_ratio = min(candidate.min_ratio for candidate in candidates)
    max_ratio = max(candidate.max_ratio for candidate in candidates)
    limit = limit_resolution(section, max_resolution=max_resolution)
    unlimited = section.model_copy(update={"max_resolution": None})
    is_capped = feasible_resolutions(resolution, unlimited, max_resolution=math.inf)[1] > limit
    images_text = (
        f"(scaling.max_resolution {limit:g} px limits gamma: raise it)"
        if limit < max_resolution
        else f"(the image size {limit:g} px limits gamma: set data.upsample: true)"
    )
    if max_ratio < section.flops_multiple:
        gamma_text = images_text if is_capped else "or scaling.gamma"
        flops_multiple = math.floor(100 * max_ratio ** (1 / phi)) / 100
        suggestion = (
            f"raise the upper bound of scaling.alpha, scaling.beta {gamma_text}, or lower "
            f"scaling.flops_multiple to {flops_multiple:g}"
        )
        return f"{nearest_text}, and the ranges end at {max_ratio:.3g}; {suggestion}"
    if min_ratio > section.flops_multiple:
        flops_multiple = math.ceil(100 * min_ratio ** (1 / phi)) / 100
        suggestion = (
            "lower the lower bound of scaling.alpha, scaling.beta or scaling.gamma, or "
            f"raise scaling.flops_multiple to {flops_multiple:g}"
        )
        return f"{nearest_text}, and the ranges begin at {min_ratio:.3g}; {suggestion}"
    if not other_candidates:
        return (
            f"{nearest_text}, and there is only one depth and one width; widen scaling.alpha or "
            "scaling.beta, or lower scaling.grid_step"
        )
    tolerance = math.ceil(1000 * other_candidates[0].relative_error) / 1000
    tolerance_text = (
        f"raise scaling.tolerance to {tolerance:g} for two networks, " if tolerance <= 0.5 else ""
    )
    return (
        f"{nearest_text}; {tolerance_text}lower scaling.grid_step or scaling.divisor, or widen the "
        f"ranges{' ' + images_text if is_capped else ''}"
    )
