"""What a grid needs of a network: its distinct depths and widths, and the FLOPs of each pair."""

from collections.abc import Mapping
from typing import Protocol

from phinas.scaling_search.grid.grid_member import GridMember
from phinas.scaling_search.grid.rounding_intervals import RoundingInterval


class ShapeGrid(Protocol):
    """All depths and widths of a grid: `DepthWidthGrid`, or `BuilderGrid` for a model builder."""

    @property
    def base_flops(self) -> int:
        """The baseline's."""

    @property
    def depths(self) -> Mapping[float, RoundingInterval]:
        """The rounding interval of each alpha; equal ones are one object."""

    @property
    def widths(self) -> Mapping[float, RoundingInterval]:
        """The rounding interval of each beta."""

    @property
    def distinct_depths(self) -> list[RoundingInterval]: ...

    @property
    def distinct_widths(self) -> list[RoundingInterval]: ...

    def flops(self, depth: RoundingInterval, width: RoundingInterval, resolution: int) -> float:
        """The FLOPs of the network with these dimensions. They are exact at the solved resolution
        of a network near the target.
        """

    def solve_resolution(
        self, depth: RoundingInterval, width: RoundingInterval, target: float, low: int, high: int
    ) -> int:
        """The resolution from `low` to `high` px whose FLOPs are nearest to `target`."""

    def member(
        self, depth: RoundingInterval, width: RoundingInterval, resolution: int
    ) -> GridMember:
        """The network, with the box of factors that round to it."""
