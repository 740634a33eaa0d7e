"""What a strategy knows before anything is trained: the space, the gate, the reward, and the exact cost of any network.

Only a network's accuracy has to be learned."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution

from nas.gate import Gate
from nas.reward import Reward
from space.cost import cost
from space.cost_tables import METRICS, CostTables, Integers
from space.search_space import SearchSpace, Value
from space.spec import SpecError

ACCURACY = "accuracy"  # attribute of a finished trial of the in-memory study, for strategies that learn it


def distributions_of(space: SearchSpace) -> dict[str, CategoricalDistribution]:
    return {decision.name: CategoricalDistribution(decision.values) for decision in space.decisions}


@dataclass(frozen=True)
class Problem:
    """Handed to every strategy."""

    space: SearchSpace
    gate: Gate
    reward: Reward

    @cached_property
    def _tables(self) -> CostTables | None:
        try:
            return CostTables(self.space)
        except SpecError:  # a stage with more choices than a table holds
            return None

    def costs(self, indices: NDArray[np.integer[Any]]) -> Integers:
        """What networks cost: positions as of SearchSpace.indices (networks, decisions) -> (networks, METRICS)."""
        if self._tables is not None:
            return self._tables.batch(indices)
        prices = (cost(self.space.decode(self.space.choices(row))) for row in indices.tolist())
        return np.array([[getattr(price, metric) for metric in METRICS] for price in prices], dtype=np.int64)

    def positions(self, choices: Sequence[Mapping[str, Value]]) -> NDArray[np.int64]:
        """Sets of choices as the rows that `costs` takes."""
        rows = [self.space.indices(one) for one in choices]
        return np.array(rows, dtype=np.int64).reshape(len(choices), len(self.space.decisions))

    @cached_property
    def _networks(self) -> dict[tuple[int, ...], str]:
        return {}

    def network(self, row: Sequence[int]) -> str:
        """The spec_id of what a row of positions means. Remembered, since the same ones are compared at each proposal."""
        key = tuple(row)
        if key not in self._networks:
            self._networks[key] = self.space.decode(self.space.choices(key)).spec_id
        return self._networks[key]
