"""A network of the grid, and the box of all (alpha, beta, gamma) that round to it.

Depth, width and resolution are rounded separately, and each rises with its factor. So the factors
that round to one depth, width or resolution are an interval, and the triples that round to one
network are a box. For the same reason different (depths, widths, resolution) of a grid are
different networks: the one with more blocks in one stage has no fewer in any other.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from phinas.experiment.artifacts.artifact import Interval
from phinas.experiment.artifacts.coefficients_file import GridMemberRecord
from phinas.experiment.schema.config import ScalingSection
from phinas.scaling_search.coefficients import Coefficients
from phinas.space.builders.built_network import BuiltNetwork
from phinas.space.network import ScalableNetwork
from phinas.space.spec import ArchSpec


@dataclass(frozen=True, slots=True)
class GridMember:
    """A network of the grid.

    The intervals are closed and exact to the last bit: each float of 1 or more in them rounds to
    this network, the next one outside does not.

    Attributes:
        spec: The network. One of stages is in its simplest form (`ArchSpec.canonicalize`), so that
            the stages of all members correspond.
        flops: Multiply-adds per image.
        ratio: FLOPs over the baseline's.
        alpha: The interval of depth factors that round to it.
        beta: The same for width.
        gamma: The same for resolution.
    """

    spec: ScalableNetwork
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
        return Coefficients(
            alpha, beta, gamma, divisor=section.divisor, rounding=section.depth_rounding
        )

    def to_record(self) -> GridMemberRecord:
        """The member as files and tables hold it."""
        return GridMemberRecord(
            network_id=self.spec.network_id,
            flops=self.flops,
            ratio=self.ratio,
            alpha=self.alpha,
            beta=self.beta,
            gamma=self.gamma,
            resolution=self.spec.resolution,
            **_dimensions(self.spec),
        )


def _dimensions(network: ScalableNetwork) -> dict[str, Any]:
    """The fields of GridMemberRecord from which `make_grid_spec` of the reports makes the network
    again.
    """
    if isinstance(network, ArchSpec):
        return {
            "depths": tuple(stage.depth for stage in network.stages),
            "widths": tuple(stage.width for stage in network.stages),
            "stem_width": network.stem_width,
            "head_width": network.head_width,
        }
    assert isinstance(network, BuiltNetwork)
    return {
        "depths": (),
        "widths": (),
        "stem_width": 0,
        "head_width": 0,
        "built_network": network,
    }


def describe_constraint(section: ScalingSection) -> str:
    """What the networks of a grid have in common, to follow "networks"."""
    if section.constraint == "nominal":
        return (
            f"with alpha * beta^2 * gamma^2 within {section.nominal_tolerance:g} of "
            f"{section.flops_multiple:g}"
        )
    return (
        f"within {section.max_deviation:.1%} of {section.flops_multiple**section.compared_phi:.3g} "
        "times the baseline's FLOPs"
    )


def interval_midpoint(interval: Interval) -> float:
    """The middle of an interval; 1 for an interval that begins there, so that a dimension is scaled
    only if it must be.
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
