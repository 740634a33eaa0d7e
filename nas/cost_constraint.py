"""The cost gate: what a network costs is known before it is trained, so what is too dear or too
cheap is never trained.
"""

import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from phinas.experiment.errors import InputError
from phinas.space.cost import cost
from phinas.space.search_spaces.search_space import Choices, SearchSpace
from phinas.space.spec import ArchSpec

ENUMERABLE = 20_000  # networks; a space no larger than this is looked through whole
_CLIMBS = 8
_STEPS = 200


@dataclass(frozen=True, slots=True)
class Gate:
    """FLOPs (multiply-adds) from `least` to `most`, both included."""

    least: float = 0.0
    most: float = math.inf

    def distance(self, flops: int) -> float:
        """0 inside; outside, the factor to the nearer bound as a positive logarithm."""
        if flops < self.least:
            return math.log(self.least / flops)
        return math.log(flops / self.most) if flops > self.most else 0.0

    def admits(self, flops: int) -> bool:
        return self.distance(flops) == 0.0


def approach(
    space: SearchSpace, gate: Gate, generator: random.Random
) -> Iterator[tuple[Choices, ArchSpec]]:
    """Networks met on steepest descents of the distance to the gate, from uniform starts;
    bounded.
    """
    for _ in range(_CLIMBS):
        choices = space.sample(generator)
        for _ in range(_STEPS):
            spec = space.decode(choices)
            here = gate.distance(cost(spec).flops)
            yield choices, spec
            around = list(space.neighbours(choices))
            generator.shuffle(around)
            distances = [gate.distance(cost(space.decode(near)).flops) for near in around]
            nearest = min(range(len(around)), key=distances.__getitem__, default=None)
            if here == 0.0 or nearest is None or distances[nearest] >= here:
                break
            choices = around[nearest]


def require_reachable(space: SearchSpace, gate: Gate, *, seed: int) -> None:
    """Raises InputError, naming the nearest miss, where no network of the space was found to meet
    the gate.
    """
    generator = random.Random(seed)
    met: Iterable[ArchSpec] = (spec for _, spec in approach(space, gate, generator))
    nearest = min((cost(spec).flops for spec in met), key=gate.distance)
    if not gate.admits(nearest) and space.size <= ENUMERABLE:
        nearest = min(
            (cost(space.decode(choices)).flops for choices in space.enumerate()), key=gate.distance
        )
    if not gate.admits(nearest):
        bounds = f"{gate.least:,.0f} to {gate.most:,.0f}"
        raise InputError(
            f"search.min_flops, search.max_flops: no network of space {space.name!r} was found "
            f"with {bounds} FLOPs; "
            f"the nearest has {nearest:,}: widen the gate to include it, or change the space or "
            "the resolution"
        )
