"""What a search is about, and all that is known before anything is trained: the space, the cost
constraint, the reward, what each network costs. Only accuracy has to be learned, and latency where
that is the
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

from phinas.nas.cost_constraint import CostConstraint
from phinas.nas.reward import Reward
from phinas.nas.surrogate.features import FeatureEncoder
from phinas.nas.surrogate.gaussian_process import FloatArray
from phinas.space.cost import network_cost
from phinas.space.search_spaces.cost_tables import METRICS, CostTables, IntArray
from phinas.space.search_spaces.inactive_choices import InactiveChoices, Indices
from phinas.space.search_spaces.search_space import SearchSpace, Value
from phinas.space.spec import SpecError

# Attributes of a finished trial of the in-memory study, for strategies that learn them. COST is in
# the reward's metric.
ACCURACY = "accuracy"
COST = "cost"

_SLOPE_RANGE = (1e-30, 1e30)  # an exponent of -1000 goes beyond all numbers
_MAX_ENUMERABLE = 4096  # choices; of a space no larger than this a draw is all of them
_MAX_SAMPLING_ROUNDS = (
    64  # times as many are drawn as are asked for, where the constraint lets few pass
)
_MAX_SLOW_SAMPLING_ROUNDS = (
    2  # the same in a space too large for tables, where a cost takes a thousand times longer
)
_MAX_CACHED_COSTS = 100_000  # costs, in such a space


def unique_row_indices(indices: Indices) -> NDArray[np.intp]:
    """Where each different row stands first, in an order that depends on the rows alone."""
    rows = np.ascontiguousarray(indices, dtype=np.int16)
    return np.unique(
        rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel(),
        return_index=True,
    )[1]


def make_distributions(space: SearchSpace) -> dict[str, CategoricalDistribution]:
    return {decision.name: CategoricalDistribution(decision.values) for decision in space.decisions}


@dataclass(frozen=True)
class Problem:
    """Handed to every strategy. pareto: cost (`reward.metric`) is an objective of its own, to be
    low, and the reward, to be high, is accuracy alone."""

    space: SearchSpace
    cost_constraint: CostConstraint
    reward: Reward
    pareto: bool = False

    @property
    def has_analytic_costs(self) -> bool:
        """Whether `costs` gives what the reward weighs; if not, finished trials have it as their
        attribute COST.
        """
        return self.reward.metric in METRICS

    def linear_coefficients(self, costs: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Slope and intercept of the reward in accuracy, the slope within numbers that can still be
        calculated with.
        """
        slope, intercept = self.reward.linear_coefficients(costs)
        return np.clip(slope, *_SLOPE_RANGE), intercept

    @cached_property
    def num_choices(self) -> NDArray[np.int64]:
        """How many values each decision has."""
        return np.array([len(decision.values) for decision in self.space.decisions])

    @cached_property
    def _tables(self) -> CostTables | None:
        try:
            return CostTables(self.space)
        except SpecError:  # a stage with more choices than a table holds
            return None

    @cached_property
    def features(self) -> FeatureEncoder:
        """Networks as rows of numbers that their accuracy can be learned from."""
        return FeatureEncoder(self.space, self.costs, self.stage_costs)

    @cached_property
    def _inactive_choices(self) -> InactiveChoices:
        return InactiveChoices(self.space)

    def canonicalize(self, indices: Indices) -> Indices:
        """The same networks with the first value in place of every inactive choice."""
        return np.where(self._inactive_choices.inactive_mask(indices), 0, indices)

    def to_indices(self, choices: Sequence[Mapping[str, Value]]) -> NDArray[np.int64]:
        """Sets of choices as rows of positions: (networks, decisions)."""
        rows = [self.space.to_indices(mapping) for mapping in choices]
        return np.array(rows, dtype=np.int64).reshape(len(choices), len(self.num_choices))

    @cached_property
    def _spec_ids(self) -> dict[tuple[int, ...], str]:
        return {}

    def get_spec_id(self, row: Sequence[int]) -> str:
        """The spec_id of what a row of positions means. Remembered, since the same ones are
        compared at each proposal.
        """
        row_key = tuple(row)
        if row_key not in self._spec_ids:
            self._spec_ids[row_key] = self.space.decode(self.space.from_indices(row_key)).spec_id
        return self._spec_ids[row_key]

    def costs(self, indices: Indices) -> IntArray:
        """(networks, decisions) -> (networks, METRICS)."""
        if self._tables is not None:
            return self._tables.batch_costs(indices)
        return np.array(
            [self._compute_cost(tuple(row)) for row in indices.tolist()], dtype=np.int64
        ).reshape(-1, len(METRICS))

    @cached_property
    def _cost_cache(self) -> dict[tuple[int, ...], list[int]]:
        return {}

    def _compute_cost(self, row: tuple[int, ...]) -> list[int]:
        """One network's METRICS by the closed form. Remembered, since a proposal asks for each
        several times.
        """
        if row not in self._cost_cache:
            if len(self._cost_cache) >= _MAX_CACHED_COSTS:
                self._cost_cache.clear()
            cost = network_cost(self.space.decode(self.space.from_indices(row)))
            self._cost_cache[row] = [getattr(cost, metric) for metric in METRICS]
        return self._cost_cache[row]

    def stage_costs(self, indices: Indices) -> IntArray:
        """(networks, decisions) -> (networks, stages, METRICS); zeros for a space too large for
        tables.
        """
        if self._tables is not None:
            return self._tables.stage_costs(indices)
        return np.zeros((len(indices), len(self.space.base.stages), len(METRICS)), dtype=np.int64)

    def feasible_mask(self, costs: IntArray) -> NDArray[np.bool_]:
        """(networks, METRICS) -> which of them satisfy the cost constraint."""
        flops = costs[:, METRICS.index("flops")]
        return (flops >= self.cost_constraint.min_flops) & (flops <= self.cost_constraint.max_flops)

    def sample(self, count: int, generator: np.random.Generator) -> Indices:
        """Canonical rows of uniformly drawn choices, each once: networks that satisfy the cost
        constraint, at most `count`; of a small space all, in random order. Where next to none do,
        one that does not."""
        batches: list[Indices] = []
        if self.space.size <= _MAX_ENUMERABLE:
            all_rows = np.stack(
                np.unravel_index(generator.permutation(self.space.size), self.num_choices), axis=1
            )
            batches.append(all_rows[self.feasible_mask(self.costs(all_rows))])
        else:
            for _ in range(
                _MAX_SLOW_SAMPLING_ROUNDS if self._tables is None else _MAX_SAMPLING_ROUNDS
            ):
                candidates = generator.integers(
                    0, self.num_choices, size=(count, len(self.num_choices))
                )
                batches.append(candidates[self.feasible_mask(self.costs(candidates))])
                if sum(map(len, batches)) >= count:
                    break
        feasible_rows = np.concatenate(batches)
        if len(feasible_rows) == 0:
            return generator.integers(0, self.num_choices, size=(1, len(self.num_choices)))
        unique_networks = self.canonicalize(
            feasible_rows if self.space.size <= _MAX_ENUMERABLE else feasible_rows[:count]
        )
        return unique_networks[np.sort(unique_row_indices(unique_networks))]

    def neighbors(
        self, indices: Indices, max_count: int, generator: np.random.Generator
    ) -> Indices:
        """The networks that differ from one of these in one decision, canonical and each once; a
        random `max_count` of them if there are more."""
        columns = np.repeat(np.arange(len(self.num_choices)), self.num_choices)
        values = np.concatenate([np.arange(count) for count in self.num_choices])
        centers = np.repeat(self.canonicalize(indices)[:, None, :], len(columns), axis=1)
        neighbors = centers.copy()
        neighbors[:, np.arange(len(columns)), columns] = values
        neighbors = self.canonicalize(neighbors.reshape(-1, len(self.num_choices)))
        neighbors = neighbors[(neighbors != centers.reshape(neighbors.shape)).any(1)]
        unique_rows = neighbors[unique_row_indices(neighbors)]
        if len(unique_rows) <= max_count:
            return unique_rows
        return unique_rows[
            np.sort(generator.choice(len(unique_rows), size=max_count, replace=False))
        ]
