"""Search spaces by name or from YAML, the form that `definitions/` ships and users write.

A space is a mapping with the keys

    name       what it is called
    base       a preset's name, or a spec: the network that the space varies
    stages     field to choices, for every stage (block, kernel, expansion, se, width, skip,
               activation, depth)
    layers     field to choices, for every layer of every stage by itself (all of these but depth)
    overrides  stage number, from 1, to a mapping like `stages`, in which `layers` may stand too
    global     field of the whole network to choices (stem_width, head_width, resolution)

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
    GLOBAL_FIELDS,
    LAYER_FIELDS,
    STAGE_FIELDS,
    Decision,
    SearchSpace,
    Value,
)
from phinas.space.spec import ArchSpec, SpecError, StageSpec
from phinas.space.yaml_io import read_yaml

_KEYS = ("name", "base", "stages", "layers", "overrides", "global")


def _resolve_values(rule: object, base: int | None, name: str) -> tuple[Value, ...]:
    """Choices as written: a list of values, or {multiply: [...]} of a width, {add: [...]} to a
    width or depth (`base`).
    """
    if isinstance(rule, list):
        return tuple(rule)
    if isinstance(rule, Mapping) and len(rule) == 1 and base:
        operation, numbers = next(iter(rule.items()))
        are_numbers = isinstance(numbers, list) and all(
            isinstance(n, int | float) and not isinstance(n, bool) for n in numbers
        )
        if (
            operation == "multiply"
            and are_numbers
            and name.endswith("width")
            and all(0 < number < MAX_FACTOR for number in numbers)
        ):
            return tuple(dict.fromkeys(round_width(base * number) for number in numbers))
        if (
            operation == "add"
            and are_numbers
            and all(isinstance(number, int) for number in numbers)
        ):
            # An offset that would leave no block is left out: a depth of 1 has no 0 beside it.
            return tuple(base + number for number in numbers if base + number >= 1)
    hint = (
        "write a list of values, {multiply: [positive numbers]} for a width, {add: "
        "[whole numbers]} for a width or depth"
    )
    raise SpecError(f"{name}: {rule!r} is none of the ways to write choices; {hint}")


def space_from_dict(data: object) -> SearchSpace:
    """A space from plain data; the keys stand at the top of this file. Raises SpecError naming the
    key.
    """
    if not isinstance(data, Mapping):
        raise SpecError(f"a search space is a mapping with the keys {', '.join(_KEYS)}")
    for key in data:
        if key not in _KEYS:
            raise SpecError(f"{key}: unknown key; {_suggest(str(key), _KEYS, 'known')}")
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
    overrides = _get_mapping(data, "overrides")
    for number in overrides:
        if not isinstance(number, int) or number not in range(1, len(base.stages) + 1):
            raise SpecError(
                f"overrides: {number!r} is no stage; the base has stages 1 to {len(base.stages)}"
            )
    decisions: list[Decision] = []
    for index, stage in enumerate(base.stages):
        override = _get_mapping(overrides, index + 1, prefix="overrides.")
        stage_rules = {
            **_get_mapping(data, "stages"),
            **{field: rule for field, rule in override.items() if field != "layers"},
        }
        layer_rules = {
            **_get_mapping(data, "layers"),
            **_get_mapping(override, "layers", prefix=f"overrides.{index + 1}."),
        }
        decisions += _stage_decisions(index, stage, stage_rules, layer_rules)
    decisions += [
        _decision(str(field), rule, base, GLOBAL_FIELDS)
        for field, rule in _get_mapping(data, "global").items()
    ]
    return SearchSpace(str(data.get("name", "custom")), base, tuple(decisions))


def _stage_decisions(
    index: int, stage: StageSpec, stage_rules: Mapping[Any, Any], layer_rules: Mapping[Any, Any]
) -> Iterator[Decision]:
    """The decisions of one stage, and after them those of its layers, as many as its depth may
    reach.
    """
    max_depth = stage.depth
    for field, rule in stage_rules.items():
        decision = _decision(f"stages.{index}.{field}", rule, stage, STAGE_FIELDS)
        if field == "depth" and all(isinstance(value, int) for value in decision.values):
            max_depth = max(int(value) for value in decision.values)
        yield _without_identity(decision) if field == "block" and stage.stride > 1 else decision
    for layer in range(max_depth if layer_rules else 0):
        for field, rule in layer_rules.items():
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


def _get_mapping(data: Mapping[Any, Any], key: object, *, prefix: str = "") -> Mapping[Any, Any]:
    value = data.get(key)
    if value is not None and not isinstance(value, Mapping):
        raise SpecError(f"{prefix}{key}: {value!r} is not a mapping of field to choices")
    return value or {}


def _decision(
    name: str, rule: object, spec: ArchSpec | StageSpec, allowed_fields: tuple[str, ...]
) -> Decision:
    field = name.rpartition(".")[2]
    if field not in allowed_fields:
        raise SpecError(f"{name}: can't be searched; {_suggest(field, allowed_fields, 'can')}")
    base = getattr(spec, field) if field in ("width", "depth", "stem_width", "head_width") else None
    return Decision(name, _resolve_values(rule, base, name))


def _suggest(word: str, options: Iterable[str], fallback: str) -> str:
    matches = get_close_matches(word, options, n=1)
    return f"did you mean {matches[0]!r}?" if matches else f"{fallback}: {', '.join(options)}"


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
            return _import_space(source)
        matches = get_close_matches(source, SPACES, n=1)
        hint = f"did you mean {matches[0]!r}? " if matches else ""
        raise SpecError(
            f"space: {source!r} is neither a file nor a shipped space; {hint}shipped: "
            f"{', '.join(SPACES)}"
        )
    try:
        return space_from_dict(read_yaml(path))
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from None


def _import_space(source: str) -> SearchSpace:
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
