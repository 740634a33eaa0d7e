"""How many *different* networks a search space holds, exactly.

Its choices are strings; several may spell one network. Networks are read block by block by an
automaton: a state is a way to have placed the blocks so far on stages and layers. Reading one block
leads from a set of states to a set of states (the subset construction), so that a network is
counted once however many ways there are to place it.
"""

import math
from collections import defaultdict
from dataclasses import replace
from itertools import product
from typing import Any

from phinas.space.search_spaces.search_space import LAYER_FIELDS, SearchSpace
from phinas.space.spec import BLOCKS, StageSpec, may_skip

_Layer = tuple[StageSpec, ...]  # what may stand there
_Shapes = list[
    list[tuple[_Layer, ...]]
]  # of each stage, for each combination of its stage-wide choices: its layers
_State = tuple[int, int, int]  # stage, which of its shapes, layers done
_Reading = tuple[frozenset[_State], int]  # what a beginning may have become, and the channels there


def networks(space: SearchSpace) -> int:
    """The number of different `spec_id` among all choices, without going through them."""
    shapes = [_shapes(space, index) for index in range(len(space.base.stages))]
    whole = {
        decision.name: decision.values
        for decision in space.decisions
        if not decision.name.startswith("stages.")
    }
    stems = whole.pop("stem_width", (space.base.stem_width,))
    start = frozenset((0, shape, 0) for shape in range(len(shapes[0])))
    # How many beginnings of so many blocks lead to each set of states, and the channels there.
    beginnings: dict[_Reading, int] = {(start, int(stem)): 1 for stem in stems}
    total = 0
    known: dict[_Reading, tuple[bool, list[_Reading]]] = {}
    while beginnings:
        longer: dict[_Reading, int] = defaultdict(int)
        for reading, count in beginnings.items():
            if reading not in known:
                reached = _closed(reading[0], shapes)
                following = _read_one(reached, shapes, reading[1], space.base.activation)
                complete = any(stage == len(shapes) for stage, _, _ in reached)
                known[reading] = (
                    complete,
                    [(frozenset(states), block.width) for block, states in following.items()],
                )
            complete, onward = known[reading]
            total += count * complete
            for other in onward:
                longer[other] += count
        beginnings = longer
    return total * math.prod(len(values) for values in whole.values())


def _read_one(
    reached: set[_State], shapes: _Shapes, width: int, activation: str
) -> dict[StageSpec, set[_State]]:
    """Each block that may come next, after `width` channels, and the states that it leads to."""
    following: dict[StageSpec, set[_State]] = defaultdict(set)
    for stage, shape, done in reached:
        if stage < len(shapes) and done < len(shapes[stage][shape]):
            for block in shapes[stage][shape][done]:
                if block.block != "identity":
                    following[_told_once(block, width, activation)].add((stage, shape, done + 1))
    return following


def _closed(states: frozenset[_State], shapes: _Shapes) -> set[_State]:
    """`states`, and those that leaving layers out or going on to the next stage leads to."""
    reached: set[_State] = set()
    waiting = list(states)
    while waiting:
        state = waiting.pop()
        if state in reached:
            continue
        reached.add(state)
        stage, shape, done = state
        if stage == len(shapes):
            continue
        layers = shapes[stage][shape]
        if done == len(layers):
            following = len(shapes[stage + 1]) if stage + 1 < len(shapes) else 1
            waiting += [(stage + 1, other, 0) for other in range(following)]
        elif any(block.block == "identity" for block in layers[done]):
            waiting.append((stage, shape, done + 1))
    return reached


def _shapes(space: SearchSpace, index: int) -> list[tuple[_Layer, ...]]:
    """The stage for each combination of its stage-wide choices: what may stand in each of its
    layers.
    """
    base = space.base.stages[index]
    names = (*LAYER_FIELDS, "depth")
    shapes = []
    for values in product(*(space.options(index, None, name) for name in names)):
        wide: dict[str, Any] = dict(zip(names, values, strict=True))
        depth = wide.pop("depth")
        layers = []
        for layer in range(depth):
            own = {
                name: space.layer_options(index, layer, name) or (wide[name],)
                for name in LAYER_FIELDS
            }
            stride = base.stride if layer == 0 else 1
            blocks = (dict(zip(own, chosen, strict=True)) for chosen in product(*own.values()))
            layers.append(
                tuple({replace(base, depth=1, stride=stride, **block) for block in blocks})
            )
        shapes.append(tuple(layers))
    return shapes


def _told_once(block: StageSpec, width: int, activation: str) -> StageSpec:
    """The block with what means nothing to it at one value, so that equal blocks are equal."""
    idle: dict[str, Any] = {name: getattr(StageSpec(1, 1), name) for name in BLOCKS[block.block]}
    if not may_skip(block, width):
        idle["skip"] = True
    if block.activation == activation:
        idle["activation"] = ""
    return replace(block, **idle)
