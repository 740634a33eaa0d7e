"""From a network back to the choices that mean it: the inverse of `SearchSpace.decode`.

The network's blocks are laid along the stages of the space one after another, each stage trying
every depth that it may have and every layer that may be left out, until all of them have found a
place. What fails farthest on is told.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any

from phinas.space.search_spaces.search_space import LAYER_FIELDS, WHOLE_FIELDS, Choices, SearchSpace
from phinas.space.spec import BLOCKS, ArchSpec, SpecError, StageSpec, may_skip

_Fixed = dict[str, Any]


def encode(space: SearchSpace, spec: ArchSpec) -> Choices:
    """Choices whose network is `spec`; idle ones are the first listed. SpecError, naming the field,
    where it lies outside.
    """
    chosen: Choices = {}
    for name in WHOLE_FIELDS:
        values = next(
            (decision.values for decision in space.decisions if decision.name == name), None
        )
        value = getattr(spec, name)
        if values is not None:
            if value not in values:
                raise SpecError(
                    f"{name}: {value!r} is not one of {list(values)} of space {space.name!r}"
                )
            chosen[name] = values[values.index(value)]
    for item in fields(spec):
        if (
            item.name not in chosen
            and item.name != "stages"
            and getattr(space.base, item.name) != getattr(spec, item.name)
        ):
            raise SpecError(
                f"{item.name}: differs from the base of space {space.name!r}, which does not "
                "decide it"
            )
    search = _Search(space, spec.activation, _blocks_of(spec))
    found = search.stages_from(0, 0)
    if found is None:
        raise SpecError(f"{search.why} of space {space.name!r}")
    chosen |= found
    return {
        decision.name: chosen.get(decision.name, decision.values[0]) for decision in space.decisions
    }


def _blocks_of(spec: ArchSpec) -> list[tuple[StageSpec, bool]]:
    """Each block as a stage of depth 1, and whether its `skip` means something."""
    blocks = []
    width = spec.stem_width
    for stage in spec.simplified().stages:
        for index in range(stage.depth):
            block = replace(stage, depth=1, stride=stage.stride if index == 0 else 1)
            blocks.append((block, may_skip(block, width)))
            width = stage.width
    return blocks


@dataclass
class _Search:
    """The blocks still to be placed are those from a position on; `why` tells the failure at the
    farthest one.
    """

    space: SearchSpace
    activation: str
    blocks: list[tuple[StageSpec, bool]]
    why: str = "stages: no layer fits"
    _farthest: int = field(default=-1)
    _hopeless: set[tuple[object, ...]] = field(default_factory=set)

    def _fail(self, position: int, why: str) -> None:
        if position > self._farthest:
            self._farthest, self.why = position, why

    def stages_from(self, stage: int, position: int) -> Choices | None:
        """A way to place the blocks from `position` on stages from `stage` on."""
        if stage == len(self.space.base.stages):
            if position == len(self.blocks):
                return {}
            self._fail(
                position, f"stages: {len(self.blocks) - position} more blocks than the stages hold"
            )
            return None
        for depth in self.space.options(stage, None, "depth"):
            found = self._layers_from(stage, 0, depth, position, {})
            if found is not None:
                return {f"stages.{stage}.depth": depth, **found}
        return None

    def _layers_from(
        self, stage: int, layer: int, depth: int, position: int, fixed: _Fixed
    ) -> Choices | None:
        """A way to place blocks on the layers from `layer` on and all that follows; `fixed`: the
        stage-wide choices so far.
        """
        if layer == depth:
            rest = self.stages_from(stage + 1, position)
            return (
                None
                if rest is None
                else {f"stages.{stage}.{name}": value for name, value in fixed.items()} | rest
            )
        tried = (stage, layer, depth, position, frozenset(fixed.items()))
        if tried in self._hopeless:
            return None
        for taken, own, shared in self._fits(stage, layer, position, fixed):
            rest = self._layers_from(stage, layer + 1, depth, position + taken, shared)
            if rest is not None:
                return own | rest
        self._hopeless.add(tried)
        return None

    def _fits(
        self, stage: int, layer: int, position: int, fixed: _Fixed
    ) -> Iterator[tuple[int, Choices, _Fixed]]:
        """The ways to fill one layer, with the next block or with nothing: blocks taken, its own
        choices, the stage's.
        """
        if position < len(self.blocks):
            matched = self._matched(stage, layer, position, fixed)
            if matched:
                yield 1, *matched
        else:
            self._fail(
                position,
                f"stages.{stage}: the spec has only {position} blocks, which the stages before take",
            )
        left_out = self._assigned(stage, layer, "block", "identity", fixed)
        if left_out:
            yield 0, *left_out

    def _matched(
        self, stage: int, layer: int, position: int, fixed: _Fixed
    ) -> tuple[Choices, _Fixed] | None:
        block, skip_matters = self.blocks[position]
        stride = self.space.base.stages[stage].stride if layer == 0 else 1
        if block.stride != stride:
            self._fail(
                position,
                f"stages.{stage}: block {position + 1} has stride {block.stride}, not the {stride}",
            )
            return None
        own: Choices = {}
        for name in LAYER_FIELDS:
            if name in BLOCKS[block.block] or (name == "skip" and not skip_matters):
                continue
            value = getattr(block, name)
            assigned = self._assigned(stage, layer, name, value, fixed)
            if assigned is None and name == "activation":  # "" and the network's own name are one
                assigned = self._assigned(
                    stage, layer, name, self.activation if value == "" else "", fixed
                )
            if assigned is None:
                options = list(self.space.options(stage, layer, name))
                self._fail(position, f"stages.{stage}.{name}: {value!r} is not one of {options}")
                return None
            own |= assigned[0]
            fixed = assigned[1]
        return own, fixed

    def _assigned(
        self, stage: int, layer: int, name: str, value: Any, fixed: _Fixed
    ) -> tuple[Choices, _Fixed] | None:
        """The layer's own and the stage's choices with `name` at `value`, or None where it can't
        be.
        """
        decision = self.space.layer_options(stage, layer, name)
        if decision is not None:
            return (
                ({f"stages.{stage}.layers.{layer}.{name}": decision[decision.index(value)]}, fixed)
                if value in decision
                else None
            )
        options = self.space.options(stage, None, name)
        if value not in options or fixed.get(name, value) != value:
            return None
        return {}, fixed | {name: options[options.index(value)]}
