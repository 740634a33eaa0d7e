"""Whether the networks of a search space can be scaled, before a search selects one of them.

A scaling search compares networks of a grid, which needs at least two. Whether the selected network
has such a grid is only known after the search. So some networks of the space are tried before it.
"""

import random
from dataclasses import dataclass

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import Config
from phinas.experiment.seeds import derive_seed
from phinas.nas.search import make_cost_constraint
from phinas.scaling_search.grid.measured_grid import make_grid
from phinas.scaling_search.grid.resolutions import check_resolution_range
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.space.spec import ArchSpec

_SAMPLE_SIZE = 12
_MAX_DRAWS = 200


@dataclass(frozen=True)
class GridFeasibility:
    """How many networks of a search space can be scaled.

    Attributes:
        typical: A network that can be scaled.
        tried: The number of networks that were tried.
        failed: How many of them cannot be scaled.
        reason: Why one of them cannot be scaled; "" where all can.
    """

    typical: ArchSpec
    tried: int
    failed: int
    reason: str

    @property
    def warning(self) -> str:
        """A warning that scaling may stop after the search, or ""."""
        if not self.failed:
            return ""
        return (
            f"warning: {self.failed} of {self.tried} networks sampled from the search space cannot "
            f"be scaled. If the search selects one, the run stops before scaling. {self.reason}"
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
    networks = _sample(space, config)
    typical, reasons = None, []
    for network in networks:
        try:
            make_grid(network, section, max_resolution=max_resolution)
        except InputError as error:
            reasons.append(str(error))
        else:
            typical = typical or network
    if typical is None:
        raise InputError(reasons[0])
    return GridFeasibility(typical, len(networks), len(reasons), reasons[0] if reasons else "")


def _sample(space: SearchSpace, config: Config) -> list[ArchSpec]:
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
