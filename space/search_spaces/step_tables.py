"""The steps of a search space's networks, each a table of costs.

A network is walked from stem to head. What a step (stem, stage, layer or head) costs depends on its
own decisions and on the map (channels, resolution) that enters it, so a step is a table over both,
with the cost and the output map. The tables are filled once, by the closed form.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phinas.space.cost import ZERO_COST, Cost, head_cost, stage_cost, stem_cost
from phinas.space.layers import output_resolution
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.space.spec import SpecError, StageSpec

METRICS = tuple(field.name for field in dataclasses.fields(Cost))
PEAK_METRIC = METRICS.index("peak_activations")
IntArray = NDArray[np.int64]

MAX_TABLE_ENTRIES = 1 << 18  # entries of one table: a quarter of a minute to fill
COST_OVERFLOW = "a network of it may cost over 9e18, which exceeds 63 bits; make it smaller"
_MAX_MERGED_ENTRIES = 1 << 11  # entries of a table that several steps may be merged into

_FeatureMap = tuple[int, int]  # channels and resolution
_CostFunction = Callable[[_FeatureMap, dict[str, Any]], tuple[Cost, _FeatureMap]]


@dataclass(frozen=True)
class StepTable:
    """The costs of one step, as a table over (input map, decisions); the last decision varies
    fastest.

    Attributes:
        stage: index of the stage, None for stem, head and merged steps.
        columns: the decisions of the step, as positions in the space.
        value_counts: the number of values of each decision.
        num_shared: how many decisions, from the first, the next step of the same stage has too.
        num_in_maps: the number of maps that may enter.
        costs: shape (metrics, entries).
        out_map_indices: the index of each entry's output map.
    """

    stage: int | None
    columns: tuple[int, ...]
    value_counts: tuple[int, ...]
    num_shared: int
    num_in_maps: int
    costs: IntArray
    out_map_indices: NDArray[np.intp]


def build_steps(space: SearchSpace) -> list[StepTable]:
    """The steps of `space` from stem to head.

    Raises:
        SpecError: a table needs over MAX_TABLE_ENTRIES entries, or a cost exceeds 63 bits.
    """
    return _StepBuilder(space).build()


def merge_steps(steps: list[StepTable]) -> list[StepTable]:
    """The same network in fewer steps, as long as the tables stay small."""
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
        costs[PEAK_METRIC] = np.maximum(
            previous.costs[PEAK_METRIC, :, None], step_costs[PEAK_METRIC]
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


class _StepBuilder:
    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self._column_of = {decision.name: index for index, decision in enumerate(space.decisions)}
        self._in_maps: list[_FeatureMap] = [(0, 0)]  # that may enter the next step

    def build(self) -> list[StepTable]:
        steps = [self._make_step(None, [], ["stem_width", "resolution"], self._stem_cost)]
        for index in range(len(self.space.base.stages)):
            steps += self._stage_steps(index)
        return [*steps, self._make_step(None, [], ["head_width"], self._head_cost)]

    def _make_step(
        self,
        stage: int | None,
        stage_names: list[str],
        layer_names: list[str],
        cost_function: _CostFunction,
    ) -> StepTable:
        """A step over those decisions that the space has; it replaces the maps that may enter the
        next step.
        """
        columns = [
            self._column_of[name]
            for name in (*stage_names, *layer_names)
            if name in self._column_of
        ]
        decisions = [self.space.decisions[column] for column in columns]
        value_counts = tuple(len(decision.values) for decision in decisions)
        num_entries = math.prod(value_counts) * len(self._in_maps)
        if num_entries > MAX_TABLE_ENTRIES:
            raise SpecError(
                f"{decisions[0].name}: its step has {num_entries:,} combinations, over "
                f"{MAX_TABLE_ENTRIES:,}; use `ArchSpec.cost` for this space"
            )
        costs, out_map_indices = [], []
        map_indices: dict[_FeatureMap, int] = {}
        for in_map in self._in_maps:
            for settings in itertools.product(*(decision.settings for decision in decisions)):
                fields: dict[str, Any] = {}
                for setting in settings:  # a layer's own choice replaces its stage's
                    fields |= setting
                cost, out_map = cost_function(in_map, fields)
                costs.append([getattr(cost, metric) for metric in METRICS])
                out_map_indices.append(map_indices.setdefault(out_map, len(map_indices)))
        try:
            table = np.ascontiguousarray(np.array(costs, dtype=np.int64).T)
        except OverflowError:
            raise SpecError(f"space {self.space.name!r}: {COST_OVERFLOW}") from None
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
        """A stage as one step, or as one for each layer if layers have their own decisions."""
        base = self.space.base.stages[index]
        # Without the cache, repeated validation would double the time.
        stage_cache: dict[tuple[tuple[str, Any], ...], StageSpec] = {}

        def make_stage(choices: dict[str, Any]) -> StageSpec:
            key = tuple(sorted(choices.items()))
            if key not in stage_cache:
                stage_cache[key] = replace(base, **choices)
            return stage_cache[key]

        stage_names = [
            name
            for name in self._column_of
            if name.startswith(f"stages.{index}.") and ".layers." not in name
        ]
        if not self.space.levels.has_layer_decisions(index):

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

        return self._layer_steps(index, stage_names, make_stage)

    def _layer_steps(
        self, index: int, stage_names: list[str], make_stage: Callable[[dict[str, Any]], StageSpec]
    ) -> list[StepTable]:
        """The layers of a stage as one step each."""
        base = self.space.base.stages[index]
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
