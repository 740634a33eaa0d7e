"""From a network back to the choices that mean it: the inverse of `SearchSpace.decode`.

The network's blocks are placed on the stages of the space one after another. Each stage tries every
depth that it may have and every layer that may be left out, until all blocks have a place. The
error names the failure at the farthest block.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any

from phinas.space.search_spaces.decisions import GLOBAL_FIELDS, LAYER_FIELDS, Choices
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.space.spec import ArchSpec, SpecError, StageSpec
from phinas.space.stage_spec import skip_has_effect, unused_fields

_StageChoices = dict[str, Any]


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
    for spec_field in fields(spec):
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
        for depth in self.space.options(stage, None, "depth"):
            placed_choices = self._place_layers(stage, 0, depth, position, {})
            if placed_choices is not None:
                return {f"stages.{stage}.depth": depth, **placed_choices}
        return None

    def _place_layers(
        self, stage: int, layer: int, depth: int, position: int, stage_choices: _StageChoices
    ) -> Choices | None:
        """Choices that place blocks on the layers from `layer` and all that follows, or None.

        `stage_choices` are the stage-wide choices so far.
        """
        if layer == depth:
            rest_choices = self.place_stages(stage + 1, position)
            return (
                None
                if rest_choices is None
                else {f"stages.{stage}.{name}": value for name, value in stage_choices.items()}
                | rest_choices
            )
        state = (stage, layer, depth, position, frozenset(stage_choices.items()))
        if state in self._dead_ends:
            return None
        for num_blocks, layer_choices, new_stage_choices in self._layer_assignments(
            stage, layer, position, stage_choices
        ):
            rest_choices = self._place_layers(
                stage, layer + 1, depth, position + num_blocks, new_stage_choices
            )
            if rest_choices is not None:
                return layer_choices | rest_choices
        self._dead_ends.add(state)
        return None

    def _layer_assignments(
        self, stage: int, layer: int, position: int, stage_choices: _StageChoices
    ) -> Iterator[tuple[int, Choices, _StageChoices]]:
        """The ways to fill one layer, with the next block or with nothing.

        Yields the number of blocks, the layer's choices and the stage's choices.
        """
        if position < len(self.blocks):
            match = self._match_block(stage, layer, position, stage_choices)
            if match:
                yield 1, *match
        else:
            self._note_failure(
                position,
                f"stages.{stage}: the spec has only {position} blocks, all in the stages before",
            )
        identity = self._assign_field(stage, layer, "block", "identity", stage_choices)
        if identity:
            yield 0, *identity

    def _match_block(
        self, stage: int, layer: int, position: int, stage_choices: _StageChoices
    ) -> tuple[Choices, _StageChoices] | None:
        block, skip_matters = self.blocks[position]
        stride = self.space.base.stages[stage].stride if layer == 0 else 1
        if block.stride != stride:
            self._note_failure(
                position,
                f"stages.{stage}: block {position + 1} has stride {block.stride}, not the {stride}",
            )
            return None
        layer_choices: Choices = {}
        for name in LAYER_FIELDS:
            if name in unused_fields(block.block) or (name == "skip" and not skip_matters):
                continue
            value = getattr(block, name)
            assignment = self._assign_field(stage, layer, name, value, stage_choices)
            if assignment is None and name == "activation":  # "" means the network's activation
                assignment = self._assign_field(
                    stage, layer, name, self.activation if value == "" else "", stage_choices
                )
            if assignment is None:
                options = list(self.space.options(stage, layer, name))
                self._note_failure(
                    position, f"stages.{stage}.{name}: {value!r} is not one of {options}"
                )
                return None
            layer_choices |= assignment[0]
            stage_choices = assignment[1]
        return layer_choices, stage_choices

    def _assign_field(
        self, stage: int, layer: int, name: str, value: Any, stage_choices: _StageChoices
    ) -> tuple[Choices, _StageChoices] | None:
        """The layer's and the stage's choices with `name` at `value`, or None if it is
        impossible.
        """
        layer_values = self.space.layer_options(stage, layer, name)
        if layer_values is not None:
            return (
                (
                    {
                        f"stages.{stage}.layers.{layer}.{name}": layer_values[
                            layer_values.index(value)
                        ]
                    },
                    stage_choices,
                )
                if value in layer_values
                else None
            )
        options = self.space.options(stage, None, name)
        if value not in options or stage_choices.get(name, value) != value:
            return None
        return {}, stage_choices | {name: options[options.index(value)]}
