"""A search space: a base network and the decisions that change it. It holds data only, no optimizer
and no torch.

A decision names a field of the spec and lists the values that it may take: `stages.2.kernel` for
all blocks of a stage, `stages.2.layers.0.kernel` for one of its layers (which takes precedence over
the stage's), `resolution` for the whole network. Multipliers of a width and offsets of a depth are
only a way of *writing* choices (`loading`): here every choice is the value that the network gets.

Several sets of choices may mean one network: a layer that is left out (block: identity, or beyond
the depth of its stage) makes its other choices inactive. So networks are compared by `network_id`,
never by choices; `decode` returns canonical networks.
"""

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

from phinas.space.search_spaces.decisions import Choices, Decision, Value, parse_field_path
from phinas.space.spec import ArchSpec, SpecError, StageSpec

__all__ = ["Choices", "Decision", "SearchSpace", "Value"]


@dataclass(frozen=True)
class SearchSpace:
    """A base network, and the decisions that change it.

    Attributes:
        name: Its name, for error messages and reports.
        base: The network that the decisions change.
        decisions: The fields that are searched, each with its values.

    Raises:
        SpecError: there are no decisions, or a value makes no network.
    """

    name: str
    base: ArchSpec
    decisions: tuple[Decision, ...]

    def __post_init__(self) -> None:
        if not self.decisions:
            raise SpecError(f"space {self.name!r}: has no decisions; there is nothing to search")
        if len({decision.name for decision in self.decisions}) < len(self.decisions):
            raise SpecError(
                f"space {self.name!r}: has two decisions with one name; name each field once"
            )
        for decision in self.decisions:
            path = parse_field_path(decision.name)
            if path.stage is not None and path.stage >= len(self.base.stages):
                raise SpecError(
                    f"{decision.name}: the base has stages 0 to {len(self.base.stages) - 1}"
                )
            if path.layer is not None and path.layer >= self.max_depth(path.stage or 0):
                raise SpecError(
                    f"{decision.name}: the stage has at most {self.max_depth(path.stage or 0)} "
                    "layers"
                )
            for value in decision.values:
                self._check(decision.name, value)
        if all(self._can_be_empty(index) for index in range(len(self.base.stages))):
            raise SpecError(
                f"space {self.name!r}: every layer may be an identity; keep one layer without "
                "that choice"
            )

    def _check(self, name: str, value: Value) -> None:
        """Each value must make a network by itself. Raises SpecError naming the decision."""
        choices = {name: value}
        path = parse_field_path(name)
        # Layers that decide this field themselves get a legal value.
        if path.stage is not None and path.layer is None:
            layer_decisions = self._layer_decisions[path.stage].items()
            choices |= {
                f"stages.{path.stage}.layers.{layer}.{field}": values[0]
                for (layer, field), values in layer_decisions
                if field == path.field
            }
        try:
            self._replace_fields(choices)
        except SpecError as error:
            field = str(error).partition(":")[0]
            prefix = name.removesuffix(field) if name.endswith(field) else f"{name}: {value!r}: "
            raise SpecError(f"{prefix}{error}") from None

    def _can_be_empty(self, stage: int) -> bool:
        layers = range(min(self.options(stage, None, "depth")))
        return all("identity" in self.options(stage, layer, "block") for layer in layers)

    @cached_property
    def _layer_decisions(self) -> list[dict[tuple[int, str], tuple[Value, ...]]]:
        """For each stage: (layer, field) to the values of its decision, if there is one."""
        layer_decisions: list[dict[tuple[int, str], tuple[Value, ...]]] = [
            {} for _ in self.base.stages
        ]
        for decision in self.decisions:
            path = parse_field_path(decision.name)
            if path.stage is not None and path.layer is not None:
                layer_decisions[path.stage][path.layer, path.field] = decision.values
        return layer_decisions

    @cached_property
    def _values(self) -> dict[str, tuple[Value, ...]]:
        return {decision.name: decision.values for decision in self.decisions}

    def options(self, stage: int, layer: int | None, field: str) -> tuple[Any, ...]:
        """The values that a field of a stage, or of one of its layers, may take; the base's value
        without a decision.
        """
        name = (
            f"stages.{stage}.{field}" if layer is None else f"stages.{stage}.layers.{layer}.{field}"
        )
        if name in self._values:
            return self._values[name]
        return (
            (getattr(self.base.stages[stage], field),)
            if layer is None
            else self.options(stage, None, field)
        )

    def layer_options(self, stage: int, layer: int, field: str) -> tuple[Any, ...] | None:
        """The values of a layer's own decision for a field, or None."""
        return self._layer_decisions[stage].get((layer, field))

    def max_depth(self, stage: int) -> int:
        """The maximum number of blocks of a stage."""
        return max(self.options(stage, None, "depth"))

    def has_layer_decisions(self, stage: int) -> bool:
        """Whether some layer of the stage has decisions of its own."""
        return bool(self._layer_decisions[stage])

    @property
    def size(self) -> int:
        """The exact number of sets of choices. `cardinality.count_networks` counts the different
        networks.
        """
        return math.prod(len(decision.values) for decision in self.decisions)

    def decode(self, choices: Mapping[str, Value]) -> ArchSpec:
        """The network that a complete set of choices means.

        Raises:
            SpecError: a choice is missing, or is not one of the space.
        """
        for name in choices:
            if name not in self._values:
                raise SpecError(f"{name}: is not a decision of space {self.name!r}")
        for name, values in self._values.items():
            if name not in choices:
                raise SpecError(f"{name}: missing; space {self.name!r} decides it")
            if choices[name] not in values:
                raise SpecError(f"{name}: {choices[name]!r} is not one of {list(values)}")
        return self._replace_fields(choices)

    def to_indices(self, choices: Mapping[str, Value]) -> list[int]:
        """The choices as positions among the values of each decision, in the order of the
        decisions.
        """
        return [decision.values.index(choices[decision.name]) for decision in self.decisions]

    def from_indices(self, indices: Sequence[int]) -> Choices:
        """Choices from positions; the inverse of `to_indices`.

        Raises:
            SpecError: the number of positions is wrong, or one is out of range.
        """
        if len(indices) != len(self.decisions):
            raise SpecError(
                f"indices: {len(indices)} positions for {len(self.decisions)} decisions; give one "
                "for each"
            )
        for decision, index in zip(self.decisions, indices, strict=True):
            if not 0 <= index < len(decision.values):
                raise SpecError(
                    f"indices: {index} for {decision.name} is not from 0 to "
                    f"{len(decision.values) - 1}"
                )
        return {
            decision.name: decision.values[index]
            for decision, index in zip(self.decisions, indices, strict=True)
        }

    def sample(self, generator: random.Random) -> Choices:
        """One set of choices, uniformly. `constrained_sampling.sample_within` samples within cost
        limits.
        """
        return {decision.name: generator.choice(decision.values) for decision in self.decisions}

    def neighbors(self, choices: Mapping[str, Value]) -> Iterator[Choices]:
        """Every set of choices that differs from `choices` in exactly one decision."""
        for decision in self.decisions:
            for value in decision.values:
                if value != choices[decision.name]:
                    yield {**choices, decision.name: value}

    def enumerate(self) -> Iterator[Choices]:
        """Every set of choices, the last decision varying fastest. Check `size` first."""
        names = [decision.name for decision in self.decisions]
        for values in itertools.product(*(decision.values for decision in self.decisions)):
            yield dict(zip(names, values, strict=True))

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Input resolutions of its networks."""
        return tuple(
            int(value) for value in self._values.get("resolution", (self.base.resolution,))
        )

    def adapt_to(self, *, channels: int, classes: int, resolution: int | None = None) -> Self:
        """The same space for a data set.

        Args:
            channels: channels of the images.
            classes: number of classes.
            resolution: resolution of the base in px; None: unchanged.

        Raises:
            SpecError: a resolution is requested, and the space has a decision for it.
        """
        if resolution and "resolution" in self._values:
            raise SpecError(
                f"resolution: {resolution} is requested, but space {self.name!r} searches over "
                f"{', '.join(map(str, self.resolutions))}; leave one of the two out"
            )
        base = self.base.adapt(channels=channels, classes=classes, resolution=resolution)
        return replace(self, base=base)

    def _replace_fields(self, choices: Mapping[str, Value]) -> ArchSpec:
        """The base with these choices, which may be incomplete."""
        global_fields: dict[str, Any] = {}
        stage_fields: dict[int, dict[str, Any]] = {}
        layer_fields: dict[tuple[int, int], dict[str, Any]] = {}
        for name, value in choices.items():
            path = parse_field_path(name)
            if path.stage is None:
                global_fields[path.field] = value
            elif path.layer is None:
                stage_fields.setdefault(path.stage, {})[path.field] = value
            else:
                layer_fields.setdefault((path.stage, path.layer), {})[path.field] = value
        stages: list[StageSpec] = []
        for index, base in enumerate(self.base.stages):
            fields = stage_fields.get(index, {})
            if not self._layer_decisions[index]:
                stages.append(replace(base, **fields) if fields else base)
                continue
            for layer in range(fields.get("depth", base.depth)):
                changes = (
                    fields
                    | {"depth": 1, "stride": base.stride if layer == 0 else 1}
                    | layer_fields.get((index, layer), {})
                )
                stages.append(replace(base, **changes))
        return replace(self.base, stages=tuple(stages), **global_fields).canonicalize()
