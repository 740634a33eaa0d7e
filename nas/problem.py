"""What a search is about, and all that is known before anything is trained: the space, the gate,
the reward, what each network costs. Only accuracy has to be learned, and latency where that is the
cost: it is measured trial by trial.

Strategies that look at many networks at once name them by rows of positions, as SearchSpace.indices
gives them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution

from phinas.nas.cost_constraint import Gate
from phinas.nas.reward import Reward
from phinas.nas.surrogate.features import Features
from phinas.nas.surrogate.gaussian_process import Floats
from phinas.space.cost import cost
from phinas.space.search_spaces.cost_tables import METRICS, CostTables, Integers
from phinas.space.search_spaces.inactive_choices import Idleness, Indices
from phinas.space.search_spaces.search_space import SearchSpace, Value
from phinas.space.spec import SpecError

# Attributes of a finished trial of the in-memory study, for strategies that learn them. COST is in
# the reward's metric.
ACCURACY = "accuracy"
COST = "cost"

_SLOPES = (1e-30, 1e30)  # a weight of -1000 goes beyond all numbers
_ENUMERABLE = 4096  # choices; of a space no larger than this a draw is all of them
_DRAWS = 64  # times as many are drawn as are asked for, where the gate lets few pass
_SLOW_DRAWS = (
    2  # the same in a space too large for tables, where pricing takes a thousand times longer
)
_REMEMBERED = 100_000  # prices, in such a space


def distinct(indices: Indices) -> NDArray[np.intp]:
    """Where each different row stands first, in an order that depends on the rows alone."""
    rows = np.ascontiguousarray(indices, dtype=np.int16)
    return np.unique(
        rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel(),
        return_index=True,
    )[1]


def distributions_of(space: SearchSpace) -> dict[str, CategoricalDistribution]:
    return {decision.name: CategoricalDistribution(decision.values) for decision in space.decisions}


@dataclass(frozen=True)
class Problem:
    """Handed to every strategy. pareto: cost (`reward.metric`) is an aim of its own, to be low, and
    the reward, to be high, is accuracy alone."""

    space: SearchSpace
    gate: Gate
    reward: Reward
    pareto: bool = False

    @property
    def known_costs(self) -> bool:
        """Whether `costs` gives what the reward weighs; if not, finished trials have it as their
        attribute COST.
        """
        return self.reward.metric in METRICS

    def line(self, prices: Floats) -> tuple[Floats, Floats]:
        """Slope and intercept of the reward in accuracy, the slope within numbers that can still be
        calculated with.
        """
        slope, intercept = self.reward.line(prices)
        return np.clip(slope, *_SLOPES), intercept

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """How many values each decision has."""
        return np.array([len(decision.values) for decision in self.space.decisions])

    @cached_property
    def _tables(self) -> CostTables | None:
        try:
            return CostTables(self.space)
        except SpecError:  # a stage with more choices than a table holds
            return None

    @cached_property
    def features(self) -> Features:
        """Networks as rows of numbers that their accuracy can be learned from."""
        return Features(self.space, self.costs, self.stage_costs)

    @cached_property
    def _idleness(self) -> Idleness:
        return Idleness(self.space)

    def canonical(self, indices: Indices) -> Indices:
        """The same networks with the first value in place of every idle choice."""
        return np.where(self._idleness.mask(indices), 0, indices)

    def positions(self, choices: Sequence[Mapping[str, Value]]) -> NDArray[np.int64]:
        """Sets of choices as rows of positions: (networks, decisions)."""
        rows = [self.space.indices(one) for one in choices]
        return np.array(rows, dtype=np.int64).reshape(len(choices), len(self.counts))

    @cached_property
    def _networks(self) -> dict[tuple[int, ...], str]:
        return {}

    def network(self, row: Sequence[int]) -> str:
        """The spec_id of what a row of positions means. Remembered, since the same ones are
        compared at each proposal.
        """
        key = tuple(row)
        if key not in self._networks:
            self._networks[key] = self.space.decode(self.space.choices(key)).spec_id
        return self._networks[key]

    def costs(self, indices: Indices) -> Integers:
        """(networks, decisions) -> (networks, METRICS)."""
        if self._tables is not None:
            return self._tables.batch(indices)
        return np.array(
            [self._price(tuple(row)) for row in indices.tolist()], dtype=np.int64
        ).reshape(-1, len(METRICS))

    @cached_property
    def _prices(self) -> dict[tuple[int, ...], list[int]]:
        return {}

    def _price(self, row: tuple[int, ...]) -> list[int]:
        """One network's METRICS by the closed form. Remembered, since a proposal asks for each
        several times.
        """
        if row not in self._prices:
            if len(self._prices) >= _REMEMBERED:
                self._prices.clear()
            price = cost(self.space.decode(self.space.choices(row)))
            self._prices[row] = [getattr(price, metric) for metric in METRICS]
        return self._prices[row]

    def stage_costs(self, indices: Indices) -> Integers:
        """(networks, decisions) -> (networks, stages, METRICS); zeros for a space too large for
        tables.
        """
        if self._tables is not None:
            return self._tables.by_stage(indices)
        return np.zeros((len(indices), len(self.space.base.stages), len(METRICS)), dtype=np.int64)

    def admits(self, costs: Integers) -> NDArray[np.bool_]:
        """(networks, METRICS) -> which of them the gate lets pass."""
        flops = costs[:, METRICS.index("flops")]
        return (flops >= self.gate.least) & (flops <= self.gate.most)

    def draw(self, count: int, generator: np.random.Generator) -> Indices:
        """Canonical rows of uniformly drawn choices, each once: networks that the gate lets pass,
        at most `count`; of a small space all, in random order. Where the gate lets next to none
        pass, one that it does not."""
        found: list[Indices] = []
        if self.space.size <= _ENUMERABLE:
            every = np.stack(
                np.unravel_index(generator.permutation(self.space.size), self.counts), axis=1
            )
            found.append(every[self.admits(self.costs(every))])
        else:
            for _ in range(_SLOW_DRAWS if self._tables is None else _DRAWS):
                drawn = generator.integers(0, self.counts, size=(count, len(self.counts)))
                found.append(drawn[self.admits(self.costs(drawn))])
                if sum(map(len, found)) >= count:
                    break
        inside = np.concatenate(found)
        if len(inside) == 0:
            return generator.integers(0, self.counts, size=(1, len(self.counts)))
        networks = self.canonical(inside if self.space.size <= _ENUMERABLE else inside[:count])
        return networks[np.sort(distinct(networks))]

    def neighbours(self, indices: Indices, most: int, generator: np.random.Generator) -> Indices:
        """The networks that differ from one of these in one decision, canonical and each once; a
        random `most` of them if there are more."""
        columns = np.repeat(np.arange(len(self.counts)), self.counts)
        values = np.concatenate([np.arange(count) for count in self.counts])
        centres = np.repeat(self.canonical(indices)[:, None, :], len(columns), axis=1)
        around = centres.copy()
        around[:, np.arange(len(columns)), columns] = values
        around = self.canonical(around.reshape(-1, len(self.counts)))
        changed = around[(around != centres.reshape(around.shape)).any(1)]
        different = changed[distinct(changed)]
        if len(different) <= most:
            return different
        return different[np.sort(generator.choice(len(different), size=most, replace=False))]
