"""What a search is about, and all that is known before anything is trained: the space, the gate, the reward, what each
network costs. Only accuracy has to be learned, and latency where that is the cost: it is measured trial by trial."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.gate import Gate
from nas.reward import Reward
from space.cost import cost
from space.cost_tables import METRICS, CostTables, Integers
from space.search_space import SearchSpace
from space.spec import SpecError


@dataclass(frozen=True)
class Problem:
    """Handed to every strategy. pareto: cost (`reward.metric`) is an aim of its own, to be low, and the reward, to be high,
    is accuracy alone."""

    space: SearchSpace
    gate: Gate
    reward: Reward
    pareto: bool = False

    @property
    def known_costs(self) -> bool:
        """Whether `costs` gives what the reward weighs; if not, finished trials have it as their attribute COST."""
        return self.reward.metric in METRICS

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
