"""The different depths and widths of a grid over alpha and beta, and the cost of each pair at any
resolution.
"""

from dataclasses import replace

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import ScalingSection
from phinas.scaling_search.grid.grid_member import GridMember
from phinas.scaling_search.grid.resolutions import solve_resolution
from phinas.scaling_search.grid.rounding_intervals import (
    RoundingInterval,
    Sizes,
    depth_intervals,
    grid_factors,
    resolution_interval,
    width_intervals,
)
from phinas.space.cost_by_resolution import (
    CostByResolution,
    FlopsPerPixel,
    cost_by_resolution,
    flops_at,
)
from phinas.space.spec import ArchSpec

MAX_SHAPES = 50_000  # pairs of depths and widths of a grid: a few seconds


class DepthWidthGrid:
    """All depths and widths of a grid.

    Attributes:
        depths: the rounding interval of each alpha; equal ones are one object.
        widths: the rounding interval of each beta.
        base_flops: the baseline's.

    Raises:
        InputError: there are over MAX_SHAPES pairs of distinct depths and widths.
    """

    def __init__(self, baseline: ArchSpec, section: ScalingSection) -> None:
        self._baseline = baseline.canonicalize()
        self._baseline_sizes = (
            tuple(self._baseline.group_depths),
            tuple(self._baseline.widths),
        )
        self.base_flops = baseline.cost().flops
        alphas, betas = (
            grid_factors(section.alpha, section.grid_steps[0]),
            grid_factors(section.beta, section.grid_steps[1]),
        )
        self.depths = depth_intervals(self._baseline, alphas, section.depth_rounding)
        self.widths = width_intervals(self._baseline, betas, section.divisor)
        self._stage_depths: dict[Sizes, list[int]] = {}
        self._costs: dict[Sizes, CostByResolution] = {}
        self._resolution_intervals: dict[int, RoundingInterval] = {}
        num_shapes = len(self.distinct_depths) * len(self.distinct_widths)
        if num_shapes > MAX_SHAPES:
            raise InputError(
                f"scaling.grid_step: {section.grid_steps[0]:g} for alpha and "
                f"{section.grid_steps[1]:g} for beta give {num_shapes:,} pairs of depths and "
                f"widths, more than {MAX_SHAPES:,}; raise scaling.grid_step or scaling.divisor, or "
                "narrow scaling.alpha and scaling.beta"
            )

    @property
    def distinct_depths(self) -> list[RoundingInterval]:
        return list(dict.fromkeys(self.depths.values()))

    @property
    def distinct_widths(self) -> list[RoundingInterval]:
        return list(dict.fromkeys(self.widths.values()))

    def flops_per_pixel(self, depth: RoundingInterval, width: RoundingInterval) -> FlopsPerPixel:
        """The cost of the network with these depths and widths, for `flops_at`."""
        if depth.sizes not in self._stage_depths:
            scaled = self._baseline.resize(depth.sizes, self._baseline_sizes[1])
            self._stage_depths[depth.sizes] = [stage.depth for stage in scaled.stages]
        if width.sizes not in self._costs:
            self._costs[width.sizes] = cost_by_resolution(
                self._baseline.resize(self._baseline_sizes[0], width.sizes)
            )
        return self._costs[width.sizes].flops_per_pixel(self._stage_depths[depth.sizes])

    def flops(self, depth: RoundingInterval, width: RoundingInterval, resolution: int) -> float:
        """The FLOPs of the network with these dimensions."""
        return flops_at(self.flops_per_pixel(depth, width), resolution)

    def solve_resolution(
        self, depth: RoundingInterval, width: RoundingInterval, target: float, low: int, high: int
    ) -> int:
        """As `phinas.scaling_search.grid.resolutions.solve_resolution`."""
        flops_per_pixel = self.flops_per_pixel(depth, width)
        return solve_resolution(
            lambda resolution: flops_at(flops_per_pixel, resolution), target, low, high
        )

    def member(
        self, depth: RoundingInterval, width: RoundingInterval, resolution: int
    ) -> GridMember:
        """The network in its simplest form, with the box of factors that round to it."""
        if resolution not in self._resolution_intervals:
            self._resolution_intervals[resolution] = resolution_interval(
                self._baseline.resolution, resolution
            )
        flops = flops_at(self.flops_per_pixel(depth, width), resolution)
        return GridMember(
            replace(
                self._baseline.resize(depth.sizes, width.sizes),
                resolution=resolution,
            ),
            flops,
            flops / self.base_flops,
            alpha=depth.factors,
            beta=width.factors,
            gamma=self._resolution_intervals[resolution].factors,
        )
