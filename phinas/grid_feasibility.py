"""Whether the networks of a search space can be scaled, before a search selects one of them.

A scaling search compares networks of a grid, which needs at least two. Whether the selected network
has such a grid is only known after the search. So some networks of the space are tried before it.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import Config, ScalingSection
from phinas.experiment.seeds import derive_seed
from phinas.nas.search import make_cost_constraint
from phinas.scaling_search.grid.grid_member import GridMember
from phinas.scaling_search.grid.measured_grid import make_grid
from phinas.scaling_search.grid.resolutions import check_resolution_range
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.space.spec import ArchSpec

_SAMPLE_SIZE = 12
_MAX_DRAWS = 200
ScalableNetwork = tuple[ArchSpec, Sequence[GridMember]]


@dataclass(frozen=True)
class GridFeasibility:
    """How many networks of a search space can be scaled.

    Attributes:
        typical: The network that can be scaled whose grid has the median size.
        smallest: The one with the smallest grid, and that grid.
        largest: The one with the largest grid, and that grid.
        tried: The number of networks that were tried.
        failed: How many of them cannot be scaled.
        reason: Why one of them cannot be scaled; "" where all can.
    """

    typical: ArchSpec
    smallest: ScalableNetwork
    largest: ScalableNetwork
    tried: int
    failed: int
    reason: str

    @property
    def note(self) -> str:
        """A note that some networks cannot become the baseline, or ""."""
        if not self.failed:
            return ""
        return (
            f"note: {self.failed} of {self.tried} networks sampled from the search space cannot be "
            "scaled, so the search selects none of these as the baseline, even if it is the best. "
            f"{self.reason}"
        )


def check_grid_feasibility(
    space: SearchSpace, config: Config, *, max_resolution: float
) -> GridFeasibility:
    """Make the grids of the base network and of some sampled networks within the cost limits.

    Args:
        space: The search space, adapted to the images.
        config: The configuration.
        max_resolution: The highest resolution of networks in px.

    Raises:
        InputError: None of them can be scaled, or no resolution can be scaled up.
    """
    section = config.scaling
    check_resolution_range(space.base.resolution, section, max_resolution=max_resolution)
    networks = sample_networks(space, config)
    scalable: list[ScalableNetwork] = []
    reasons = []
    for network in networks:
        try:
            scalable.append((network, make_grid(network, section, max_resolution=max_resolution)))
        except InputError as error:
            reasons.append(str(error))
    if not scalable:
        raise InputError(reasons[0])
    scalable.sort(key=lambda item: len(item[1]))
    return GridFeasibility(
        scalable[len(scalable) // 2][0],
        scalable[0],
        scalable[-1],
        len(networks),
        len(reasons),
        reasons[0] if reasons else "",
    )


def is_scalable(network: ArchSpec, section: ScalingSection, *, max_resolution: float) -> bool:
    """Whether the scaling search has a grid for a network.

    Args:
        network: The network.
        section: The configuration of the scaling search.
        max_resolution: The highest resolution of networks in px.
    """
    try:
        make_grid(network, section, max_resolution=max_resolution)
    except InputError:
        return False
    return True


def sample_networks(space: SearchSpace, config: Config) -> list[ArchSpec]:
    """The base network and random networks, as far as they are within the cost limits."""
    constraint = make_cost_constraint(config.search)
    generator = random.Random(derive_seed(config.run.seed, "grid feasibility"))
    networks = {space.base.network_id: space.base}
    for _ in range(_MAX_DRAWS):
        network = space.decode(space.sample(generator))
        if constraint.is_satisfied(network.cost().flops):
            networks.setdefault(network.network_id, network)
        if len(networks) > _SAMPLE_SIZE:
            break
    return list(networks.values())
