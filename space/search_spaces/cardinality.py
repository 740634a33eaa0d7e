"""The exact number of *different* networks in a search space.

Several sets of choices may mean one network. A nondeterministic automaton reads a network block by
block: a state is a way to place the blocks so far on stages and layers. One block leads from a set
of states to a set of states (the subset construction), so that a network is counted once however
many ways there are to place it.
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

from phinas.space.search_spaces.search_space import SearchSpace
from phinas.space.stage_spec import StageSpec, reset_unused_fields, skip_has_effect

_LayerOptions = tuple[StageSpec, ...]  # the blocks that a layer may be
# For each stage, and each combination of its stage-wide choices: its layers.
_StageLayouts = list[list[tuple[_LayerOptions, ...]]]
_State = tuple[int, int, int]  # stage, index of its layout, layers done
# the states that the first blocks may lead to, and the width
_Prefix = tuple[frozenset[_State], int]


def count_networks(space: SearchSpace) -> int:
    """The number of different `network_id` among all choices, without enumeration."""
    layouts = [_stage_layouts(space, index) for index in range(len(space.base.stages))]
    global_values = {
        decision.name: decision.values
        for decision in space.decisions
        if not decision.name.startswith("stages.")
    }
    stems = global_values.pop("stem_width", (space.base.stem_width,))
    start = frozenset((0, layout, 0) for layout in range(len(layouts[0])))
    # The number of sequences of first blocks that lead to each set of states and width.
    prefixes: dict[_Prefix, int] = {(start, int(stem)): 1 for stem in stems}
    total = 0
    transitions: dict[_Prefix, tuple[bool, list[_Prefix]]] = {}
    while prefixes:
        longer_prefixes: dict[_Prefix, int] = defaultdict(int)
        for prefix, count in prefixes.items():
            if prefix not in transitions:
                closure = _epsilon_closure(prefix[0], layouts)
                successors = _transitions(closure, layouts, prefix[1], space.base.activation)
                is_complete = any(stage == len(layouts) for stage, _, _ in closure)
                transitions[prefix] = (
                    is_complete,
                    [(frozenset(states), block.width) for block, states in successors.items()],
                )
            is_complete, next_prefixes = transitions[prefix]
            total += count * is_complete
            for next_prefix in next_prefixes:
                longer_prefixes[next_prefix] += count
        prefixes = longer_prefixes
    return total * math.prod(len(values) for values in global_values.values())


def _transitions(
    closure: set[_State], layouts: _StageLayouts, width: int, activation: str
) -> dict[StageSpec, set[_State]]:
    """Each block that may follow `width` channels, and the states that it leads to."""
    successors: dict[StageSpec, set[_State]] = defaultdict(set)
    for stage, layout, layers_done in closure:
        if stage < len(layouts) and layers_done < len(layouts[stage][layout]):
            for block in layouts[stage][layout][layers_done]:
                if block.block != "identity":
                    successors[_canonical_block(block, width, activation)].add(
                        (stage, layout, layers_done + 1)
                    )
    return successors


def _epsilon_closure(states: frozenset[_State], layouts: _StageLayouts) -> set[_State]:
    """`states`, and those reached by leaving out layers or by moving to the next stage."""
    closure: set[_State] = set()
    pending = list(states)
    while pending:
        state = pending.pop()
        if state in closure:
            continue
        closure.add(state)
        stage, layout, layers_done = state
        if stage == len(layouts):
            continue
        layers = layouts[stage][layout]
        if layers_done == len(layers):
            num_layouts = len(layouts[stage + 1]) if stage + 1 < len(layouts) else 1
            pending += [(stage + 1, next_layout, 0) for next_layout in range(num_layouts)]
        elif any(block.block == "identity" for block in layers[layers_done]):
            pending.append((stage, layout, layers_done + 1))
    return closure


def _stage_layouts(space: SearchSpace, index: int) -> list[tuple[_LayerOptions, ...]]:
    """For each combination of stage-wide choices, the blocks that each layer may be."""
    base = space.base.stages[index]
    layouts = []
    for stage_fields in _field_combinations(space, index, None):
        layers = []
        for layer in range(stage_fields.get("depth", base.depth)):
            position = {"depth": 1, "stride": base.stride if layer == 0 else 1}
            blocks = (
                replace(base, **stage_fields | position | layer_fields)
                for layer_fields in _field_combinations(space, index, layer)
            )
            layers.append(tuple(set(blocks)))
        layouts.append(tuple(layers))
    return layouts


def _field_combinations(
    space: SearchSpace, stage: int, layer: int | None
) -> Iterator[dict[str, Any]]:
    """The fields that each set of choices of a stage, or of one of its layers, sets."""
    decisions = space.levels.decisions(stage, layer)
    for settings in product(*(decision.settings for decision in decisions)):
        yield {name: value for fields in settings for name, value in fields.items()}


def _canonical_block(block: StageSpec, width: int, activation: str) -> StageSpec:
    """The block with the fields that have no effect at one value, so that equal blocks compare
    equal.
    """
    canonical = reset_unused_fields(block, activation)
    return canonical if skip_has_effect(block, width) else replace(canonical, skip=True)
