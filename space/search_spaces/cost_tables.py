"""The cost of batches of a search space's networks, through tables: exactly what `ArchSpec.cost`
returns for the decoded networks, about a thousand times faster.

The cost of a network is one look-up for each step (`step_tables`), and the sum.
"""

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phinas.space.cost import Cost
from phinas.space.search_spaces.search_space import SearchSpace, Value
from phinas.space.search_spaces.step_tables import (
    COST_OVERFLOW,
    METRICS,
    PEAK_METRIC,
    IntArray,
    build_steps,
    merge_steps,
)
from phinas.space.spec import SpecError

__all__ = ["METRICS", "CostTables", "IntArray"]

_BATCH_SIZE = 1 << 13  # networks at a time, so that the working set fits the cache


class CostTables:
    """The cost tables of a space. Filling them takes about 0.05 ms an entry.

    A layer with its own decisions is a step by itself, so the tables grow with the number of
    layers, not with the size of the space.

    Raises:
        SpecError: a table needs over 262,144 entries, or a cost exceeds 63 bits.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.value_counts = np.array([len(decision.values) for decision in space.decisions])
        self._value_indices = [
            (d.name, {value: index for index, value in enumerate(d.values)})
            for d in space.decisions
        ]
        self.steps = build_steps(space)
        max_costs = zip(*(step.costs.max(1) for step in self.steps), strict=True)
        if max(sum(int(max_cost) for max_cost in column) for column in max_costs) >> 63:
            raise SpecError(f"space {space.name!r}: {COST_OVERFLOW}")
        self._merged_steps = merge_steps(self.steps)
        # Indices times weights: the entry of each merged step, without the part of the input map.
        # float32 is exact here, because entries are below 2**24.
        self._weights = np.zeros(
            (len(self._merged_steps), len(self.value_counts)), dtype=np.float32
        )
        for step, weights in zip(self._merged_steps, self._weights, strict=True):
            for index, column in enumerate(step.columns):
                weights[column] += math.prod(step.value_counts[index + 1 :])
        self._has_next_map = [bool(step.out_map_indices.any()) for step in self._merged_steps]

    @cached_property
    def _list_tables(self) -> list[tuple[tuple[int, ...], tuple[int, ...], list[tuple[int, ...]]]]:
        """The merged steps as plain lists, which are faster for one network at a time."""
        return [
            (
                step.columns,
                step.value_counts,
                list(zip(*step.costs.tolist(), step.out_map_indices.tolist(), strict=True)),
            )
            for step in self._merged_steps
        ]

    def network_cost(self, choices: Mapping[str, Value]) -> Cost:
        """The cost of one complete set of choices.

        Raises:
            SpecError: a choice is missing, or is not one of the space.
        """
        try:
            indices = [positions[choices[name]] for name, positions in self._value_indices]
        except KeyError:
            self.space.decode(choices)  # its error names the choice
            raise
        entry = flops = params = activations = peak = 0
        for columns, value_counts, entries in self._list_tables:
            for column, value_count in zip(columns, value_counts, strict=True):
                entry = entry * value_count + indices[column]
            entry_flops, entry_params, entry_activations, entry_peak, entry = entries[entry]
            flops += entry_flops
            params += entry_params
            activations += entry_activations
            if entry_peak > peak:
                peak = entry_peak
        return Cost(flops, params, activations, peak)

    def batch_costs(self, indices: NDArray[np.integer[Any]]) -> IntArray:
        """The cost of many networks.

        Args:
            indices: rows of SearchSpace.to_indices, of shape (networks, decisions).

        Returns:
            An array of shape (networks, METRICS).

        Raises:
            SpecError: a shape, type or position is wrong.
        """
        if (
            indices.ndim != 2
            or indices.shape[1] != len(self.value_counts)
            or indices.dtype.kind not in "iu"
        ):
            actual = f"{indices.dtype} of shape {indices.shape}"
            raise SpecError(
                f"indices: {actual} are not whole numbers of shape (networks, "
                f"{len(self.value_counts)})"
            )
        # As unsigned numbers, negative positions are large; and comparing small types is fastest.
        unsigned_indices = (
            indices.view(f"u{indices.dtype.itemsize}") if indices.dtype.kind == "i" else indices
        )
        max_indices = np.minimum(
            self.value_counts - 1, min(np.iinfo(unsigned_indices.dtype).max, np.iinfo(np.int64).max)
        ).astype(unsigned_indices.dtype)
        total = np.zeros((len(METRICS), len(indices)), dtype=np.int64)
        for start in range(0, len(indices), _BATCH_SIZE):
            batch = unsigned_indices[start : start + _BATCH_SIZE]
            out_of_range = batch > max_indices
            if out_of_range.any():
                decision = self.space.decisions[int(out_of_range.any(0).argmax())]
                raise SpecError(
                    f"indices: a position for {decision.name} is not from 0 to "
                    f"{len(decision.values) - 1}"
                )
            self._add_costs(
                (self._weights @ batch.astype(np.float32).T).astype(np.intp),
                total[:, start : start + _BATCH_SIZE],
            )
        return total.T

    def _add_costs(self, entries: NDArray[np.intp], total: IntArray) -> None:
        """Add to `total` (metrics, networks) the costs of `entries` (merged steps, networks), which
        lack the part of the input map.
        """
        entry_costs = np.empty(entries.shape[1], dtype=np.int64)
        map_indices = None
        for step, entry, has_next_map in zip(
            self._merged_steps, entries, self._has_next_map, strict=True
        ):
            if map_indices is not None:
                entry += map_indices * math.prod(step.value_counts)
            for metric, costs in enumerate(step.costs):
                np.take(costs, entry, out=entry_costs, mode="clip")
                (np.maximum if metric == PEAK_METRIC else np.add)(
                    total[metric], entry_costs, out=total[metric]
                )
            map_indices = step.out_map_indices[entry] if has_next_map else None

    def stage_costs(self, indices: NDArray[np.integer[Any]]) -> IntArray:
        """The cost of each stage of the base, without checks of the input: (networks, decisions) ->
        (networks, stages, METRICS).
        """
        total = np.zeros((len(self.space.base.stages), len(METRICS), len(indices)), dtype=np.int64)
        map_indices = np.zeros(len(indices), dtype=np.intp)
        for step in self.steps:
            entry = map_indices
            for column, value_count in zip(step.columns, step.value_counts, strict=True):
                entry = entry * value_count + indices[:, column]
            if step.stage is not None:
                peak = np.maximum(total[step.stage, PEAK_METRIC], step.costs[PEAK_METRIC, entry])
                total[step.stage] += step.costs[:, entry]
                total[step.stage, PEAK_METRIC] = peak
            map_indices = step.out_map_indices[entry]
        return np.moveaxis(total, -1, 0)

    def cost_range(self, metric: str) -> tuple[int, int]:
        """The minimum and the maximum of a metric over all networks of the space, exactly."""
        row = METRICS.index(metric)
        return self._extreme_cost(row, np.minimum), self._extreme_cost(row, np.maximum)

    def _extreme_cost(self, metric: int, reduce_function: np.ufunc) -> int:
        """Dynamic programming over the steps: the extreme cost for each map, and for each set of
        choices that the steps of a stage share.
        """
        unreachable = np.iinfo(np.int64).max * (1 if reduce_function is np.minimum else -1)
        best = np.zeros((1, 1), dtype=np.int64)
        stage = None
        for step in self.steps:
            num_shared_choices = math.prod(step.value_counts[: step.num_shared])
            if step.stage is None or step.stage != stage:
                best = np.repeat(
                    reduce_function.reduce(best, axis=1, keepdims=True), num_shared_choices, axis=1
                )
            stage = step.stage
            costs, out_map_indices = (
                array.reshape(step.num_in_maps, num_shared_choices, -1)
                for array in (step.costs[metric], step.out_map_indices)
            )
            previous_best = np.broadcast_to(best[:, :, None], costs.shape)
            total = (
                np.maximum(previous_best, costs)
                if metric == PEAK_METRIC
                else np.where(previous_best == unreachable, 0, previous_best) + costs
            )
            total = np.where(previous_best == unreachable, unreachable, total)
            best = np.full(
                (int(out_map_indices.max()) + 1, num_shared_choices), unreachable, dtype=np.int64
            )
            reduce_function.at(
                best, (out_map_indices, np.arange(num_shared_choices)[None, :, None]), total
            )
        return int(reduce_function.reduce(best, axis=None))
