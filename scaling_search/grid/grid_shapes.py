"""The depths and widths of a grid for any kind of network."""

from phinas.experiment.schema.config import ScalingSection
from phinas.scaling_search.grid.builder_grid import BuilderGrid
from phinas.scaling_search.grid.depth_width_grid import DepthWidthGrid
from phinas.scaling_search.grid.shape_grid import ShapeGrid
from phinas.space.builders.built_network import BuiltNetwork
from phinas.space.network import ScalableNetwork
from phinas.space.spec import ArchSpec


def make_shape_grid(baseline: ScalableNetwork, section: ScalingSection) -> ShapeGrid:
    """The depths and widths of a grid.

    Raises:
        InputError: There are too many pairs of depths and widths, or the user's function ignores a
            factor that the grid scales.
        TypeError: The baseline is of another kind.
    """
    if isinstance(baseline, ArchSpec):
        return DepthWidthGrid(baseline, section)
    if isinstance(baseline, BuiltNetwork):
        return BuilderGrid(baseline, section)
    raise TypeError(f"baseline: a {type(baseline).__name__} has no grid")
