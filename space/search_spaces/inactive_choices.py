"""Inactive choices of batches of networks (ConfigSpace's term): those of layers that are left out,
and of fields that have no effect in the selected kind of block. Two rows that differ in inactive
choices only are one network.

`skip` counts as active wherever the kind of block has it, also if the shapes allow no shortcut.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from phinas.space.search_spaces.decisions import FieldPath, parse_field_path
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.space.stage_spec import unused_fields

Indices = NDArray[np.integer[Any]]
Mask = NDArray[np.bool_]


class InactiveChoices:
    """The inactive choices of a space's networks.

    `indices` are positions as SearchSpace.to_indices returns them, of shape (networks, decisions).
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self._column_of = {decision.name: index for index, decision in enumerate(space.decisions)}
        self._conditional_columns = [
            (path.stage, self._affected_layers(path), path.field, column)
            for name, column in self._column_of.items()
            if (path := parse_field_path(name)).stage is not None
            and not self._is_always_active(path)
        ]

    def layer_mask(self, indices: Indices, stage: int, layer: int) -> Mask:
        """Whether each network has that layer."""
        block_decision = self._block_decision(stage, layer)
        return self._is_within_depth(indices, stage, layer) & ~self._block_ignores_field(
            indices, stage, layer, block_decision, "width"
        )

    def inactive_mask(self, indices: Indices) -> Mask:
        """True where a choice is inactive."""
        inactive = np.zeros(indices.shape, dtype=bool)
        for stage, layers, field, column in self._conditional_columns:
            inactive_in_all_layers = np.ones(len(indices), dtype=bool)
            for layer in layers:
                inactive_in_all_layers &= self._is_inactive_in_layer(indices, stage, layer, field)
            inactive[:, column] = inactive_in_all_layers
        return inactive

    def canonicalize(self, indices: Indices) -> NDArray[np.int16]:
        """The indices with -1 for every inactive choice, so that equal rows are one network."""
        return np.where(self.inactive_mask(indices), -1, indices).astype(np.int16)

    def _affected_layers(self, path: FieldPath) -> list[int]:
        """The layers that a decision may change."""
        if path.layer is not None:
            return [path.layer]
        stage = path.stage or 0
        return [
            j
            for j in range(self.space.max_depth(stage))
            if self.space.layer_options(stage, j, path.field) is None
        ]

    def _is_always_active(self, path: FieldPath) -> bool:
        """Whether a decision is active in every network: one of its layers is always there and the
        field always has an effect in it.
        """
        stage = path.stage or 0
        min_depth = min(self.space.options(stage, None, "depth"))
        return any(
            layer < min_depth
            and not any(
                path.field in unused_fields(kind)
                for kind in self.space.options(stage, layer, "block")
            )
            for layer in self._affected_layers(path)
        )

    def _is_inactive_in_layer(self, indices: Indices, stage: int, layer: int, field: str) -> Mask:
        if field == "block":  # active also where it is an identity
            return ~self._is_within_depth(indices, stage, layer)
        beyond_depth = ~self._is_within_depth(indices, stage, layer) & (field != "depth")
        return beyond_depth | self._block_ignores_field(
            indices, stage, layer, self._block_decision(stage, layer), field
        )

    def _is_within_depth(self, indices: Indices, stage: int, layer: int) -> Mask:
        values = np.array(self.space.options(stage, None, "depth"))
        column = self._column_of.get(f"stages.{stage}.depth")
        depth = np.full(len(indices), values[0]) if column is None else values[indices[:, column]]
        return layer < depth

    def _block_decision(self, stage: int, layer: int) -> str | None:
        """The name of the decision for the kind of block of a layer, if there is one."""
        names = (f"stages.{stage}.layers.{layer}.block", f"stages.{stage}.block")
        return next((name for name in names if name in self._column_of), None)

    def _block_ignores_field(
        self, indices: Indices, stage: int, layer: int, decision: str | None, field: str
    ) -> Mask:
        """Whether the field has no effect in the block of that layer."""
        kinds = self.space.options(stage, layer, "block")
        ignores_field = np.array([field in unused_fields(kind) for kind in kinds])
        if decision is None:
            return np.full(len(indices), ignores_field[0])
        return ignores_field[indices[:, self._column_of[decision]]]
