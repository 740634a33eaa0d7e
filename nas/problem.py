"""The problem of a search: what is known before any training.

These are the space, the cost constraint, the reward and the cost of each network. A strategy has to
learn only the score, and the latency if that is the cost.

Strategies that compare many networks at once represent each by a row: the indices of its choices,
as in `SearchSpace.to_indices`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution

from phinas.nas.cost_constraint import CostConstraint
from phinas.nas.reward import Reward
from phinas.nas.row_keys import unique_row_indices
from phinas.nas.surrogate.features import FeatureEncoder, NetworkFeatures
from phinas.nas.surrogate.gaussian_process import FloatArray
from phinas.nas.surrogate.transfer import EarlierSearch, TransferEncoder
from phinas.space.search_spaces.cost_tables import METRICS, CostTables, IntArray
from phinas.space.search_spaces.inactive_choices import InactiveChoices, Indices
from phinas.space.search_spaces.search_space import Choices, SearchSpace, Value
from phinas.space.spec import SpecError

# Attributes of a complete trial in the study of a sampler. COST is the cost in the reward.
SCORE = "score"
COST = "cost"

_SLOPE_RANGE = (1e-30, 1e30)  # an exponent of -1000 exceeds the range of floats
_MAX_ENUMERABLE = 4096  # a space with at most this many sets of choices is sampled completely
# Rounds of sampling, for a constraint that few networks satisfy.
_MAX_SAMPLING_ROUNDS = 64
# In a space that is too large for cost tables, computing a cost takes a thousand times longer.
_MAX_SLOW_SAMPLING_ROUNDS = 2
_MAX_CACHED_COSTS = 100_000  # of such a space
_TRANSFER_SAMPLE_SIZE = 1024  # number of random networks by which predictions are centered


def make_pool(
    space: SearchSpace, choices: Sequence[Choices] | None
) -> tuple[tuple[int, ...], ...] | None:
    """`Problem.pool` for the networks that an evaluator can score."""
    return None if choices is None else tuple(tuple(space.to_indices(item)) for item in choices)


def make_distributions(space: SearchSpace) -> dict[str, CategoricalDistribution]:
    """The decisions of a space as Optuna's distributions."""
    return {decision.name: CategoricalDistribution(decision.values) for decision in space.decisions}


@dataclass(frozen=True)
class Problem:
    """What a strategy knows about a search.

    Attributes:
        space: The search space.
        cost_constraint: Limits of the FLOPs.
        reward: Combines score and cost.
        pareto: Whether a Pareto front is searched for. The objectives are then the score, which is
            maximized, and the cost, which is minimized.
        epochs: Epochs of a full training.
        can_pause: Whether the strategy may pause and resume trainings.
        scores_choices: Whether the evaluator scores choices, not networks. Then two sets of choices
            for one network are two candidates, unless they differ in inactive choices only.
        pool: The only networks that may be trained, as rows. None: all networks of the space.
        earlier_searches: Earlier searches of the space, from which a strategy may learn.
    """

    space: SearchSpace
    cost_constraint: CostConstraint
    reward: Reward
    pareto: bool = False
    epochs: int = 1
    can_pause: bool = False
    scores_choices: bool = False
    pool: tuple[tuple[int, ...], ...] | None = None
    earlier_searches: tuple[EarlierSearch, ...] = ()

    @property
    def has_analytic_costs(self) -> bool:
        """Whether `costs` has the cost of the reward. If not, it is measured, and complete trials
        have it as their attribute COST.
        """
        return self.reward.cost_metric in METRICS

    def linear_coefficients(self, costs: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Slope and intercept of the reward as a function of the score. The slope is clipped to
        _SLOPE_RANGE.
        """
        slope, intercept = self.reward.linear_coefficients(costs)
        return np.clip(slope, *_SLOPE_RANGE), intercept

    @cached_property
    def num_choices(self) -> NDArray[np.int64]:
        """Number of values of each decision."""
        return np.array([len(decision.values) for decision in self.space.decisions])

    @cached_property
    def _tables(self) -> CostTables | None:
        try:
            return CostTables(self.space)
        except SpecError:  # a stage with more choices than a table holds
            return None

    @cached_property
    def features(self) -> FeatureEncoder:
        """Encodes networks as feature vectors."""
        return FeatureEncoder(self.space, self.costs, self.stage_costs)

    @cached_property
    def score_features(self) -> NetworkFeatures:
        """`features` for a model of the score: with what earlier searches predict, if any."""
        if not self.earlier_searches:
            return self.features
        sample = self.sample(_TRANSFER_SAMPLE_SIZE, np.random.default_rng(0))
        return TransferEncoder(self.features, self.earlier_searches, sample)

    @cached_property
    def _inactive_choices(self) -> InactiveChoices:
        return InactiveChoices(self.space)

    def canonicalize(self, indices: Indices) -> Indices:
        """The same networks, with every inactive choice set to its first value."""
        return np.where(self._inactive_choices.inactive_mask(indices), 0, indices)

    def to_indices(self, choices: Sequence[Mapping[str, Value]]) -> NDArray[np.int64]:
        """The indices of sets of choices, (networks, decisions). They are cached, since each
        proposal needs those of all trials.
        """
        names = [decision.name for decision in self.space.decisions]
        rows = []
        for mapping in choices:
            values = tuple(map(mapping.__getitem__, names))
            if values not in self._row_cache:
                self._row_cache[values] = self.space.to_indices(mapping)
            rows.append(self._row_cache[values])
        return np.array(rows, dtype=np.int64).reshape(len(choices), len(self.num_choices))

    @cached_property
    def _row_cache(self) -> dict[tuple[Value, ...], list[int]]:
        return {}

    def canonical_choices(self, choices: Mapping[str, Value]) -> Choices:
        """The same network, with every inactive choice set to its first value."""
        return self._inactive_choices.canonical_choices(choices)

    @cached_property
    def _identities(self) -> dict[tuple[int, ...], str]:
        return {}

    def identify_row(self, row: Sequence[int]) -> str:
        """`identify` for one row. It is cached, since the same networks are compared at each
        proposal.
        """
        row_key = tuple(row)
        if row_key not in self._identities:
            choices = self.space.from_indices(row_key)
            network_id = self.space.decode(choices).network_id
            self._identities[row_key] = self.identify(choices, network_id)
        return self._identities[row_key]

    def identify(self, choices: Mapping[str, Value], network_id: str) -> str:
        """What tells one candidate from another: its network, or its choices if those are scored.

        Args:
            choices: A complete set of choices.
            network_id: That of their network.
        """
        if not self.scores_choices:
            return network_id
        row = self.space.to_indices(self.canonical_choices(choices))
        return f"{network_id}:{','.join(map(str, row))}"

    def costs(self, indices: Indices) -> IntArray:
        """The costs of networks, (networks, decisions) -> (networks, METRICS)."""
        if self._tables is not None:
            return self._tables.batch_costs(indices)
        return np.array(
            [self._compute_cost(tuple(row)) for row in indices.tolist()], dtype=np.int64
        ).reshape(-1, len(METRICS))

    @cached_property
    def _pool_rows(self) -> Indices:
        """The canonical rows of the pool that satisfy the cost constraint."""
        rows = self.canonicalize(np.array(self.pool or (), dtype=np.int64))
        return rows[self.feasible_mask(self.costs(rows))]

    def is_in_pool(self, choices: Mapping[str, Value]) -> bool:
        """Whether a network may be trained, its cost aside."""
        if self.pool is None:
            return True
        row = self.space.to_indices(self.canonical_choices(choices))
        return bool((self._pool_rows == row).all(1).any())

    def enumerate_pool(self) -> Iterator[Choices]:
        """The networks of the pool that satisfy the cost constraint."""
        for row in self._pool_rows.tolist():
            yield self.space.from_indices(row)

    @cached_property
    def _cost_cache(self) -> dict[tuple[int, ...], list[int]]:
        return {}

    def _compute_cost(self, row: tuple[int, ...]) -> list[int]:
        """METRICS of one network. They are cached, since a proposal needs each several times."""
        if row not in self._cost_cache:
            if len(self._cost_cache) >= _MAX_CACHED_COSTS:
                self._cost_cache.clear()
            cost = self.space.decode(self.space.from_indices(row)).cost()
            self._cost_cache[row] = [getattr(cost, metric) for metric in METRICS]
        return self._cost_cache[row]

    def stage_costs(self, indices: Indices) -> IntArray:
        """The costs of the stages, (networks, decisions) -> (networks, stages, METRICS).

        They are 0 in a space that is too large for cost tables.
        """
        if self._tables is not None:
            return self._tables.stage_costs(indices)
        return np.zeros((len(indices), len(self.space.base.stages), len(METRICS)), dtype=np.int64)

    def feasible_mask(self, costs: IntArray) -> NDArray[np.bool_]:
        """Which networks satisfy the cost constraint, (networks, METRICS) -> (networks,)."""
        flops = costs[:, METRICS.index("flops")]
        return (flops >= self.cost_constraint.min_flops) & (flops <= self.cost_constraint.max_flops)

    def sample(self, count: int, generator: np.random.Generator) -> Indices:
        """Sample networks that satisfy the cost constraint.

        Returns:
            Canonical, distinct rows, at most `count` of them. In a small space or from a pool, all
            networks that satisfy the constraint, in random order. If none is sampled, one network
            that does not.
        """
        if self.pool is not None and len(self._pool_rows):
            return generator.permutation(self._pool_rows)
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
        """The networks that differ from one of the given networks in one decision. In a pool, all
        its networks.

        Returns:
            Canonical, distinct rows. If there are more than `max_count`, a random subset.
        """
        if self.pool is not None:
            return self.sample(max_count, generator)[:max_count]
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
