"""A search space: a base network and the decisions that change it. It holds data only, no optimizer
and no torch.

A decision names a field of the spec and lists the values that it may take: `stages.2.kernel` for
all blocks of a stage, `stages.2.layers.0.kernel` for one of its layers (which takes precedence over
the stage's), `resolution` for the whole network. A joint decision, such as `stages.2.layers.0.op`,
sets several fields at once (`decisions`). Multipliers of a width and offsets of a depth are only a
way of *writing* choices (`loading`): here every choice is the value that the network gets.

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

from phinas.space.search_spaces.decision_levels import DecisionLevels
from phinas.space.search_spaces.decisions import Choices, Decision, FieldPath, Fields, Value
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
            path = decision.path
            if path.stage is not None and path.stage >= len(self.base.stages):
                raise SpecError(
                    f"{decision.name}: the base has stages 0 to {len(self.base.stages) - 1}"
                )
            if path.layer is not None and path.layer >= self.max_depth(path.stage or 0):
                raise SpecError(
                    f"{decision.name}: the stage has at most {self.max_depth(path.stage or 0)} "
                    "layers"
                )
            self._require_single_setter(decision)
            for value in decision.values:
                self._check(decision, value)
        if all(self._can_be_empty(index) for index in range(len(self.base.stages))):
            raise SpecError(
                f"space {self.name!r}: every layer may be an identity; keep one layer without "
                "that choice"
            )

    def _require_single_setter(self, decision: Decision) -> None:
        """Raises SpecError if another decision on the stage or layer sets one of the fields."""
        path = decision.path
        for field in decision.field_names:
            other = self.levels.first_setter(path, field)
            if other is not None and other != decision:
                raise SpecError(
                    f"{decision.name}: sets {field!r}, as {other.name} does; leave it out of one "
                    "of the two"
                )

    def _check(self, decision: Decision, value: Value) -> None:
        """Each value must make a network by itself. Raises SpecError naming the decision."""
        name, path = decision.name, decision.path
        choices = {name: value}
        # Layers that decide one of its fields themselves get a value that is legal with it.
        if path.stage is not None and path.layer is None:
            for layer in self.decisions:
                shared = {*layer.field_names} & {*decision.field_names}
                if layer.path.stage == path.stage and layer.path.layer is not None and shared:
                    choices[layer.name] = next(
                        (
                            layer_value
                            for layer_value, fields in zip(
                                layer.values, layer.settings, strict=True
                            )
                            if not shared <= {*fields}
                        ),
                        layer.values[0],
                    )
        try:
            self._replace_fields(choices)
        except SpecError as error:
            field = str(error).partition(":")[0]
            prefix = name.removesuffix(field) if name.endswith(field) else f"{name}: {value!r}: "
            raise SpecError(f"{prefix}{error}") from None

    def _can_be_empty(self, stage: int) -> bool:
        layers = range(min(self.levels.options(stage, None, "depth")))
        return all("identity" in self.levels.options(stage, layer, "block") for layer in layers)

    @cached_property
    def levels(self) -> DecisionLevels:
        """Which decision sets a field of a stage, or of one of its layers."""
        return DecisionLevels(self.base.stages, self.decisions)

    @cached_property
    def _fields(self) -> dict[str, tuple[FieldPath, dict[Value, Fields]]]:
        """The name of each decision to its path, and to the fields that each of its values sets."""
        return {
            decision.name: (
                decision.path,
                dict(zip(decision.values, decision.settings, strict=True)),
            )
            for decision in self.decisions
        }

    @cached_property
    def _values(self) -> dict[str, tuple[Value, ...]]:
        return {decision.name: decision.values for decision in self.decisions}

    def max_depth(self, stage: int) -> int:
        """The maximum number of blocks of a stage."""
        return max(self.levels.options(stage, None, "depth"))

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
            path, settings = self._fields[name]
            if path.stage is None:
                global_fields |= settings[value]
            elif path.layer is None:
                stage_fields.setdefault(path.stage, {}).update(settings[value])
            else:
                layer_fields.setdefault((path.stage, path.layer), {}).update(settings[value])
        stages: list[StageSpec] = []
        for index, base in enumerate(self.base.stages):
            fields = stage_fields.get(index, {})
            if not self.levels.has_layer_decisions(index):
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
