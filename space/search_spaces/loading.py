"""Search spaces by name or from YAML, the form that `definitions/` ships and users write.

A space is a mapping with the keys

    name       what it is called
    base       a preset's name, or a spec: the network that the space varies
    stages     field to choices, for every stage (block, kernel, expansion, se, width, skip, activation, depth)
    layers     field to choices, for every layer of every stage by itself (all of these but depth)
    overrides  stage number, from 1, to a mapping like `stages`, in which `layers` may stand too
    whole      field of the whole network to choices (stem_width, head_width, resolution)

Choices are a list of values, or `{multiply: [...]}` of a width, or `{add: [...]}` to a width or
depth. So that one rule can stand for every stage, what a stage can't do is left out of its
choices: an `add` that leaves no block or channel, and `identity` where a stage or layer must
change the size of its map.
"""

import importlib
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from phinas.space.loading import path_exists
from phinas.space.presets import preset
from phinas.space.scaling import MAX_FACTOR, round_width
from phinas.space.search_spaces.search_space import (
    LAYER_FIELDS,
    STAGE_FIELDS,
    WHOLE_FIELDS,
    Decision,
    SearchSpace,
    Value,
)
from phinas.space.spec import ArchSpec, SpecError, StageSpec
from phinas.space.yaml_io import read_yaml

_KEYS = ("name", "base", "stages", "layers", "overrides", "whole")


def _resolved(rule: object, base: int | None, where: str) -> tuple[Value, ...]:
    """Choices as written: a list of values, or {multiply: [...]} of a width, {add: [...]} to a
    width or depth (`base`).
    """
    if isinstance(rule, list):
        return tuple(rule)
    if isinstance(rule, Mapping) and len(rule) == 1 and base:
        verb, numbers = next(iter(rule.items()))
        good = isinstance(numbers, list) and all(
            isinstance(n, int | float) and not isinstance(n, bool) for n in numbers
        )
        if (
            verb == "multiply"
            and good
            and where.endswith("width")
            and all(0 < number < MAX_FACTOR for number in numbers)
        ):
            return tuple(dict.fromkeys(round_width(base * number) for number in numbers))
        if verb == "add" and good and all(isinstance(number, int) for number in numbers):
            # An offset that would leave no block is left out: a depth of 1 has no 0 beside it.
            return tuple(base + number for number in numbers if base + number >= 1)
    remedy = (
        "write a list of values, {multiply: [positive numbers]} for a width, {add: "
        "[whole numbers]} for a width or depth"
    )
    raise SpecError(f"{where}: {rule!r} is none of the ways to write choices; {remedy}")


def space_from_dict(data: object) -> SearchSpace:
    """A space from plain data; the keys stand at the top of this file. Raises SpecError naming the
    key.
    """
    if not isinstance(data, Mapping):
        raise SpecError(f"a search space is a mapping with the keys {', '.join(_KEYS)}")
    for key in data:
        if key not in _KEYS:
            raise SpecError(f"{key}: unknown key; {_hint(str(key), _KEYS, 'known')}")
    if "base" not in data:
        raise SpecError("base: missing; name a preset or write the spec that the space varies")
    try:
        base = (
            preset(data["base"])
            if isinstance(data["base"], str)
            else ArchSpec.from_dict(data["base"])
        )
    except SpecError as error:
        raise SpecError(f"base: {error}") from None
    overrides = _mapping(data, "overrides")
    for number in overrides:
        if not isinstance(number, int) or number not in range(1, len(base.stages) + 1):
            raise SpecError(
                f"overrides: {number!r} is no stage; the base has stages 1 to {len(base.stages)}"
            )
    decisions: list[Decision] = []
    for index, stage in enumerate(base.stages):
        own = _mapping(overrides, index + 1, where="overrides.")
        of_stage = {
            **_mapping(data, "stages"),
            **{field: rule for field, rule in own.items() if field != "layers"},
        }
        of_layers = {
            **_mapping(data, "layers"),
            **_mapping(own, "layers", where=f"overrides.{index + 1}."),
        }
        decisions += _stage_decisions(index, stage, of_stage, of_layers)
    decisions += [
        _decision(str(field), rule, base, WHOLE_FIELDS)
        for field, rule in _mapping(data, "whole").items()
    ]
    return SearchSpace(str(data.get("name", "custom")), base, tuple(decisions))


def _stage_decisions(
    index: int, stage: StageSpec, of_stage: Mapping[Any, Any], of_layers: Mapping[Any, Any]
) -> Iterator[Decision]:
    """The decisions of one stage, and after them those of its layers, as many as its depth may
    reach.
    """
    most = stage.depth
    for field, rule in of_stage.items():
        decision = _decision(f"stages.{index}.{field}", rule, stage, STAGE_FIELDS)
        if field == "depth" and all(isinstance(value, int) for value in decision.values):
            most = max(int(value) for value in decision.values)
        yield _without_identity(decision) if field == "block" and stage.stride > 1 else decision
    for layer in range(most if of_layers else 0):
        for field, rule in of_layers.items():
            decision = _decision(
                f"stages.{index}.layers.{layer}.{field}", rule, stage, LAYER_FIELDS
            )
            yield (
                _without_identity(decision)
                if field == "block" and layer == 0 and stage.stride > 1
                else decision
            )


def _without_identity(decision: Decision) -> Decision:
    return Decision(decision.name, tuple(value for value in decision.values if value != "identity"))


def _mapping(data: Mapping[Any, Any], key: object, *, where: str = "") -> Mapping[Any, Any]:
    value = data.get(key)
    if value is not None and not isinstance(value, Mapping):
        raise SpecError(f"{where}{key}: {value!r} is not a mapping of field to choices")
    return value or {}


def _decision(
    name: str, rule: object, owner: ArchSpec | StageSpec, allowed: tuple[str, ...]
) -> Decision:
    field = name.rpartition(".")[2]
    if field not in allowed:
        raise SpecError(f"{name}: can't be searched; {_hint(field, allowed, 'can')}")
    base = (
        getattr(owner, field) if field in ("width", "depth", "stem_width", "head_width") else None
    )
    return Decision(name, _resolved(rule, base, name))


def _hint(word: str, known: Iterable[str], otherwise: str) -> str:
    near = get_close_matches(word, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"{otherwise}: {', '.join(known)}"


def load_space(source: str) -> SearchSpace:
    """A shipped space by name, a user's own YAML file, or a Python value as `package.module:NAME`.

    Raises SpecError or YamlError, naming the file.
    """
    from phinas.space.search_spaces.definitions import SPACES

    path = SPACES.get(source, Path(source).expanduser())
    if not path_exists(path):
        if source.count(":") == 1 and all(
            part.isidentifier() for part in source.replace(":", ".").split(".")
        ):
            return _imported(source)
        near = get_close_matches(source, SPACES, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise SpecError(
            f"space: {source!r} is neither a file nor a shipped space; {hint}shipped: "
            f"{', '.join(SPACES)}"
        )
    try:
        return space_from_dict(read_yaml(path))
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from None


def _imported(source: str) -> SearchSpace:
    module, _, name = source.partition(":")
    try:
        value = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SpecError(
            f"space: {source!r}: {error}; write package.module:NAME of a SearchSpace that Python "
            "can import"
        ) from None
    if not isinstance(value, SearchSpace):
        raise SpecError(
            f"space: {source!r} is a {type(value).__name__}; it must be a "
            "phinas.space.search_spaces.search_space.SearchSpace"
        )
    return value
