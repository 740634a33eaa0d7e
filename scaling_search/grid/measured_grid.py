"""The grid: distinct rounded networks of equal measured FLOPs, each with the (alpha, beta, gamma)
that mean it.

Done literally, the paper's grid compares unlike with unlike (`nominal`). Here depth and width
factors run over a grid, equal networks are merged, and the resolution is solved so that the
*measured* FLOPs are `multiple` times the baseline's.

One resolution a shape, the nearest to the budget, and of resolutions that cost the same the
largest. All feasible sides within the tolerance would make B0's default grid 132 networks in place
of 14: eight or ten neighbours of each, a pixel apart, which no training tells from one another, and
among which more FLOPs would win again. At 32 pixels there is but one or two a shape.
"""

import math
from dataclasses import replace

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import ScalingSection
from phinas.scaling_search.grid.candidates import advice, find_candidates
from phinas.scaling_search.grid.depth_width_grid import Shapes
from phinas.scaling_search.grid.farthest_point import spread
from phinas.scaling_search.grid.grid_member import (
    Interval,
    Member,
    constraint_in_words,
    describe_grid,
)
from phinas.scaling_search.grid.nominal import nominal_grid
from phinas.scaling_search.grid.resolutions import feasible_sides, require_room
from phinas.space.spec import ArchSpec

__all__ = [
    "Interval",
    "Member",
    "constraint_in_words",
    "describe_grid",
    "make_grid",
    "require_room",
    "spread",
]


def make_grid(
    baseline: ArchSpec, section: ScalingSection, *, largest_side: float = math.inf
) -> list[Member]:
    """Every distinct network that the constraint admits, by rising alpha, then beta, then gamma: at
    least two.

    largest_side: the pixels of a side that the data can show. Raises InputError for a grid of
    fewer, naming the nearest miss and what to change, for one too large to look through, and for a
    baseline whose resolution can't grow.
    """
    require_room(baseline.resolution, section, largest_side=largest_side)
    if section.constraint == "nominal":
        return nominal_grid(baseline, section, largest_side=largest_side).members
    if section.compare_at != 1:
        return _at_phi(baseline, section, largest_side=largest_side)
    shapes = Shapes(baseline, section)
    sides = feasible_sides(baseline.resolution, section, largest_side=largest_side)
    candidates = find_candidates(shapes, section.multiple, sides)
    near = [candidate for candidate in candidates if candidate.off <= section.tolerance]
    if len(near) < 2:
        held = "one network" if near else "no network"
        remedy = advice(candidates, section, baseline.resolution, largest_side=largest_side)
        raise InputError(
            f"scaling: the grid needs two and holds {held} {constraint_in_words(section)}; {remedy}"
        )
    members = [
        shapes.member(candidate.depth, candidate.width, candidate.side) for candidate in near
    ]
    return sorted(members, key=lambda member: (member.alpha, member.beta, member.gamma))


def _at_phi(baseline: ArchSpec, section: ScalingSection, *, largest_side: float) -> list[Member]:
    """The grid at another phi than 1: factors and FLOPs are of that phi, the intervals of alpha,
    beta, gamma their roots.
    """
    phi = section.compare_at

    def raised(bounds: list[float]) -> list[float]:
        return [bound**phi for bound in bounds]

    ranges = {name: raised(getattr(section, name)) for name in ("alpha", "beta", "gamma")}
    enlarged = section.model_copy(
        update={"multiple": section.multiple**phi, "compare_at": 1.0, **ranges}
    )

    def root(interval: Interval) -> Interval:
        return interval[0] ** (1 / phi), interval[1] ** (1 / phi)

    members = make_grid(baseline, enlarged, largest_side=largest_side)
    return [
        replace(each, alpha=root(each.alpha), beta=root(each.beta), gamma=root(each.gamma))
        for each in members
    ]
