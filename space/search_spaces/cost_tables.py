"""The cost of whole batches of a search space's choices, through tables: exactly what `cost` gives
of the decoded networks, about a thousand times faster.

A network is walked from stem to head. What a step costs depends on its own decisions and on the map
(channels, side) that reaches it, so a step is a table over both, with the cost and the map handed
on. The tables are filled once, by the closed form; pricing a network is one look-up a step, and the
sum.
"""

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phinas.space.cost import NOTHING, Cost, head_cost, stage_cost, stem_cost
from phinas.space.layers import reduced
from phinas.space.search_spaces.search_space import SearchSpace, Value
from phinas.space.spec import SpecError, StageSpec

METRICS = tuple(field.name for field in fields(Cost))
Integers = NDArray[np.int64]

_PEAK = METRICS.index("peak_activations")
_CHUNK = 1 << 13  # networks priced at a time: what is at hand stays in the cache
_LARGEST = 1 << 18  # entries of one table: a quarter of a minute to fill
_TOO_DEAR = "a network of it may cost over 9e18, which does not fit the tables; make it smaller"
_CACHED = 1 << 11  # entries of a table that several steps may be merged into

_Map = tuple[int, int]  # channels and side
_Price = Callable[[_Map, dict[str, Any]], tuple[Cost, _Map]]


@dataclass(frozen=True)
class Step:
    """One step from stem to head, as a table over (map, decisions), the last decision turning
    fastest.

    columns: which decisions. radices: how many values each has. shared: how many of them, from the
    first, the next step of the same stage has too. costs: (metrics, entries). after: which map each
    entry hands on. maps: how many may come in.
    """

    stage: int | None
    columns: tuple[int, ...]
    radices: tuple[int, ...]
    shared: int
    maps: int
    costs: Integers
    after: NDArray[np.intp]


def _merged(steps: list[Step]) -> list[Step]:
    """The same way from stem to head in fewer steps, as far as their tables stay small."""
    hops = [steps[0]]
    for step in steps[1:]:
        last = hops[-1]
        choices = math.prod(step.radices)
        if len(last.after) * choices > _CACHED:
            hops.append(step)
            continue
        after = step.after.reshape(step.maps, choices)[last.after].reshape(-1)
        then = step.costs.reshape(len(METRICS), step.maps, choices)[:, last.after]
        costs = last.costs[:, :, None] + then
        costs[_PEAK] = np.maximum(last.costs[_PEAK, :, None], then[_PEAK])
        columns, radices = last.columns + step.columns, last.radices + step.radices
        hops[-1] = Step(
            None,
            columns,
            radices,
            0,
            last.maps,
            np.ascontiguousarray(costs.reshape(len(METRICS), -1)),
            after,
        )
    return hops


class CostTables:
    """The tables of a space. Filling them takes about 0.05 ms an entry.

    Raises SpecError where a table needs over 262,144 entries, and where a cost does not fit 63
    bits.

    A layer with decisions of its own is a step by itself, so the tables grow with the layers, not
    with the space.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.counts = np.array([len(decision.values) for decision in space.decisions])
        self._positions = [
            (d.name, {value: index for index, value in enumerate(d.values)})
            for d in space.decisions
        ]
        self._column = {decision.name: index for index, decision in enumerate(space.decisions)}
        self._maps: list[_Map] = [(0, 0)]  # that may reach the next step
        self.steps = [self._step(None, [], ["stem_width", "resolution"], self._stem)]
        for index in range(len(space.base.stages)):
            self.steps += self._stage(index)
        self.steps.append(self._step(None, [], ["head_width"], self._head))
        if (
            max(
                sum(int(most) for most in column)
                for column in zip(*(s.costs.max(1) for s in self.steps), strict=True)
            )
            >> 63
        ):
            raise SpecError(f"space {space.name!r}: {_TOO_DEAR}")
        self._hops = _merged(self.steps)
        # Positions times weights: which entry of each hop, but for the map that arrives.
        self._weights = np.zeros(
            (len(self._hops), len(self.counts)), dtype=np.float32
        )  # exact: entries are below 2**24
        for hop, weights in zip(self._hops, self._weights, strict=True):
            for index, column in enumerate(hop.columns):
                weights[column] += math.prod(hop.radices[index + 1 :])
        self._leads_on = [bool(hop.after.any()) for hop in self._hops]

    @cached_property
    def _rows(self) -> list[tuple[tuple[int, ...], tuple[int, ...], list[tuple[int, ...]]]]:
        """The hops in plain lists, which are quicker for one network at a time."""
        hops = self._hops
        return [
            (h.columns, h.radices, list(zip(*h.costs.tolist(), h.after.tolist(), strict=True)))
            for h in hops
        ]

    def one(self, choices: Mapping[str, Value]) -> Cost:
        """The cost of one complete set of choices. Raises SpecError for one that is missing or
        foreign.
        """
        try:
            at = [positions[choices[name]] for name, positions in self._positions]
        except KeyError:
            self.space.decode(choices)  # says which
            raise
        here = flops = params = activations = peak = 0
        for columns, radices, entries in self._rows:
            for column, radix in zip(columns, radices, strict=True):
                here = here * radix + at[column]
            more_flops, more_params, more_activations, one_peak, here = entries[here]
            flops += more_flops
            params += more_params
            activations += more_activations
            if one_peak > peak:
                peak = one_peak
        return Cost(flops, params, activations, peak)

    def batch(self, indices: NDArray[np.integer[Any]]) -> Integers:
        """The cost of many: positions as of SearchSpace.indices (networks, decisions) -> (networks,
        METRICS).

        Raises SpecError for a wrong shape, kind of number or position.
        """
        if (
            indices.ndim != 2
            or indices.shape[1] != len(self.counts)
            or indices.dtype.kind not in "iu"
        ):
            given = f"{indices.dtype} of shape {indices.shape}"
            raise SpecError(
                f"indices: {given} are not whole numbers of shape (networks, {len(self.counts)})"
            )
        # Read without a sign, a negative position is a large one; and small numbers are compared
        # the fastest.
        positions = (
            indices.view(f"u{indices.dtype.itemsize}") if indices.dtype.kind == "i" else indices
        )
        last = np.minimum(
            self.counts - 1, min(np.iinfo(positions.dtype).max, np.iinfo(np.int64).max)
        ).astype(positions.dtype)
        total = np.zeros((len(METRICS), len(indices)), dtype=np.int64)
        for start in range(0, len(indices), _CHUNK):
            part = positions[start : start + _CHUNK]
            wrong = part > last
            if wrong.any():
                decision = self.space.decisions[int(wrong.any(0).argmax())]
                raise SpecError(
                    f"indices: a position for {decision.name} is not from 0 to "
                    f"{len(decision.values) - 1}"
                )
            self._add(
                (self._weights @ part.astype(np.float32).T).astype(np.intp),
                total[:, start : start + _CHUNK],
            )
        return total.T

    def _add(self, entries: NDArray[np.intp], total: Integers) -> None:
        """Add to `total` (metrics, networks) the costs of `entries` (hops, networks), which lack
        the map that arrives.
        """
        found = np.empty(entries.shape[1], dtype=np.int64)
        arriving = None
        for hop, entry, leads_on in zip(self._hops, entries, self._leads_on, strict=True):
            if arriving is not None:
                entry += arriving * math.prod(hop.radices)
            for metric, costs in enumerate(hop.costs):
                np.take(costs, entry, out=found, mode="clip")
                (np.maximum if metric == _PEAK else np.add)(total[metric], found, out=total[metric])
            arriving = hop.after[entry] if leads_on else None

    def by_stage(self, indices: NDArray[np.integer[Any]]) -> Integers:
        """What each stage of the base costs: (networks, decisions) -> (networks, stages, METRICS).
        Checks nothing.
        """
        total = np.zeros((len(self.space.base.stages), len(METRICS), len(indices)), dtype=np.int64)
        arriving = np.zeros(len(indices), dtype=np.intp)
        for step in self.steps:
            entry = arriving
            for column, radix in zip(step.columns, step.radices, strict=True):
                entry = entry * radix + indices[:, column]
            if step.stage is not None:
                peak = np.maximum(total[step.stage, _PEAK], step.costs[_PEAK, entry])
                total[step.stage] += step.costs[:, entry]
                total[step.stage, _PEAK] = peak
            arriving = step.after[entry]
        return np.moveaxis(total, -1, 0)

    def reach(self, metric: str) -> tuple[int, int]:
        """The least and the most of a metric that any network of the space has, exactly."""
        row = METRICS.index(metric)
        return self._extreme(row, np.minimum), self._extreme(row, np.maximum)

    def _extreme(self, metric: int, better: np.ufunc) -> int:
        """The best way to each map, and with each set of choices that the stage at hand shares,
        step by step.
        """
        unreached = np.iinfo(np.int64).max * (1 if better is np.minimum else -1)
        best = np.zeros((1, 1), dtype=np.int64)
        stage = None
        for step in self.steps:
            shared = math.prod(step.radices[: step.shared])
            if step.stage is None or step.stage != stage:
                best = np.repeat(better.reduce(best, axis=1, keepdims=True), shared, axis=1)
            stage = step.stage
            costs, after = (
                array.reshape(step.maps, shared, -1) for array in (step.costs[metric], step.after)
            )
            so_far = np.broadcast_to(best[:, :, None], costs.shape)
            total = (
                np.maximum(so_far, costs)
                if metric == _PEAK
                else np.where(so_far == unreached, 0, so_far) + costs
            )
            total = np.where(so_far == unreached, unreached, total)
            best = np.full((int(after.max()) + 1, shared), unreached, dtype=np.int64)
            better.at(best, (after, np.arange(shared)[None, :, None]), total)
        return int(better.reduce(best, axis=None))

    def _step(self, stage: int | None, shared: list[str], own: list[str], price: _Price) -> Step:
        """The step that those decisions (names, as far as they are open) make, and the maps after
        it.
        """
        columns = [self._column[name] for name in (*shared, *own) if name in self._column]
        decisions = [self.space.decisions[column] for column in columns]
        radices = tuple(len(decision.values) for decision in decisions)
        entries = math.prod(radices) * len(self._maps)
        if entries > _LARGEST:
            raise SpecError(
                f"{decisions[0].name}: the decisions beside it have {entries:,} combinations; "
                "price by `cost` instead"
            )
        costs, after = [], []
        numbers: dict[_Map, int] = {}
        names = [decision.name.rpartition(".")[2] for decision in decisions]
        for arriving in self._maps:
            for values in itertools.product(*(decision.values for decision in decisions)):
                # A later name goes before an equal earlier one: a layer's own choice before its
                # stage's.
                one, leaving = price(arriving, dict(zip(names, values, strict=True)))
                costs.append([getattr(one, metric) for metric in METRICS])
                after.append(numbers.setdefault(leaving, len(numbers)))
        try:
            table = np.ascontiguousarray(np.array(costs, dtype=np.int64).T)
        except OverflowError:
            raise SpecError(f"space {self.space.name!r}: {_TOO_DEAR}") from None
        shared_columns = sum(name in self._column for name in shared)
        step = Step(
            stage,
            tuple(columns),
            radices,
            shared_columns,
            len(self._maps),
            table,
            np.array(after, dtype=np.intp),
        )
        self._maps = list(numbers)
        return step

    def _stem(self, _arriving: _Map, choices: dict[str, Any]) -> tuple[Cost, _Map]:
        spec = replace(self.space.base, **choices)
        price, side = stem_cost(spec)
        return price, (spec.stem_width, side)

    def _head(self, arriving: _Map, choices: dict[str, Any]) -> tuple[Cost, _Map]:
        return head_cost(replace(self.space.base, **choices), *arriving), (0, 0)

    def _stage(self, index: int) -> list[Step]:
        """A stage as one step, or as one for each layer where the layers have decisions of their
        own.
        """
        base = self.space.base.stages[index]
        known: dict[
            tuple[tuple[str, Any], ...], StageSpec
        ] = {}  # to check the same ones again would double the time

        def made(choices: dict[str, Any]) -> StageSpec:
            key = tuple(choices.items())
            if key not in known:
                known[key] = replace(base, **choices)
            return known[key]

        of_stage = [
            name
            for name in self._column
            if name.startswith(f"stages.{index}.") and ".layers." not in name
        ]
        if not self.space.is_layerwise(index):

            def whole(arriving: _Map, choices: dict[str, Any]) -> tuple[Cost, _Map]:
                stage = made(choices)
                leaving = (
                    arriving
                    if stage.block == "identity"
                    else (stage.width, reduced(arriving[1], stage.stride))
                )
                return stage_cost(stage, *arriving), leaving

            return [self._step(index, [], of_stage, whole)]

        steps = []
        for layer in range(self.space.layers(index)):
            stride = base.stride if layer == 0 else 1

            def single(
                arriving: _Map, choices: dict[str, Any], *, layer: int = layer, stride: int = stride
            ) -> tuple[Cost, _Map]:
                depth = choices.get("depth", base.depth)
                stage = made(choices | {"depth": 1, "stride": stride})
                if layer >= depth or stage.block == "identity":
                    return NOTHING, arriving
                return stage_cost(stage, *arriving), (stage.width, reduced(arriving[1], stride))

            own = [
                name for name in self._column if name.startswith(f"stages.{index}.layers.{layer}.")
            ]
            steps.append(self._step(index, of_stage, own, single))
        return steps
