"""A network of the grid, and the box of (alpha, beta, gamma) that mean it.

Rounding makes a network mean many triples. Depth, width and resolution are rounded apart from one
another, and each rises with its factor, so the factors that mean a depth, a width or a resolution
are one interval each, and the triples that mean a network are a box. For the same reason different
(depths, widths, resolution) of a grid are different networks: that which has more blocks in one
place has no fewer in any other.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from phinas.experiment.schema.config import ScalingSection
from phinas.scaling_search.coefficients import Coefficients
from phinas.space.spec import ArchSpec

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class GridMember:
    """A network of the grid in its simplest form (`ArchSpec.canonicalize`), so that the stages
    of all members correspond; alpha, beta, gamma are the intervals that mean it, `ratio` its FLOPs
    over the baseline's.

    The intervals are closed and exact to the last bit: each float of 1 or more in them means this
    network, the next one outside does not.
    """

    spec: ArchSpec
    flops: int
    ratio: float
    alpha: Interval
    beta: Interval
    gamma: Interval

    def to_coefficients(self, section: ScalingSection) -> Coefficients:
        """One triple of the box: its middle, but 1 in a dimension that is not scaled."""
        alpha, beta, gamma = (
            interval_midpoint(interval) for interval in (self.alpha, self.beta, self.gamma)
        )
        return Coefficients(alpha, beta, gamma, divisor=section.divisor, rounding=section.rounding)

    def to_dict(self) -> dict[str, Any]:
        """Plain data: spec_id, flops and ratio, the intervals, resolution in pixels, depths and
        widths of the stages, and the widths of stem and head (0: none)."""
        return {
            "spec_id": self.spec.spec_id,
            "flops": self.flops,
            "ratio": self.ratio,
            "alpha": list(self.alpha),
            "beta": list(self.beta),
            "gamma": list(self.gamma),
            "resolution": self.spec.resolution,
            "depths": [stage.depth for stage in self.spec.stages],
            "widths": [stage.width for stage in self.spec.stages],
            "stem_width": self.spec.stem_width,
            "head_width": self.spec.head_width,
        }


def describe_grid(members: Sequence[GridMember]) -> list[dict[str, Any]]:
    """The grid as rows of plain data, for a table or JSON; `GridMember.to_dict` says what is in
    them.
    """
    return [member.to_dict() for member in members]


def describe_constraint(section: ScalingSection) -> str:
    """What the members of a grid have in common, as in "networks ..."."""
    if section.constraint == "nominal":
        return (
            f"with alpha * beta^2 * gamma^2 within {section.nominal_tolerance:g} of "
            f"{section.flops_multiple:g}"
        )
    return (
        f"within {section.tolerance:.1%} of {section.flops_multiple**section.grid_phi:.3g} "
        "times the baseline's FLOPs"
    )


def interval_midpoint(interval: Interval) -> float:
    """The middle of an interval, but 1 for one that begins there: a dimension that need not be
    scaled isn't.
    """
    return 1.0 if interval[0] == 1.0 else sum(interval) / 2


def equivalent_interval(factor: float, is_equivalent: Callable[[float], bool]) -> Interval:
    """The least and the greatest float of 1 or more that satisfies `is_equivalent`, which holds on
    an interval with `factor` in it.
    """
    high = 2 * factor
    while is_equivalent(high):
        high *= 2
    low = 1.0 if is_equivalent(1.0) else _find_boundary(is_equivalent, factor, 1.0)
    return low, _find_boundary(is_equivalent, factor, high)


def _find_boundary(is_equivalent: Callable[[float], bool], inside: float, outside: float) -> float:
    """The last float from `inside` towards `outside` that satisfies `is_equivalent`, by bisection
    down to neighboring floats.
    """
    while math.nextafter(inside, outside) != outside:
        midpoint = (inside + outside) / 2
        if is_equivalent(midpoint):
            inside = midpoint
        else:
            outside = midpoint
    return inside
