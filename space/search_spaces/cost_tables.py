"""The cost of whole batches of a search space's choices, through tables: exactly what
`network_cost` gives of the decoded networks, about a thousand times faster.

A network is walked from stem to head. What a step costs depends on its own decisions and on the map
(channels, resolution) that enters it, so a step is a table over both, with the cost and the output
map. The tables are filled once, by the closed form; the cost of a network is one look-up a step,
and the sum.
"""

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phinas.space.cost import ZERO_COST, Cost, head_cost, stage_cost, stem_cost
from phinas.space.layers import output_resolution
from phinas.space.search_spaces.search_space import SearchSpace, Value
from phinas.space.spec import SpecError, StageSpec

METRICS = tuple(field.name for field in fields(Cost))
IntArray = NDArray[np.int64]

_PEAK_METRIC = METRICS.index("peak_activations")
_BATCH_SIZE = 1 << 13  # networks at a time, so that the working set fits the cache
_MAX_TABLE_ENTRIES = 1 << 18  # entries of one table: a quarter of a minute to fill
_COST_OVERFLOW = (
    "a network of it may cost over 9e18, which does not fit the tables; make it smaller"
)
_MAX_MERGED_ENTRIES = 1 << 11  # entries of a table that several steps may be merged into

_FeatureMap = tuple[int, int]  # channels and resolution
_CostFunction = Callable[[_FeatureMap, dict[str, Any]], tuple[Cost, _FeatureMap]]


@dataclass(frozen=True)
class StepTable:
    """One step from stem to head, as a table over (map, decisions), the last decision turning
    fastest.

    columns: which decisions. value_counts: how many values each has. num_shared: how many of them,
    from the first, the next step of the same stage has too. num_in_maps: how many maps may enter.
    costs: (metrics, entries). out_map_indices: the index of each entry's output map.
    """

    stage: int | None
    columns: tuple[int, ...]
    value_counts: tuple[int, ...]
    num_shared: int
    num_in_maps: int
    costs: IntArray
    out_map_indices: NDArray[np.intp]


def _merge_steps(steps: list[StepTable]) -> list[StepTable]:
    """The same way from stem to head in fewer steps, as far as their tables stay small."""
    merged_steps = [steps[0]]
    for step in steps[1:]:
        previous = merged_steps[-1]
        num_choices = math.prod(step.value_counts)
        if len(previous.out_map_indices) * num_choices > _MAX_MERGED_ENTRIES:
            merged_steps.append(step)
            continue
        out_map_indices = step.out_map_indices.reshape(step.num_in_maps, num_choices)[
            previous.out_map_indices
        ].reshape(-1)
        step_costs = step.costs.reshape(len(METRICS), step.num_in_maps, num_choices)[
            :, previous.out_map_indices
        ]
        costs = previous.costs[:, :, None] + step_costs
        costs[_PEAK_METRIC] = np.maximum(
            previous.costs[_PEAK_METRIC, :, None], step_costs[_PEAK_METRIC]
        )
        columns, value_counts = (
            previous.columns + step.columns,
            previous.value_counts + step.value_counts,
        )
        merged_steps[-1] = StepTable(
            None,
            columns,
            value_counts,
            0,
            previous.num_in_maps,
            np.ascontiguousarray(costs.reshape(len(METRICS), -1)),
            out_map_indices,
        )
    return merged_steps


class CostTables:
    """The tables of a space. Filling them takes about 0.05 ms an entry.

    Raises SpecError where a table needs over 262,144 entries, and where a cost does not fit 63
    bits.

    A layer with decisions of its own is a step by itself, so the tables grow with the layers, not
    with the space.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.value_counts = np.array([len(decision.values) for decision in space.decisions])
        self._value_indices = [
            (d.name, {value: index for index, value in enumerate(d.values)})
            for d in space.decisions
        ]
        self._column_of = {decision.name: index for index, decision in enumerate(space.decisions)}
        self._in_maps: list[_FeatureMap] = [(0, 0)]  # that may enter the next step
        self.steps = [self._make_step(None, [], ["stem_width", "resolution"], self._stem_cost)]
        for index in range(len(space.base.stages)):
            self.steps += self._stage_steps(index)
        self.steps.append(self._make_step(None, [], ["head_width"], self._head_cost))
        if (
            max(
                sum(int(max_cost) for max_cost in column)
                for column in zip(*(s.costs.max(1) for s in self.steps), strict=True)
            )
            >> 63
        ):
            raise SpecError(f"space {space.name!r}: {_COST_OVERFLOW}")
        self._merged_steps = _merge_steps(self.steps)
        # Indices times weights: the entry of each merged step, except for the part of the input
        # map.
        # exact: entries are below 2**24
        self._weights = np.zeros(
            (len(self._merged_steps), len(self.value_counts)), dtype=np.float32
        )
        for step, weights in zip(self._merged_steps, self._weights, strict=True):
            for index, column in enumerate(step.columns):
                weights[column] += math.prod(step.value_counts[index + 1 :])
        self._has_next_map = [bool(step.out_map_indices.any()) for step in self._merged_steps]

    @cached_property
    def _list_tables(self) -> list[tuple[tuple[int, ...], tuple[int, ...], list[tuple[int, ...]]]]:
        """The merged steps in plain lists, which are faster for one network at a time."""
        merged_steps = self._merged_steps
        return [
            (
                step.columns,
                step.value_counts,
                list(zip(*step.costs.tolist(), step.out_map_indices.tolist(), strict=True)),
            )
            for step in merged_steps
        ]

    def network_cost(self, choices: Mapping[str, Value]) -> Cost:
        """The cost of one complete set of choices. Raises SpecError for one that is missing or
        foreign.
        """
        try:
            indices = [positions[choices[name]] for name, positions in self._value_indices]
        except KeyError:
            self.space.decode(choices)  # says which
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
        """The cost of many networks: rows of SearchSpace.to_indices (networks, decisions) to
        (networks, METRICS).

        Raises SpecError for a wrong shape, kind of number or index.
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
        # Read without a sign, a negative position is a large one; and small numbers are compared
        # the fastest.
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
        """Add to `total` (metrics, networks) the costs of `entries` (merged steps, networks),
        which lack the part of the input map.
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
                (np.maximum if metric == _PEAK_METRIC else np.add)(
                    total[metric], entry_costs, out=total[metric]
                )
            map_indices = step.out_map_indices[entry] if has_next_map else None

    def stage_costs(self, indices: NDArray[np.integer[Any]]) -> IntArray:
        """What each stage of the base costs: (networks, decisions) -> (networks, stages, METRICS).
        Checks nothing.
        """
        total = np.zeros((len(self.space.base.stages), len(METRICS), len(indices)), dtype=np.int64)
        map_indices = np.zeros(len(indices), dtype=np.intp)
        for step in self.steps:
            entry = map_indices
            for column, value_count in zip(step.columns, step.value_counts, strict=True):
                entry = entry * value_count + indices[:, column]
            if step.stage is not None:
                peak = np.maximum(total[step.stage, _PEAK_METRIC], step.costs[_PEAK_METRIC, entry])
                total[step.stage] += step.costs[:, entry]
                total[step.stage, _PEAK_METRIC] = peak
            map_indices = step.out_map_indices[entry]
        return np.moveaxis(total, -1, 0)

    def cost_range(self, metric: str) -> tuple[int, int]:
        """The minimum and the maximum of a metric over all networks of the space, exactly."""
        row = METRICS.index(metric)
        return self._extreme_cost(row, np.minimum), self._extreme_cost(row, np.maximum)

    def _extreme_cost(self, metric: int, reduce_function: np.ufunc) -> int:
        """The best way to each map, and with each set of choices that the stage at hand shares,
        step by step.
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
                if metric == _PEAK_METRIC
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

    def _make_step(
        self,
        stage: int | None,
        stage_names: list[str],
        layer_names: list[str],
        cost_function: _CostFunction,
    ) -> StepTable:
        """The step that those decisions (names, as far as they are open) make, and the maps after
        it.
        """
        columns = [
            self._column_of[name]
            for name in (*stage_names, *layer_names)
            if name in self._column_of
        ]
        decisions = [self.space.decisions[column] for column in columns]
        value_counts = tuple(len(decision.values) for decision in decisions)
        num_entries = math.prod(value_counts) * len(self._in_maps)
        if num_entries > _MAX_TABLE_ENTRIES:
            raise SpecError(
                f"{decisions[0].name}: the decisions beside it have {num_entries:,} combinations; "
                "price by `network_cost` instead"
            )
        costs, out_map_indices = [], []
        map_indices: dict[_FeatureMap, int] = {}
        names = [decision.name.rpartition(".")[2] for decision in decisions]
        for in_map in self._in_maps:
            for values in itertools.product(*(decision.values for decision in decisions)):
                # A later name goes before an equal earlier one: a layer's own choice before its
                # stage's.
                cost, out_map = cost_function(in_map, dict(zip(names, values, strict=True)))
                costs.append([getattr(cost, metric) for metric in METRICS])
                out_map_indices.append(map_indices.setdefault(out_map, len(map_indices)))
        try:
            table = np.ascontiguousarray(np.array(costs, dtype=np.int64).T)
        except OverflowError:
            raise SpecError(f"space {self.space.name!r}: {_COST_OVERFLOW}") from None
        shared_columns = sum(name in self._column_of for name in stage_names)
        step = StepTable(
            stage,
            tuple(columns),
            value_counts,
            shared_columns,
            len(self._in_maps),
            table,
            np.array(out_map_indices, dtype=np.intp),
        )
        self._in_maps = list(map_indices)
        return step

    def _stem_cost(self, _in_map: _FeatureMap, choices: dict[str, Any]) -> tuple[Cost, _FeatureMap]:
        spec = replace(self.space.base, **choices)
        cost, resolution = stem_cost(spec)
        return cost, (spec.stem_width, resolution)

    def _head_cost(self, in_map: _FeatureMap, choices: dict[str, Any]) -> tuple[Cost, _FeatureMap]:
        return head_cost(replace(self.space.base, **choices), *in_map), (0, 0)

    def _stage_steps(self, index: int) -> list[StepTable]:
        """A stage as one step, or as one for each layer where the layers have decisions of their
        own.
        """
        base = self.space.base.stages[index]
        # Without the cache, repeated validation would double the time.
        stage_cache: dict[tuple[tuple[str, Any], ...], StageSpec] = {}

        def make_stage(choices: dict[str, Any]) -> StageSpec:
            key = tuple(choices.items())
            if key not in stage_cache:
                stage_cache[key] = replace(base, **choices)
            return stage_cache[key]

        stage_names = [
            name
            for name in self._column_of
            if name.startswith(f"stages.{index}.") and ".layers." not in name
        ]
        if not self.space.has_layer_decisions(index):

            def full_stage_cost(
                in_map: _FeatureMap, choices: dict[str, Any]
            ) -> tuple[Cost, _FeatureMap]:
                stage = make_stage(choices)
                out_map = (
                    in_map
                    if stage.block == "identity"
                    else (stage.width, output_resolution(in_map[1], stage.stride))
                )
                return stage_cost(stage, *in_map), out_map

            return [self._make_step(index, [], stage_names, full_stage_cost)]

        steps = []
        for layer in range(self.space.max_depth(index)):
            stride = base.stride if layer == 0 else 1

            def layer_cost(
                in_map: _FeatureMap,
                choices: dict[str, Any],
                *,
                layer: int = layer,
                stride: int = stride,
            ) -> tuple[Cost, _FeatureMap]:
                depth = choices.get("depth", base.depth)
                stage = make_stage(choices | {"depth": 1, "stride": stride})
                if layer >= depth or stage.block == "identity":
                    return ZERO_COST, in_map
                return stage_cost(stage, *in_map), (
                    stage.width,
                    output_resolution(in_map[1], stride),
                )

            layer_names = [
                name
                for name in self._column_of
                if name.startswith(f"stages.{index}.layers.{layer}.")
            ]
            steps.append(self._make_step(index, stage_names, layer_names, layer_cost))
        return steps
