"""The decisions of a search space: which fields of a network each changes, and to which values.

A decision sets one field, or several at once. The values of a *joint* decision are names, and each
stands for the values of some fields: `identity`, or `kernel=5,expansion=6`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Self

from phinas.space.closest_name import suggest_name
from phinas.space.spec import SpecError
from phinas.space.stage_spec import BLOCKS

Value = int | float | bool | str
Choices = dict[str, Value]  # the value of each decision, by its name
Fields = Mapping[str, Value]  # the value of each field, by its name

LAYER_FIELDS = ("block", "kernel", "expansion", "se", "width", "skip", "activation")
STAGE_FIELDS = (*LAYER_FIELDS, "depth")
GLOBAL_FIELDS = ("stem_width", "head_width", "resolution")


@dataclass(frozen=True)
class Decision:
    """One or several fields of the network, and the values that they may take.

    Attributes:
        name: `stages.I.FIELD`, `stages.I.layers.J.FIELD` or `FIELD`. The last part of the name of a
            joint decision is any other word, such as `op`.
        values: The values: at least one, all distinct. Of a joint decision the names of its values.
        fields: Of a joint decision the fields that each value sets, as pairs of name and value. A
            field that a value leaves out is that of the stage. Empty for a decision on one field.

    Raises:
        SpecError: there are no values, a value occurs twice, or a name, field or value has another
            form.
    """

    name: str
    values: tuple[Value, ...]
    fields: tuple[tuple[tuple[str, Value], ...], ...] = ()

    def __post_init__(self) -> None:
        if not self.values:
            raise SpecError(f"{self.name}: has no values; list at least one")
        for value in self.values:
            if not isinstance(value, int | float | str):
                raise SpecError(f"{self.name}: {value!r} is not a number, a word or true/false")
        if len(set(self.values)) < len(self.values):
            raise SpecError(
                f"{self.name}: {list(self.values)} lists a value twice; list each value once"
            )
        if not self.fields:
            parse_field_path(self.name)
            return
        if len(self.fields) != len(self.values):
            raise SpecError(
                f"{self.name}: {len(self.values)} values set fields {len(self.fields)} times; give "
                "the fields of each value"
            )
        _check_joint(self)

    @classmethod
    def joint(cls, name: str, options: Iterable[object]) -> Self:
        """A decision that sets several fields at once.

        Args:
            name: `stages.I.WORD` or `stages.I.layers.J.WORD`.
            options: Kinds of block, such as "identity", and mappings of fields to values, such as
                {"kernel": 3, "expansion": 6}. The key `name` of a mapping names the value in
                choices; without it the name is made of the fields: `kernel=3,expansion=6`.

        Raises:
            SpecError: an option has another form.
        """
        named_fields = [_parse_option(name, option) for option in options]
        values = tuple(value for value, _ in named_fields)
        return cls(name, values, tuple(tuple(fields.items()) for _, fields in named_fields))

    @property
    def is_joint(self) -> bool:
        """Whether its values are names of several fields."""
        return bool(self.fields)

    @cached_property
    def path(self) -> "FieldPath":
        """What the decision changes."""
        return _split_path(self.name) if self.is_joint else parse_field_path(self.name)

    @cached_property
    def field_names(self) -> tuple[str, ...]:
        """The fields that it changes."""
        if not self.is_joint:
            return (self.path.field,)
        return tuple(dict.fromkeys(name for pairs in self.fields for name, _ in pairs))

    @cached_property
    def settings(self) -> tuple[Fields, ...]:
        """The fields that each value sets."""
        if self.is_joint:
            return tuple(dict(pairs) for pairs in self.fields)
        return tuple({self.path.field: value} for value in self.values)

    def select(self, positions: Iterable[int]) -> Self:
        """The same decision with the values at these positions only."""
        selected = list(positions)
        fields = tuple(self.fields[position] for position in selected) if self.is_joint else ()
        return type(self)(self.name, tuple(self.values[position] for position in selected), fields)


def _parse_option(name: str, option: object) -> tuple[Value, Fields]:
    """The name of a value of a joint decision, and the fields that it sets."""
    if isinstance(option, str) and option in BLOCKS:
        return option, {"block": option}
    if not isinstance(option, Mapping):
        kinds = suggest_name(str(option), BLOCKS) or f"kinds of block: {', '.join(BLOCKS)}"
        raise SpecError(
            f"{name}: {option!r} is not a value of a joint choice; write fields, such as "
            f"{{kernel: 3, expansion: 6}}, or a kind of block; {kinds}"
        )
    fields = {str(field): value for field, value in option.items() if field != "name"}
    if not fields:
        raise SpecError(
            f"{name}: {dict(option)!r} sets no field; write at least one of "
            f"{', '.join(STAGE_FIELDS)}"
        )
    if "name" not in option:
        return ",".join(f"{field}={_as_text(value)}" for field, value in fields.items()), fields
    value = option["name"]
    if not isinstance(value, str) or not value:
        raise SpecError(f"{name}: the name {value!r} of a value is not a word; write text")
    return value, fields


def _as_text(value: object) -> str:
    """A value as YAML writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check_joint(decision: Decision) -> None:
    """Raises SpecError where the name, a field or a value of a joint decision is not legal."""
    name, path = decision.name, _split_path(decision.name)
    if path.stage is None:
        raise SpecError(
            f"{name}: a joint choice is for stages or layers; write stages.I.WORD or "
            "stages.I.layers.J.WORD"
        )
    if not path.field.isidentifier():
        raise SpecError(f"{name}: {path.field!r} is not a word of letters; name it op, for example")
    if path.field in STAGE_FIELDS:
        raise SpecError(
            f"{name}: {path.field!r} is a field, and its values set several; use another word, "
            "such as op"
        )
    legal_fields = STAGE_FIELDS if path.layer is None else LAYER_FIELDS
    for value, pairs in zip(decision.values, decision.fields, strict=True):
        if not isinstance(value, str):
            raise SpecError(f"{name}: {value!r} is not a name of a value; write text")
        for field, field_value in pairs:
            if field not in legal_fields:
                hint = suggest_name(field, legal_fields) or f"use {', '.join(legal_fields)}"
                raise SpecError(f"{name}: {value!r} sets {field!r}, which is no field; {hint}")
            if not isinstance(field_value, int | float | str):
                raise SpecError(
                    f"{name}: {field}: {field_value!r} is not a number, a word or true/false"
                )


@dataclass(frozen=True, slots=True)
class FieldPath:
    """What a decision changes.

    Attributes:
        stage: index of the stage, None: the whole network.
        layer: index of the layer in the stage, None: all its layers.
        field: name of the field, or the word of a joint decision.
    """

    stage: int | None
    layer: int | None
    field: str


@lru_cache(maxsize=1 << 12)
def _split_path(name: str) -> FieldPath:
    """Split `stages.I.WORD`, `stages.I.layers.J.WORD` or `WORD`.

    Raises:
        SpecError: the name has another form.
    """
    match name.split("."):
        case ["stages", stage, field] if stage.isdecimal() and field:
            return FieldPath(int(stage), None, field)
        case ["stages", stage, "layers", layer, field] if (
            stage.isdecimal() and layer.isdecimal() and field
        ):
            return FieldPath(int(stage), int(layer), field)
        case [field] if field:
            return FieldPath(None, None, field)
    raise SpecError(
        f"{name}: cannot be searched; write stages.I.FIELD ({', '.join(STAGE_FIELDS)}), "
        f"stages.I.layers.J.FIELD or one of {', '.join(GLOBAL_FIELDS)}"
    )


@lru_cache(maxsize=1 << 12)
def parse_field_path(name: str) -> FieldPath:
    """Parse `stages.I.FIELD`, `stages.I.layers.J.FIELD` or `FIELD`.

    Raises:
        SpecError: the name has another form, or its last part is no field.
    """
    path = _split_path(name)
    if path.stage is None:
        legal_fields: tuple[str, ...] = GLOBAL_FIELDS
    else:
        legal_fields = STAGE_FIELDS if path.layer is None else LAYER_FIELDS
    if path.field not in legal_fields:
        raise SpecError(
            f"{name}: cannot be searched; write stages.I.FIELD ({', '.join(STAGE_FIELDS)}), "
            f"stages.I.layers.J.FIELD or one of {', '.join(GLOBAL_FIELDS)}"
        )
    return path
