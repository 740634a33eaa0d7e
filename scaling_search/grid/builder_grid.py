"""The depths and widths of a grid around a network that a user's function builds.

How the function rounds is not known, and a network takes 0.05 to 0.5 s. So few networks are built:

- Each factor of the grid is built for depth alone and for width alone. Factors with the same layers
  are one depth, or one width.
- The FLOPs of a pair of them are estimated from those of each alone. If no resolution is near the
  target, no network of this pair is built.
- Otherwise a network near the target is traced. The sizes of its layers tell its FLOPs at other
  resolutions (`phinas.space.builders.resolution_model`), and the nearest of these is traced next,
  until it has been. One or two networks of a pair are enough for convolutional networks.
- The ends of the intervals of factors are found by bisection, for the networks of the grid only.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

from phinas.experiment.artifacts.artifact import Interval
from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import ScalingSection
from phinas.scaling_search.grid.grid_member import GridMember
from phinas.scaling_search.grid.resolutions import solve_resolution
from phinas.scaling_search.grid.rounding_intervals import (
    RoundingInterval,
    grid_factors,
    resolution_interval,
)
from phinas.space.builders.built_network import (
    MAX_DEPTH_FACTOR,
    MAX_WIDTH_FACTOR,
    BuiltNetwork,
)
from phinas.space.builders.resolution_model import flops_model

MAX_PAIRS = 2_000  # of depths and widths: some minutes
MAX_TRACES = 6  # of one pair
# Relative error of the estimated FLOPs from which no resolution of a pair can be near the target.
_MAX_ESTIMATE_ERROR = 0.3
_BISECTIONS = 4  # of the step of the grid
_EXTENSION = 1.05  # beyond the range of a factor


class BuilderGrid:
    """All depths and widths of a grid.

    Attributes:
        depths: The rounding interval of each alpha; equal ones are one object. Its sizes are its
            number.
        widths: The rounding interval of each beta.
        base_flops: The baseline's.
        num_traces: The number of traced networks of each pair of depth and width.

    Raises:
        InputError: There are too many pairs, or the function ignores a factor that the grid scales.
        SpecError: The function fails.
    """

    def __init__(self, baseline: BuiltNetwork, section: ScalingSection) -> None:
        self._baseline = baseline
        self.base_flops = baseline.cost().flops
        require_used_factors(
            baseline, depth=section.alpha[1] > 1, width=section.beta[1] > 1, field="scaling"
        )
        self._separable_widths: set[RoundingInterval] = set()
        self._factors: dict[tuple[str, int], float] = {}
        self.depths = self._group("depth", grid_factors(section.alpha, section.grid_steps[0]))
        self.widths = self._group("width", grid_factors(section.beta, section.grid_steps[1]))
        self.num_traces: dict[tuple[int, int], int] = {}
        self._traced: dict[tuple[int, int, int], BuiltNetwork] = {}
        num_pairs = len(self.distinct_depths) * len(self.distinct_widths)
        if num_pairs > MAX_PAIRS:
            raise InputError(
                f"scaling.grid_step: {section.grid_step} gives {num_pairs:,} pairs of depths and "
                f"widths, more than {MAX_PAIRS:,}; raise scaling.grid_step, or narrow "
                "scaling.alpha and scaling.beta"
            )

    @property
    def distinct_depths(self) -> list[RoundingInterval]:
        return list(dict.fromkeys(self.depths.values()))

    @property
    def distinct_widths(self) -> list[RoundingInterval]:
        return list(dict.fromkeys(self.widths.values()))

    def flops(self, depth: RoundingInterval, width: RoundingInterval, resolution: int) -> float:
        """The FLOPs of a network: exact if it was traced, else estimated."""
        network = self._traced.get((*_pair(depth, width), resolution))
        if network is not None:
            return network.cost().flops
        return self._estimate(depth, width)(resolution)

    def solve_resolution(
        self, depth: RoundingInterval, width: RoundingInterval, target: float, low: int, high: int
    ) -> int:
        """The resolution from `low` to `high` px whose FLOPs are nearest to `target`, of those that
        are traced.
        """
        model = self._estimate(depth, width)
        resolution = solve_resolution(model, target, low, high)
        if abs(model(resolution) / target - 1) > _MAX_ESTIMATE_ERROR:
            return resolution
        flops: dict[int, int] = {}
        while resolution not in flops and len(flops) < MAX_TRACES:
            network = self._trace(depth, width, resolution)
            flops[resolution] = network.cost().flops
            model = flops_model(network.flops_by_size(), resolution)
            resolution = solve_resolution(model, target, low, high)
        return min(flops, key=lambda size: (abs(flops[size] - target), -size))

    def member(
        self, depth: RoundingInterval, width: RoundingInterval, resolution: int
    ) -> GridMember:
        """The network, with the box of factors that round to it."""
        network = self._trace(depth, width, resolution)
        flops = network.cost().flops
        alpha, beta = depth.factors, width.factors
        if not self._is_one_network(depth, width, network):
            # The function does not round depth and width separately.
            alpha = self._interval("depth", self._factor("depth", depth), network, ())
            beta = self._interval("width", self._factor("width", width), network, ())
        return GridMember(
            network,
            flops,
            flops / self.base_flops,
            alpha=alpha,
            beta=beta,
            gamma=resolution_interval(self._baseline.resolution, resolution).factors,
        )

    def _group(self, dimension: str, factors: Sequence[float]) -> dict[float, RoundingInterval]:
        """The rounding interval of each factor, scaled alone."""
        structures = {
            factor: _with_factor(self._baseline, dimension, factor).structure for factor in factors
        }
        intervals: dict[str, RoundingInterval] = {}
        for structure in structures.values():
            if structure in intervals:
                continue
            equal = [other for other in factors if structures[other] == structure]
            number = len(intervals)
            middle = 1.0 if equal[0] == 1 else equal[len(equal) // 2]
            self._factors[dimension, number] = middle
            find_factors = partial(
                self._interval, dimension, middle, self._baseline, tuple(factors)
            )
            intervals[structure] = RoundingInterval((number,), find_factors)
        return {factor: intervals[structures[factor]] for factor in factors}

    def _interval(
        self, dimension: str, factor: float, network: BuiltNetwork, factors: Sequence[float]
    ) -> Interval:
        """The factors of 1 or more that give the same layers, to a sixteenth of the grid's step.

        Args:
            dimension: "depth" or "width".
            factor: One of them.
            network: Has the other dimension.
            factors: The grid, whose factors have been built.
        """

        def is_equivalent(other: float) -> bool:
            return _with_factor(network, dimension, other, self._baseline).structure == structure

        structure = _with_factor(network, dimension, factor, self._baseline).structure
        low, high, below, above = factor, factor, 1.0, math.inf
        for other in factors:
            if is_equivalent(other):
                low, high = min(low, other), max(high, other)
        for other in factors:
            if other < low:
                below = max(below, other)
            elif other > high:
                above = min(above, other)
        limit = MAX_DEPTH_FACTOR if dimension == "depth" else MAX_WIDTH_FACTOR
        while above == math.inf:
            candidate = min(high * _EXTENSION, limit)
            if not is_equivalent(candidate):
                above = candidate
            elif candidate == limit or candidate > 2 * factor:
                return _find_low(is_equivalent, low, below), candidate
            else:
                high = candidate
        return (
            _find_low(is_equivalent, low, below),
            _find_boundary(is_equivalent, high, above),
        )

    def _is_one_network(
        self, depth: RoundingInterval, width: RoundingInterval, network: BuiltNetwork
    ) -> bool:
        """Whether two opposite corners of the box have the layers of the network. If it is so for
        one depth of a width, it is assumed for the others.
        """
        if width in self._separable_widths:
            return True
        corners = [
            _with_factor(
                _with_factor(network, "depth", depth_factor, self._baseline),
                "width",
                width_factor,
                self._baseline,
            )
            for depth_factor, width_factor in zip(depth.factors, width.factors, strict=True)
        ]
        is_one = all(corner.structure == network.structure for corner in corners)
        if is_one:
            self._separable_widths.add(width)
        return is_one

    def _factor(self, dimension: str, interval: RoundingInterval) -> float:
        return self._factors[dimension, interval.sizes[0]]

    def _network(self, depth: RoundingInterval, width: RoundingInterval) -> BuiltNetwork:
        """The network with these dimensions at the baseline's resolution."""
        network = _with_factor(self._baseline, "depth", self._factor("depth", depth))
        return _with_factor(network, "width", self._factor("width", width))

    def _trace(
        self, depth: RoundingInterval, width: RoundingInterval, resolution: int
    ) -> BuiltNetwork:
        pair = _pair(depth, width)
        place = (*pair, resolution)
        if place not in self._traced:
            self._traced[place] = self._network(depth, width).with_factors(resolution=resolution)
            self.num_traces[pair] = self.num_traces.get(pair, 0) + 1
        return self._traced[place]

    def _estimate(self, depth: RoundingInterval, width: RoundingInterval) -> Callable[[int], float]:
        """The FLOPs of a pair by resolution, from those of its width and its depth alone."""
        wide = _with_factor(self._baseline, "width", self._factor("width", width))
        deep = _with_factor(self._baseline, "depth", self._factor("depth", depth))
        growth = deep.cost().flops / self.base_flops
        model = flops_model(wide.flops_by_size(), self._baseline.resolution)
        return lambda resolution: growth * model(resolution)


def require_used_factors(baseline: BuiltNetwork, *, depth: bool, width: bool, field: str) -> None:
    """Check that a model builder uses its arguments.

    Args:
        baseline: The user's network.
        depth: Whether depth is scaled.
        width: Whether width is scaled.
        field: The configuration key, for the message.

    Raises:
        InputError: It makes the same network of every depth, or of every width, that is scaled.
    """
    for dimension, name, is_scaled in (("depth", "alpha", depth), ("width", "beta", width)):
        factors = (2.0, 4.0)
        if is_scaled and all(
            _with_factor(baseline, dimension, factor).structure == baseline.structure
            for factor in factors
        ):
            raise InputError(
                f"{field}: {baseline.builder} ignores its argument {dimension}: it makes the same "
                f"network of {dimension} 1, 2 and 4; use the argument, or set scaling.{name}: "
                f"[1.0, 1.0] so that {dimension} is not scaled"
            )


def _with_factor(
    network: BuiltNetwork, dimension: str, factor: float, baseline: BuiltNetwork | None = None
) -> BuiltNetwork:
    """A network with another factor of one dimension.

    Args:
        network: The network.
        dimension: "depth" or "width".
        factor: Over that of the baseline.
        baseline: None: the network.
    """
    base = baseline or network
    if dimension == "depth":
        return network.with_factors(depth=base.depth * factor)
    return network.with_factors(width=base.width * factor)


def _pair(depth: RoundingInterval, width: RoundingInterval) -> tuple[int, int]:
    return depth.sizes[0], width.sizes[0]


def _find_low(is_equivalent: Callable[[float], bool], inside: float, outside: float) -> float:
    """The least factor from `inside` down to `outside` that is equivalent."""
    return outside if is_equivalent(outside) else _find_boundary(is_equivalent, inside, outside)


def _find_boundary(is_equivalent: Callable[[float], bool], inside: float, outside: float) -> float:
    """The last equivalent factor from `inside` towards `outside`, by a few bisections."""
    for _ in range(_BISECTIONS):
        middle = (inside + outside) / 2
        if is_equivalent(middle):
            inside = middle
        else:
            outside = middle
    return inside
