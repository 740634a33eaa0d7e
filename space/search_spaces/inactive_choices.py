"""Inactive choices of batches of networks (ConfigSpace's term): those of layers that are left out,
and of fields that have no effect in the selected kind of block. Two rows that differ in inactive
choices only are one network.

`skip` counts as active wherever the kind of block has it, also if the shapes allow no shortcut. A
joint choice is active as long as one of its fields has an effect.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phinas.space.block_kinds import BLOCK_KINDS
from phinas.space.search_spaces.decisions import STAGE_FIELDS, Choices, Decision, Value
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.space.stage_spec import unused_fields

Indices = NDArray[np.integer[Any]]
Mask = NDArray[np.bool_]

_KINDS = tuple(BLOCK_KINDS)
# For each field, the kinds of block in which it has no effect.
_IGNORED_BY_KIND = {
    field: np.array([field in unused_fields(kind) for kind in _KINDS]) for field in STAGE_FIELDS
}
_UNSET = -1


class InactiveChoices:
    """The inactive choices of a space's networks.

    `indices` are positions as SearchSpace.to_indices returns them, of shape (networks, decisions).
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self._column_of = {decision.name: index for index, decision in enumerate(space.decisions)}
        self._conditional_decisions = [
            decision
            for decision in space.decisions
            if decision.path.stage is not None and not self._is_always_active(decision)
        ]
        self._kind_lookups = {
            (stage, layer): self._make_lookups(stage, layer, "block")
            for stage in range(len(space.base.stages))
            for layer in range(space.max_depth(stage))
        }
        self._depth_lookups = [
            self._make_lookups(stage, None, "depth") for stage in range(len(space.base.stages))
        ]

    def layer_mask(self, indices: Indices, stage: int, layer: int) -> Mask:
        """Whether each network has that layer."""
        is_left_out = _IGNORED_BY_KIND["width"][self._kinds(indices, stage, layer)]
        return self._is_within_depth(indices, stage, layer) & ~is_left_out

    def inactive_mask(self, indices: Indices) -> Mask:
        """True where a choice is inactive."""
        inactive = np.zeros(indices.shape, dtype=bool)
        layers = {
            (decision.path.stage or 0, layer)
            for decision in self._conditional_decisions
            for layer in self._affected_layers(decision)
        }
        kinds = {level: self._kinds(indices, *level) for level in layers}
        beyond_depth = {level: ~self._is_within_depth(indices, *level) for level in layers}
        for decision in self._conditional_decisions:
            stage = decision.path.stage or 0
            inactive_in_all_layers = np.ones(len(indices), dtype=bool)
            for layer in self._affected_layers(decision):
                level = stage, layer
                for field in decision.field_names:
                    has_no_effect = _IGNORED_BY_KIND[field][kinds[level]]
                    if field != "depth":
                        has_no_effect = has_no_effect | beyond_depth[level]
                    if decision.path.layer is None:
                        has_no_effect = has_no_effect | self._is_overridden(indices, level, field)
                    inactive_in_all_layers &= has_no_effect
            inactive[:, self._column_of[decision.name]] = inactive_in_all_layers
        return inactive

    def canonicalize(self, indices: Indices) -> NDArray[np.int16]:
        """The indices with -1 for every inactive choice, so that equal rows are one network."""
        return np.where(self.inactive_mask(indices), -1, indices).astype(np.int16)

    def canonical_choices(self, choices: Mapping[str, Value]) -> Choices:
        """The same network, with the first value of each inactive choice."""
        row = self.space.to_indices(choices)
        inactive = self.inactive_mask(np.array([row]))[0].tolist()
        return self.space.from_indices(
            [0 if is_inactive else index for index, is_inactive in zip(row, inactive, strict=True)]
        )

    def _affected_layers(self, decision: Decision) -> list[int]:
        """The layers that a decision may change."""
        path = decision.path
        if path.layer is not None:
            return [path.layer]
        stage = path.stage or 0
        return [
            layer
            for layer in range(self.space.max_depth(stage))
            if not all(self._always_overrides(stage, layer, name) for name in decision.field_names)
        ]

    def _always_overrides(self, stage: int, layer: int, field: str) -> bool:
        """Whether every choice of the layer sets the field, so that the stage's has no effect."""
        setter = self.space.levels.setter(stage, layer, field)
        return setter is not None and all(field in fields for fields in setter.settings)

    def _is_always_active(self, decision: Decision) -> bool:
        """Whether a decision is active in every network: one of its layers is always there and one
        of its fields always has an effect in it.
        """
        stage, is_of_stage = decision.path.stage or 0, decision.path.layer is None
        min_depth = min(self.space.levels.options(stage, None, "depth"))
        return any(
            layer < min_depth
            and not (is_of_stage and self.space.levels.setter(stage, layer, field) is not None)
            and not any(
                field in unused_fields(kind)
                for kind in self.space.levels.options(stage, layer, "block")
            )
            for layer in self._affected_layers(decision)
            for field in decision.field_names
        )

    def _make_lookups(
        self, stage: int, layer: int | None, field: str
    ) -> list[tuple[int, NDArray[np.int64]]]:
        """The columns that decide `block` or `depth` of a layer, those of the stage first, and what
        each of their values sets: the number of a kind of block, a depth, or _UNSET.
        """
        lookups = []
        for level in dict.fromkeys((None, layer)):
            decision = self.space.levels.setter(stage, level, field)
            if decision is not None:
                values = [fields.get(field) for fields in decision.settings]
                codes = [
                    _UNSET
                    if value is None
                    else (_KINDS.index(str(value)) if field == "block" else int(value))
                    for value in values
                ]
                lookups.append((self._column_of[decision.name], np.array(codes)))
        return lookups

    def _kinds(self, indices: Indices, stage: int, layer: int) -> NDArray[np.int64]:
        """The kind of block of a layer of each network, as a position in _KINDS."""
        base = _KINDS.index(self.space.base.stages[stage].block)
        return _look_up(self._kind_lookups[stage, layer], indices, base)

    def _is_within_depth(self, indices: Indices, stage: int, layer: int) -> Mask:
        base = self.space.base.stages[stage].depth
        return layer < _look_up(self._depth_lookups[stage], indices, base)

    def _is_overridden(self, indices: Indices, level: tuple[int, int], field: str) -> Mask:
        """Whether the layer's own choice sets the field, so that the stage's has no effect."""
        setter = self.space.levels.setter(*level, field)
        if setter is None:
            return np.zeros(len(indices), dtype=bool)
        sets_field = np.array([field in fields for fields in setter.settings])
        return sets_field[indices[:, self._column_of[setter.name]]]


def _look_up(
    lookups: list[tuple[int, NDArray[np.int64]]], indices: Indices, base: int
) -> NDArray[np.int64]:
    """The value that the last column sets which sets one, and `base` where none does."""
    values = np.full(len(indices), base)
    for column, codes in lookups:
        chosen = codes[indices[:, column]]
        values = np.where(chosen == _UNSET, values, chosen)
    return values
