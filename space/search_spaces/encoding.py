"""From a network back to the choices that mean it: the inverse of `SearchSpace.decode`.

The network's blocks are placed on the stages of the space one after another. Each stage tries every
depth that it may have and every layer that may be left out, until all blocks have a place. The
error names the failure at the farthest block.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from phinas.space.search_spaces.decisions import (
    GLOBAL_FIELDS,
    LAYER_FIELDS,
    Choices,
    Decision,
    Fields,
    Value,
)
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.space.spec import ArchSpec, SpecError, StageSpec
from phinas.space.stage_spec import skip_has_effect, unused_fields

_Assigned = dict[str, Value]  # decisions of a stage or layer, by name, and their values


def encode(space: SearchSpace, spec: ArchSpec) -> Choices:
    """Choices whose network is `spec`; inactive choices have the first value of their decision.

    Raises:
        SpecError: the network is not in the space; names the field.
    """
    choices: Choices = {}
    for name in GLOBAL_FIELDS:
        values = next(
            (decision.values for decision in space.decisions if decision.name == name), None
        )
        value = getattr(spec, name)
        if values is not None:
            if value not in values:
                raise SpecError(
                    f"{name}: {value!r} is not one of {list(values)} of space {space.name!r}"
                )
            choices[name] = values[values.index(value)]
    for spec_field in dataclasses.fields(spec):
        if (
            spec_field.name not in choices
            and spec_field.name != "stages"
            and getattr(space.base, spec_field.name) != getattr(spec, spec_field.name)
        ):
            raise SpecError(
                f"{spec_field.name}: differs from the base of space {space.name!r}, which has no "
                "decision for it"
            )
    placement = _BlockPlacement(space, spec.activation, _split_into_blocks(spec))
    placed_choices = placement.place_stages(0, 0)
    if placed_choices is None:
        raise SpecError(f"{placement.error} of space {space.name!r}")
    choices |= placed_choices
    return {
        decision.name: choices.get(decision.name, decision.values[0])
        for decision in space.decisions
    }


def _split_into_blocks(spec: ArchSpec) -> list[tuple[StageSpec, bool]]:
    """Each block as a stage of depth 1, and whether its `skip` has an effect."""
    blocks = []
    width = spec.stem_width
    for stage in spec.canonicalize().stages:
        for index in range(stage.depth):
            block = replace(stage, depth=1, stride=stage.stride if index == 0 else 1)
            blocks.append((block, skip_has_effect(block, width)))
            width = stage.width
    return blocks


@dataclass
class _BlockPlacement:
    """A search for a place of every block. The blocks from a `position` on are still to be placed.

    Attributes:
        error: the failure at the farthest position so far.
    """

    space: SearchSpace
    activation: str
    blocks: list[tuple[StageSpec, bool]]
    error: str = "stages: no layer fits"
    _farthest_position: int = field(default=-1)
    _dead_ends: set[tuple[object, ...]] = field(default_factory=set)

    def _note_failure(self, position: int, error: str) -> None:
        if position > self._farthest_position:
            self._farthest_position, self.error = position, error

    def place_stages(self, stage: int, position: int) -> Choices | None:
        """Choices that place the blocks from `position` on the stages from `stage`, or None."""
        if stage == len(self.space.base.stages):
            if position == len(self.blocks):
                return {}
            self._note_failure(
                position, f"stages: {len(self.blocks) - position} more blocks than the stages have"
            )
            return None
        for depth, stage_choices in self._depths(stage):
            placed_choices = self._place_layers(stage, 0, depth, position, stage_choices)
            if placed_choices is not None:
                return placed_choices
        return None

    def _depths(self, stage: int) -> Iterator[tuple[int, _Assigned]]:
        """Each depth that the stage may have, and the choice that sets it."""
        base, setter = self.space.base.stages[stage], self.space.levels.setter(stage, None, "depth")
        if setter is None:
            yield base.depth, {}
            return
        for value, fields in zip(setter.values, setter.settings, strict=True):
            yield int(fields.get("depth", base.depth)), {setter.name: value}

    def _place_layers(
        self, stage: int, layer: int, depth: int, position: int, stage_choices: _Assigned
    ) -> Choices | None:
        """Choices that place blocks on the layers from `layer` and all that follows, or None.

        `stage_choices` are the stage-wide choices so far.
        """
        if layer == depth:
            rest_choices = self.place_stages(stage + 1, position)
            return None if rest_choices is None else stage_choices | rest_choices
        state = (stage, layer, depth, position, frozenset(stage_choices.items()))
        if state in self._dead_ends:
            return None
        for num_blocks, assignment in self._layer_assignments(
            stage, layer, position, stage_choices
        ):
            layer_choices = {
                name: value for name, value in assignment.items() if ".layers." in name
            }
            new_stage_choices = {
                name: value for name, value in assignment.items() if ".layers." not in name
            }
            rest_choices = self._place_layers(
                stage, layer + 1, depth, position + num_blocks, new_stage_choices
            )
            if rest_choices is not None:
                return layer_choices | rest_choices
        self._dead_ends.add(state)
        return None

    def _layer_assignments(
        self, stage: int, layer: int, position: int, stage_choices: _Assigned
    ) -> Iterator[tuple[int, _Assigned]]:
        """The ways to fill one layer, with the next block or with nothing.

        Yields the number of blocks, and the choices of the stage and of the layer.
        """
        if position < len(self.blocks):
            yield from (
                (1, assignment)
                for assignment in self._match_block(stage, layer, position, stage_choices)
            )
        else:
            self._note_failure(
                position,
                f"stages.{stage}: the spec has only {position} blocks, all in the stages before",
            )
        for assignment, fields in self._joint_assignments(stage, layer, stage_choices):
            identity = self._assign_field(stage, layer, "block", "identity", assignment, fields)
            if identity is not None:
                yield 0, identity

    def _joint_assignments(
        self, stage: int, layer: int, stage_choices: _Assigned
    ) -> Iterator[tuple[_Assigned, Fields]]:
        """The combinations of joint choices that fill one layer.

        Yields the choices with those of the joint decisions added, and the fields that they set.
        """
        decisions = [
            decision
            for level in (None, layer)
            for decision in self.space.levels.decisions(stage, level)
            if decision.is_joint
        ]
        settings = [_remaining(decision, stage_choices) for decision in decisions]
        for combination in itertools.product(*settings):
            assignment = dict(stage_choices)
            fields: dict[str, Value] = {}
            for decision, (value, value_fields) in zip(decisions, combination, strict=True):
                assignment[decision.name] = value
                fields |= value_fields  # those of the layer replace those of the stage
            yield assignment, fields

    def _match_block(
        self, stage: int, layer: int, position: int, stage_choices: _Assigned
    ) -> Iterator[_Assigned]:
        """The choices of the stage and of the layer that make a layer the block at `position`."""
        block, _ = self.blocks[position]
        stride = self.space.base.stages[stage].stride if layer == 0 else 1
        if block.stride != stride:
            self._note_failure(
                position,
                f"stages.{stage}: block {position + 1} has stride {block.stride}, not the {stride}",
            )
            return
        for assignment, fields in self._joint_assignments(stage, layer, stage_choices):
            matched = self._match_fields(stage, layer, position, assignment, fields)
            if matched is not None:
                yield matched

    def _match_fields(
        self, stage: int, layer: int, position: int, assignment: _Assigned, fields: Fields
    ) -> _Assigned | None:
        block, skip_matters = self.blocks[position]
        matched: _Assigned | None = assignment
        for name in LAYER_FIELDS:
            if name in unused_fields(block.block) or (name == "skip" and not skip_matters):
                continue
            value = getattr(block, name)
            previous = matched or {}
            matched = self._assign_field(stage, layer, name, value, previous, fields)
            # "" means the network's activation, and canonical blocks have it in place of the name.
            if matched is None and name == "activation" and value == "":
                matched = self._assign_field(stage, layer, name, self.activation, previous, fields)
            if matched is None:
                options = list(self.space.levels.options(stage, layer, name))
                error = f"stages.{stage}.{name}: {value!r} is not one of {options}"
                if name in fields and value in options:
                    setting = ", ".join(f"{field}={getattr(block, field)}" for field in fields)
                    error = f"stages.{stage}: {setting} is none of the joint choices"
                self._note_failure(position, error)
                return None
        return matched

    def _assign_field(
        self,
        stage: int,
        layer: int,
        name: str,
        value: Any,
        assignment: _Assigned,
        fields: Fields,
    ) -> _Assigned | None:
        """The choices with the field `name` of a layer at `value`, or None if it is impossible.

        Args:
            stage: index of the stage.
            layer: index of the layer.
            name: the field.
            value: its value.
            assignment: the choices so far.
            fields: the fields that joint choices set.
        """
        decision = self.space.levels.setter(stage, layer, name)
        if decision is None or (decision.is_joint and name not in fields):
            decision = self.space.levels.setter(stage, None, name)
        if name in fields and (decision is None or decision.is_joint):
            return assignment if fields[name] == value else None
        if decision is None or decision.is_joint:
            return assignment if getattr(self.space.base.stages[stage], name) == value else None
        if value not in decision.values or assignment.get(decision.name, value) != value:
            return None
        return assignment | {decision.name: decision.values[decision.values.index(value)]}


def _remaining(decision: Decision, assigned: _Assigned) -> list[tuple[Value, Fields]]:
    """The values that a joint decision may still have, and their fields."""
    return [
        (value, fields)
        for value, fields in zip(decision.values, decision.settings, strict=True)
        if assigned.get(decision.name, value) == value
    ]
