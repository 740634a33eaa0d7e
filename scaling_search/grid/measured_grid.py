"""The grid: distinct rounded networks of equal measured FLOPs, each with the (alpha, beta, gamma)
that round to it.

The paper's grid, taken literally, compares networks of different FLOPs (`nominal`). Here depth and
width factors are on a grid, equal networks are merged, and the resolution is solved so that the
*measured* FLOPs are `flops_multiple` times the baseline's.

Each shape has one resolution: the nearest to the budget, and of resolutions with equal FLOPs the
largest. With all resolutions within the tolerance, B0's default grid would have 132 networks
instead of 14: eight to ten for each shape, one px apart, which trainings do not distinguish and of
which the one with more FLOPs would be best. At 32 px a shape has only one or two.
"""

import math
from dataclasses import replace

from phinas.experiment.artifacts.artifact import Interval
from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import ScalingSection
from phinas.scaling_search.grid.candidates import make_candidates, suggest_changes
from phinas.scaling_search.grid.grid_member import GridMember, describe_constraint
from phinas.scaling_search.grid.grid_shapes import make_shape_grid
from phinas.scaling_search.grid.nominal import nominal_grid
from phinas.scaling_search.grid.resolutions import (
    adapt_section,
    check_resolution_range,
    feasible_resolutions,
)
from phinas.space.network import ScalableNetwork


def make_grid(
    baseline: ScalableNetwork, section: ScalingSection, *, max_resolution: float = math.inf
) -> list[GridMember]:
    """Every distinct network that satisfies the constraint, by rising alpha, beta, gamma.

    Args:
        max_resolution: Of networks for these images, in px.

    Returns:
        At least two networks.

    Raises:
        InputError: Fewer than two networks satisfy the constraint, the grid is too large, or the
            resolution of the baseline cannot be scaled up.
    """
    check_resolution_range(baseline.resolution, section, max_resolution=max_resolution)
    section = adapt_section(section, baseline.resolution, max_resolution=max_resolution)
    if section.constraint == "nominal":
        return nominal_grid(baseline, section, max_resolution=max_resolution).members
    phi = section.compared_phi
    section = _raise_to_phi(section)
    shape_grid = make_shape_grid(baseline, section)
    resolution_range = feasible_resolutions(
        baseline.resolution, section, max_resolution=max_resolution
    )
    candidates = make_candidates(shape_grid, section.flops_multiple, resolution_range)
    near_target = [
        candidate for candidate in candidates if candidate.relative_error <= section.max_deviation
    ]
    if len(near_target) < 2:
        count_text = "one" if near_target else "none"
        suggestion = suggest_changes(
            candidates, section, baseline.resolution, phi=phi, max_resolution=max_resolution
        )
        raise InputError(
            f"scaling.tolerance: the grid needs two networks and has {count_text} "
            f"{describe_constraint(section)}; {suggestion}"
        )
    members = [
        shape_grid.member(candidate.depth, candidate.width, candidate.resolution)
        for candidate in near_target
    ]
    # A model builder may make one network of two depths or widths.
    members = list({member.spec.network_id: member for member in reversed(members)}.values())
    roots = [
        replace(
            member,
            alpha=_take_root(member.alpha, phi),
            beta=_take_root(member.beta, phi),
            gamma=_take_root(member.gamma, phi),
        )
        for member in members
    ]
    return sorted(roots, key=lambda member: (member.alpha, member.beta, member.gamma))


def _raise_to_phi(section: ScalingSection) -> ScalingSection:
    """The section with the factors and FLOPs of the compared phi as those of phi 1."""
    phi = section.compared_phi
    ranges = {name: [bound**phi for bound in bounds] for name, bounds in section.ranges.items()}
    return section.model_copy(
        update={"flops_multiple": section.flops_multiple**phi, "grid_phi": 1.0, **ranges}
    )


def _take_root(interval: Interval, phi: float) -> Interval:
    return interval[0] ** (1 / phi), interval[1] ** (1 / phi)
