"""The cost constraint: limits of the FLOPs.

The FLOPs of a network are known before its training, so no network outside the limits is trained.
"""

import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from phinas.experiment.errors import InputError
from phinas.space.search_spaces.search_space import Choices, SearchSpace
from phinas.space.spec import ArchSpec

MAX_ENUMERABLE = 20_000  # a space with at most this many sets of choices is enumerated
_MAX_DESCENTS = 8
_MAX_STEPS = 200


@dataclass(frozen=True, slots=True)
class CostConstraint:
    """Limits of the FLOPs (multiply-adds) of a network, both inclusive."""

    min_flops: float = 0.0
    max_flops: float = math.inf

    def violation(self, flops: int) -> float:
        """The logarithm of the factor between `flops` and the nearer limit. 0 within the limits."""
        if flops < self.min_flops:
            return math.log(self.min_flops / flops)
        return math.log(flops / self.max_flops) if flops > self.max_flops else 0.0

    def is_satisfied(self, flops: int) -> bool:
        return self.violation(flops) == 0.0


def descend_to_feasible(
    space: SearchSpace, constraint: CostConstraint, generator: random.Random
) -> Iterator[tuple[Choices, ArchSpec]]:
    """Minimize the constraint violation by steepest descents from random networks.

    Yields:
        The networks on the descents, as choices and spec. Their number is bounded.
    """
    for _ in range(_MAX_DESCENTS):
        choices = space.sample(generator)
        for _ in range(_MAX_STEPS):
            spec = space.decode(choices)
            current_violation = constraint.violation(spec.cost().flops)
            yield choices, spec
            neighbors = list(space.neighbors(choices))
            generator.shuffle(neighbors)
            violations = [
                constraint.violation(space.decode(neighbor).cost().flops) for neighbor in neighbors
            ]
            best_index = min(range(len(neighbors)), key=violations.__getitem__, default=None)
            if (
                current_violation == 0.0
                or best_index is None
                or violations[best_index] >= current_violation
            ):
                break
            choices = neighbors[best_index]


def require_feasible(space: SearchSpace, constraint: CostConstraint, *, seed: int) -> None:
    """Check that some network satisfies the constraint.

    Raises:
        InputError: No such network was found. The message has the FLOPs of the nearest one.
    """
    generator = random.Random(seed)
    specs: Iterable[ArchSpec] = (
        spec for _, spec in descend_to_feasible(space, constraint, generator)
    )
    closest_flops = min((spec.cost().flops for spec in specs), key=constraint.violation)
    if not constraint.is_satisfied(closest_flops) and space.size <= MAX_ENUMERABLE:
        closest_flops = min(
            (space.decode(choices).cost().flops for choices in space.enumerate()),
            key=constraint.violation,
        )
    if not constraint.is_satisfied(closest_flops):
        raise InputError(_describe_infeasible(space, constraint, closest_flops))


def _describe_infeasible(space: SearchSpace, constraint: CostConstraint, closest_flops: int) -> str:
    """Say that no network is within the limits. Names the limits that are set."""
    low, high = constraint.min_flops, constraint.max_flops
    limits = {"search.min_flops": low > 0, "search.max_flops": high < math.inf}
    keys = [key for key, is_set in limits.items() if is_set]
    if len(keys) == 2:
        bounds = f"{low:,.10g} to {high:,.10g} FLOPs"
    else:
        bounds = f"at least {low:,.10g} FLOPs" if low > 0 else f"at most {high:,.10g} FLOPs"
    return (
        f"{', '.join(keys)}: no network of the search space {space.name!r} was found with "
        f"{bounds}; the nearest has {closest_flops:,}. Widen the limits to include it, or change "
        "search.space or search.resolution"
    )
