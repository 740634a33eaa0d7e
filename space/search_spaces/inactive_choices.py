"""Which choices of a network mean nothing, for whole batches: those of layers that are left out,
and of fields that the chosen kind of block does not have. Two rows that differ in idle choices only
are one network.

(`skip` counts as meaning something wherever the block has one, also where the shapes leave no room
for a shortcut.)
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from phinas.space.search_spaces.search_space import Place, SearchSpace, place_of
from phinas.space.spec import BLOCKS

Indices = NDArray[np.integer[Any]]
Mask = NDArray[np.bool_]


class Idleness:
    """Of the choices of a space; indices are positions as of SearchSpace.indices, of shape
    (networks, decisions).
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self._column = {decision.name: index for index, decision in enumerate(space.decisions)}
        self._may_idle = [
            (place.stage, self._deciding(place), place.field, column)
            for name, column in self._column.items()
            if (place := place_of(name)).stage is not None and not self._always_counts(place)
        ]

    def present(self, indices: Indices, stage: int, layer: int) -> Mask:
        """Whether that layer is in each network."""
        names = self._blocks(stage, layer)
        return self._depth_reaches(indices, stage, layer) & ~self._means_nothing(
            indices, stage, layer, names, "width"
        )

    def mask(self, indices: Indices) -> Mask:
        """True where a choice is idle."""
        idle = np.zeros(indices.shape, dtype=bool)
        for stage, layers, field, column in self._may_idle:
            nothing = np.ones(len(indices), dtype=bool)
            for layer in layers:
                nothing &= self._idle_in(indices, stage, layer, field)
            idle[:, column] = nothing
        return idle

    def canonical(self, indices: Indices) -> NDArray[np.int16]:
        """The same networks with -1 in place of every idle choice: rows alike are one network."""
        return np.where(self.mask(indices), -1, indices).astype(np.int16)

    def _deciding(self, place: Place) -> list[int]:
        """The layers that a decision about a stage, or about one layer, is about."""
        if place.layer is not None:
            return [place.layer]
        stage = place.stage or 0
        return [
            j
            for j in range(self.space.layers(stage))
            if self.space.layer_options(stage, j, place.field) is None
        ]

    def _always_counts(self, place: Place) -> bool:
        """Whether a decision means something in every network: one of its layers is in all and has
        such a field in all.
        """
        stage = place.stage or 0
        least = min(self.space.options(stage, None, "depth"))
        return any(
            layer < least
            and not any(
                place.field in BLOCKS[kind] for kind in self.space.options(stage, layer, "block")
            )
            for layer in self._deciding(place)
        )

    def _idle_in(self, indices: Indices, stage: int, layer: int, field: str) -> Mask:
        if field == "block":  # what stands in a layer is decided also where it is nothing
            return ~self._depth_reaches(indices, stage, layer)
        beyond = ~self._depth_reaches(indices, stage, layer) & (field != "depth")
        return beyond | self._means_nothing(
            indices, stage, layer, self._blocks(stage, layer), field
        )

    def _depth_reaches(self, indices: Indices, stage: int, layer: int) -> Mask:
        values = np.array(self.space.options(stage, None, "depth"))
        column = self._column.get(f"stages.{stage}.depth")
        depth = np.full(len(indices), values[0]) if column is None else values[indices[:, column]]
        return layer < depth

    def _blocks(self, stage: int, layer: int) -> str | None:
        """The decision that says what kind of block stands there, if there is one."""
        names = (f"stages.{stage}.layers.{layer}.block", f"stages.{stage}.block")
        return next((name for name in names if name in self._column), None)

    def _means_nothing(
        self, indices: Indices, stage: int, layer: int, decision: str | None, field: str
    ) -> Mask:
        """Whether the block there has no such field."""
        kinds = self.space.options(stage, layer, "block")
        without = np.array([field in BLOCKS[kind] for kind in kinds])
        if decision is None:
            return np.full(len(indices), without[0])
        return without[indices[:, self._column[decision]]]
