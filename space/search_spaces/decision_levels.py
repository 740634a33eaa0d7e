"""The levels at which the decisions of a space set fields: a stage, or one of its layers.

What a layer sets takes precedence over what its stage sets.
"""

from collections.abc import Sequence
from typing import Any

from phinas.space.search_spaces.decisions import Decision, FieldPath
from phinas.space.stage_spec import StageSpec

_Level = tuple[int | None, int | None]  # stage and layer; None: the whole network or stage


class DecisionLevels:
    """Which decision sets a field, and to which values.

    Args:
        stages: the stages of the base network.
        decisions: the decisions of the space.
    """

    def __init__(self, stages: Sequence[StageSpec], decisions: Sequence[Decision]) -> None:
        self._stages = stages
        self._decisions: dict[_Level, tuple[Decision, ...]] = {}
        self._setters: dict[tuple[_Level, str], Decision] = {}
        for decision in decisions:
            level = decision.path.stage, decision.path.layer
            self._decisions[level] = (*self._decisions.get(level, ()), decision)
            for field in decision.field_names:
                self._setters.setdefault((level, field), decision)
        self._stages_with_layers = {stage for stage, layer in self._decisions if layer is not None}

    def decisions(self, stage: int, layer: int | None) -> tuple[Decision, ...]:
        """The decisions on a stage (layer None), or on one of its layers alone."""
        return self._decisions.get((stage, layer), ())

    def setter(self, stage: int, layer: int | None, field: str) -> Decision | None:
        """The decision on a stage (layer None), or on one of its layers alone, that sets a field of
        it, or None.
        """
        return self._setters.get(((stage, layer), field))

    def first_setter(self, path: FieldPath, field: str) -> Decision | None:
        """The first decision at the level of `path` that sets the field, or None."""
        return self._setters.get(((path.stage, path.layer), field))

    def has_layer_decisions(self, stage: int) -> bool:
        """Whether some layer of the stage has decisions of its own."""
        return stage in self._stages_with_layers

    def options(self, stage: int, layer: int | None, field: str) -> tuple[Any, ...]:
        """The values that a field of a stage, or of one of its layers, may take; the base's value
        without a decision.
        """
        decision = self.setter(stage, layer, field)
        values: tuple[Any, ...] = ()
        if decision is not None:
            settings = decision.settings
            values = tuple(fields[field] for fields in settings if field in fields)
            if len(values) == len(settings):
                return tuple(dict.fromkeys(values))
        inherited: tuple[Any, ...] = (
            (getattr(self._stages[stage], field),)
            if layer is None
            else self.options(stage, None, field)
        )
        return tuple(dict.fromkeys((*values, *inherited)))
