"""Search spaces as plain data, the format of `definitions/` and of users' YAML files.

A space is a mapping with the keys

    name       its name
    summary    what it holds, in one line (optional)
    base       a preset's name, or a spec: the network that the space varies
    stages     field to choices, for every stage (block, kernel, expansion, se, width, skip,
               activation, depth)
    layers     field to choices, for each layer of every stage separately (the same fields without
               depth)
    overrides  stage number, from 1, to a mapping like `stages`, which may contain `layers` too, and
               `overrides`: layer number in the stage, from 1, to a mapping like `layers`
    global     field of the network to choices (stem_width, head_width, resolution)

Choices are a list of values, or `{multiply: [...]}` of a width, or `{add: [...]}` to a width or
depth. One rule can serve every stage, because impossible choices are left out: an `add` that leaves
no block or channel, and `identity` where a stage or layer must change the size of its map.

In place of a field, any other word, such as `op`, is a joint choice. Each of its values sets
several fields at once, or is a kind of block:

    layers: {op: [identity, {kernel: 3, expansion: 3}, {kernel: 5, expansion: 6}]}

The key `name` of a value names it in choices: `{name: mb6_k5, kernel: 5, expansion: 6}`. An
override replaces the choices of the same field or word. `null` removes them.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from phinas.space.closest_name import suggest_name
from phinas.space.field_checks import check_integer
from phinas.space.presets import preset
from phinas.space.scaling import MAX_FACTOR, round_width
from phinas.space.search_spaces.decisions import (
    GLOBAL_FIELDS,
    LAYER_FIELDS,
    STAGE_FIELDS,
    Decision,
    Value,
)
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.space.spec import ArchSpec, SpecError, StageSpec
from phinas.space.stage_spec import MAX_DEPTH

# Shipped spaces have up to 48. The cost tables of a space with 840 took 18 s.
MAX_DECISIONS = 500
_NESTED_KEYS = ("layers", "overrides")  # keys of an override that are no fields
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
        if not _is_number_of(number, len(base.stages)):
            raise SpecError(
                f"overrides: {number!r} is not a stage; the base has stages 1 to {len(base.stages)}"
            )
    decisions: list[Decision] = []
    for index, stage in enumerate(base.stages):
        override = _get_mapping(overrides, index + 1, prefix="overrides.")
        prefix = f"overrides.{index + 1}."
        rules = _StageRules(
            prefix,
            _merge(
                _get_mapping(data, "stages"),
                {key: rule for key, rule in override.items() if key not in _NESTED_KEYS},
            ),
            _merge(_get_mapping(data, "layers"), _get_mapping(override, "layers", prefix=prefix)),
            _get_mapping(override, "overrides", prefix=prefix),
        )
        decisions += _stage_decisions(index, stage, rules)
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


def _is_number_of(number: object, count: int) -> bool:
    """Whether it is a number of `count` stages or layers, from 1."""
    return isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= count


def _merge(rules: Mapping[Any, Any], overrides: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """The rules with those that override them. A rule of None removes one."""
    return {key: rule for key, rule in {**rules, **overrides}.items() if rule is not None}


@dataclass(frozen=True)
class _StageRules:
    """What a space says of one stage: field or word to choices.

    Attributes:
        prefix: The key of the stage's override, for error messages.
        stage: The rules for the whole stage.
        layers: The rules for each of its layers.
        layer_overrides: Number of a layer to rules that override `layers`.
    """

    prefix: str
    stage: Mapping[Any, Any]
    layers: Mapping[Any, Any]
    layer_overrides: Mapping[Any, Any]


def _stage_decisions(index: int, stage: StageSpec, rules: _StageRules) -> Iterator[Decision]:
    """The decisions of one stage, then those of its layers, up to the maximum depth."""
    max_depth = stage.depth
    for field, rule in rules.stage.items():
        decision = _decision(f"stages.{index}.{field}", rule, stage, STAGE_FIELDS)
        if "depth" in decision.field_names:
            max_depth = _max_depth(decision, stage.depth)
        yield _without_identity(decision) if stage.stride > 1 else decision
    for number in rules.layer_overrides:
        if not _is_number_of(number, max_depth):
            raise SpecError(
                f"{rules.prefix}overrides: {number!r} is not a layer; the stage has layers 1 to "
                f"{max_depth}"
            )
    if not rules.layers and not rules.layer_overrides:
        return
    for layer in range(max_depth):
        override = _get_mapping(
            rules.layer_overrides, layer + 1, prefix=f"{rules.prefix}overrides."
        )
        for field, rule in _merge(rules.layers, override).items():
            decision = _decision(
                f"stages.{index}.layers.{layer}.{field}", rule, stage, LAYER_FIELDS
            )
            yield _without_identity(decision) if layer == 0 and stage.stride > 1 else decision


def _max_depth(decision: Decision, base_depth: int) -> int:
    """The largest depth. Checked here, because the number of layers follows from it.

    Raises:
        SpecError: A depth is not a whole number from 1 to MAX_DEPTH.
    """
    depths = [fields.get("depth", base_depth) for fields in decision.settings]
    for depth in depths:
        check_integer(decision.name, depth, minimum=1, maximum=MAX_DEPTH)
    return max((int(depth) for depth in depths), default=1)


def _without_identity(decision: Decision) -> Decision:
    """The decision without its values that leave out the block."""
    return decision.select(
        position
        for position, fields in enumerate(decision.settings)
        if fields.get("block") != "identity"
    )


def _get_mapping(data: Mapping[Any, Any], key: object, *, prefix: str = "") -> Mapping[Any, Any]:
    value = data.get(key)
    if value is not None and not isinstance(value, Mapping):
        raise SpecError(f"{prefix}{key}: {value!r} is not a mapping of field to choices")
    return value or {}


def _decision(
    name: str, rule: object, spec: ArchSpec | StageSpec, allowed_fields: tuple[str, ...]
) -> Decision:
    field = name.rpartition(".")[2]
    if field not in (*allowed_fields, *STAGE_FIELDS) and _is_joint_rule(rule):
        return Decision.joint(name, rule)
    if field not in allowed_fields:
        fallback = "a joint choice lists fields, such as {kernel: 3, expansion: 6}; legal fields"
        raise SpecError(f"{name}: cannot be searched; {_suggest(field, allowed_fields, fallback)}")
    base = getattr(spec, field) if field in ("width", "depth", "stem_width", "head_width") else None
    return Decision(name, _resolve_values(rule, base, name))


def _is_joint_rule(rule: object) -> TypeGuard[list[object]]:
    """Whether some value sets several fields."""
    return isinstance(rule, list) and any(isinstance(value, Mapping) for value in rule)


def _suggest(word: str, options: Iterable[str], fallback: str) -> str:
    return suggest_name(word, options) or f"{fallback}: {', '.join(options)}"
