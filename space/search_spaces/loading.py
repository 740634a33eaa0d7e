"""Search spaces by name or from YAML, the format of `definitions/` and of users' files.

A space is a mapping with the keys

    name       its name
    summary    what it holds, in one line (optional)
    base       a preset's name, or a spec: the network that the space varies
    stages     field to choices, for every stage (block, kernel, expansion, se, width, skip,
               activation, depth)
    layers     field to choices, for each layer of every stage separately (the same fields without
               depth)
    overrides  stage number, from 1, to a mapping like `stages`, which may contain `layers` too
    global     field of the network to choices (stem_width, head_width, resolution)

Choices are a list of values, or `{multiply: [...]}` of a width, or `{add: [...]}` to a width or
depth. One rule can serve every stage, because impossible choices are left out: an `add` that leaves
no block or channel, and `identity` where a stage or layer must change the size of its map.
"""

import importlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from phinas.space.closest_name import suggest_name
from phinas.space.field_checks import check_integer
from phinas.space.loading import path_exists
from phinas.space.presets import preset
from phinas.space.scaling import MAX_FACTOR, round_width
from phinas.space.search_spaces.decisions import (
    GLOBAL_FIELDS,
    LAYER_FIELDS,
    STAGE_FIELDS,
    Decision,
    Value,
)
from phinas.space.search_spaces.definitions import SPACES
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.space.spec import ArchSpec, SpecError, StageSpec
from phinas.space.stage_spec import MAX_DEPTH
from phinas.space.yaml_io import read_yaml

# Shipped spaces have up to 48. The cost tables of a space with 840 took 18 s.
MAX_DECISIONS = 500
_KEYS = ("name", "summary", "base", "stages", "layers", "overrides", "global")


def _resolve_values(rule: object, base: int | None, name: str) -> tuple[Value, ...]:
    """The values of a rule, whose factors and offsets apply to the width or depth `base`."""
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
            # Skip an offset that would leave no block.
            return tuple(base + number for number in numbers if base + number >= 1)
    hint = (
        "write a list of values, {multiply: [positive numbers]} for a width, {add: "
        "[whole numbers]} for a width or depth"
    )
    raise SpecError(f"{name}: {rule!r} is not a way to write choices; {hint}")


def space_from_dict(data: object) -> SearchSpace:
    """A space from plain data, whose keys are listed at the top of this file.

    Raises:
        SpecError: the data does not describe a space; names the key.
    """
    if not isinstance(data, Mapping):
        raise SpecError(f"a search space is a mapping with the keys {', '.join(_KEYS)}")
    for key in data:
        if key not in _KEYS:
            raise SpecError(f"{key}: unknown key; {_suggest(str(key), _KEYS, 'known keys')}")
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
                f"overrides: {number!r} is not a stage; the base has stages 1 to {len(base.stages)}"
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
    if len(decisions) > MAX_DECISIONS:
        raise SpecError(
            f"layers: the space has {len(decisions):,} choices, because each layer up to the "
            f"largest depth has its own, and at most {MAX_DECISIONS:,} are possible; lower the "
            "depths, or write choices for stages instead of layers"
        )
    return SearchSpace(str(data.get("name", "custom")), base, tuple(decisions))


def _stage_decisions(
    index: int, stage: StageSpec, stage_rules: Mapping[Any, Any], layer_rules: Mapping[Any, Any]
) -> Iterator[Decision]:
    """The decisions of one stage, then those of its layers, up to the maximum depth."""
    max_depth = stage.depth
    for field, rule in stage_rules.items():
        decision = _decision(f"stages.{index}.{field}", rule, stage, STAGE_FIELDS)
        if field == "depth":
            max_depth = _max_depth(decision)
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


def _max_depth(decision: Decision) -> int:
    """The largest depth. Checked here, because the number of layers follows from it.

    Raises:
        SpecError: A depth is not a whole number from 1 to MAX_DEPTH.
    """
    for value in decision.values:
        check_integer(decision.name, value, minimum=1, maximum=MAX_DEPTH)
    return max((int(value) for value in decision.values), default=1)


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
        raise SpecError(
            f"{name}: cannot be searched; {_suggest(field, allowed_fields, 'legal fields')}"
        )
    base = getattr(spec, field) if field in ("width", "depth", "stem_width", "head_width") else None
    return Decision(name, _resolve_values(rule, base, name))


def _suggest(word: str, options: Iterable[str], fallback: str) -> str:
    return suggest_name(word, options) or f"{fallback}: {', '.join(options)}"


def load_space(source: str, *, field: str = "space") -> SearchSpace:
    """Load a search space.

    Args:
        source: the name of a shipped space, a YAML file, or `package.module:NAME` of a SearchSpace
            in Python.
        field: what error messages call the argument or configuration key that has the source.

    Raises:
        SpecError: the space is unknown, or the file does not describe one; names the
            file.
        YamlError: the file is not YAML; names the file.
    """
    path = SPACES.get(source, Path(source).expanduser())
    if not path_exists(path):
        if source.count(":") == 1 and all(
            part.isidentifier() for part in source.replace(":", ".").split(".")
        ):
            return _import_space(source, field)
        hint = suggest_name(source, SPACES) or f"included spaces: {', '.join(SPACES)}"
        raise SpecError(f"{field}: {source!r} is neither a file nor an included space; {hint}")
    try:
        return space_from_dict(read_yaml(path))
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from None


def _import_space(source: str, field: str) -> SearchSpace:
    module, _, name = source.partition(":")
    try:
        value = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SpecError(
            f"{field}: {source!r} cannot be imported ({error}); write package.module:NAME of a "
            "SearchSpace that Python can import"
        ) from None
    if not isinstance(value, SearchSpace):
        raise SpecError(
            f"{field}: {source!r} is a {type(value).__name__}; it must be a "
            "phinas.space.search_spaces.search_space.SearchSpace"
        )
    return value
