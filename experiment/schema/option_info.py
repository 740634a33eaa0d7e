"""The description of each configuration key, read from the annotations and metadata of a section.

Help, error messages, docs/configuration.md and the check of a resumed run all read this.
"""

import operator
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BeforeValidator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from phinas.experiment.schema.fields import OnResume, Section, parse_count
from phinas.experiment.schema.recipe import RECIPES, Recipe

_SCALAR_WORDS = {int: "a whole number", float: "a number", str: "text"}
_PLACEHOLDER = re.compile(r"\{\w+\}")
# Bounds that only catch typing errors are left out of descriptions.
_LARGE = 10_000_000


@dataclass(frozen=True)
class OptionInfo:
    """One configuration key.

    Attributes:
        key: The dotted path, such as "search.recipe.epochs".
        annotation: The type, with the constraints of its parts.
        meaning: What the key does, in full sentences.
        unit: The unit of a number, or "".
        values: The legal values. `{strategies}` and the like stand for names of a table.
        default: The default value; None where there is none.
        default_text: The default in words; "" for a required key.
        on_resume: Whether a resumed run may change it.
        is_section: Whether the key holds other keys and takes no value itself.
    """

    key: str
    annotation: Any
    meaning: str
    unit: str
    values: str
    default: Any
    default_text: str
    on_resume: OnResume
    is_section: bool

    @property
    def is_required(self) -> bool:
        return not self.default_text

    @property
    def choices(self) -> tuple[str, ...]:
        """The words that the annotation allows, such as auto."""
        branches = [unwrap(branch)[0] for branch in split_union(self.annotation)]
        if get_origin(branches[0]) is list:
            branches = [unwrap(branch)[0] for branch in split_union(get_args(branches[0])[0])]
        return tuple(
            word
            for branch in branches
            if get_origin(branch) is Literal
            for word in get_args(branch)
            if isinstance(word, str)
        )


@cache
def list_options(section_type: type[Section]) -> Mapping[str, OptionInfo]:
    """Every key of a section and of the sections in it, by dotted path, in their order."""
    return MappingProxyType({info.key: info for info in _walk(section_type, None, "")})


def keys_on_resume(section_type: type[Section], policy: OnResume) -> frozenset[str]:
    """The dotted keys with this `on_resume`."""
    return frozenset(
        key for key, info in list_options(section_type).items() if info.on_resume == policy
    )


def _walk(
    section_type: type[Section], instance: Section | None, prefix: str
) -> Iterator[OptionInfo]:
    for name, field in section_type.model_fields.items():
        default = _default(field) if instance is None else getattr(instance, name)
        key = f"{prefix}{name}"
        inner_type = section_of(field)
        yield _describe(key, field, default, inner_type)
        if inner_type is not None:
            inner_instance = default if isinstance(default, Section) else None
            yield from _walk(inner_type, inner_instance, f"{key}.")


def _default(field: FieldInfo) -> Any:
    return None if field.default is PydanticUndefined else field.default


def _describe(
    key: str, field: FieldInfo, default: Any, inner_type: type[Section] | None
) -> OptionInfo:
    extra = field.json_schema_extra
    metadata: Mapping[str, Any] = extra if isinstance(extra, dict) else {}
    annotation = _annotate(field.annotation, field.metadata)
    text = metadata.get("default_text") or format_default(default)
    values = metadata.get("values")
    return OptionInfo(
        key=key,
        annotation=annotation,
        meaning=field.description or (inner_type.__doc__ or "" if inner_type else ""),
        unit=metadata.get("unit") or "",
        values=values or ("a section of keys" if inner_type else describe_values(annotation)),
        default=default,
        default_text="" if field.is_required() else text,
        on_resume=metadata.get("on_resume", "fixed"),
        is_section=inner_type is not None and values is None,
    )


def format_default(value: Any) -> str:
    """A default as a user writes it in YAML; a recipe by its name."""
    if isinstance(value, Recipe):
        changes = value.model_dump(exclude_defaults=True)
        unnamed = ", ".join(f"{name}: {format_default(item)}" for name, item in changes.items())
        names = (name for name, (_, keys) in RECIPES.items() if Recipe(**keys) == value)
        return next(names, f"{{{unnamed}}}")
    if isinstance(value, Section):
        return "the defaults of its keys"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return f"[{', '.join(map(format_default, value))}]" if value else "none"
    return "none" if value is None else str(value)


def section_of(field: FieldInfo) -> type[Section] | None:
    """The section that a field holds, if any."""
    for branch in split_union(field.annotation):
        kind = unwrap(branch)[0]
        if isinstance(kind, type) and issubclass(kind, Section):
            return kind
    return None


def unwrap(annotation: Any) -> tuple[Any, list[Any]]:
    """A type without Annotated, and its constraints as pydantic and annotated_types have them."""
    constraints: list[Any] = []
    while get_origin(annotation) is Annotated:
        annotation, *metadata = get_args(annotation)
        for item in metadata:
            constraints += item.metadata if isinstance(item, FieldInfo) else [item]
    return annotation, constraints


def split_union(annotation: Any) -> list[Any]:
    """The branches of a union without None; each keeps its own constraints."""
    kind, constraints = unwrap(annotation)
    if get_origin(kind) not in (Union, UnionType):
        return [annotation]
    branches = [branch for branch in get_args(kind) if branch is not NoneType]
    return [_annotate(branch, constraints) for branch in branches]


def _annotate(kind: Any, constraints: Sequence[Any]) -> Any:
    """`Annotated[kind, *constraints]`."""
    # A subscript of Annotated would be read as a type by type checkers.
    return operator.getitem(Annotated, (kind, *constraints)) if constraints else kind


def is_list(annotation: Any) -> bool:
    return get_origin(unwrap(annotation)[0]) is list


def accepts_suffix(constraints: list[Any]) -> bool:
    """Whether a number may be written as 300M."""
    return any(
        isinstance(item, BeforeValidator) and item.func is parse_count for item in constraints
    )


def describe_values(annotation: Any) -> str:
    """The legal values of a type in words, such as "a whole number from 1 to 64 or auto"."""
    return join_words([word for branch in split_union(annotation) for word in words(branch)])


def plain_values(text: str) -> str:
    """Legal values with each placeholder for a table replaced by where to find its names."""
    return _PLACEHOLDER.sub("a value that docs/configuration.md lists", text)


def join_words(alternatives: list[str]) -> str:
    """Join alternatives as "a, b or c"."""
    return " or ".join(part for part in (", ".join(alternatives[:-1]), alternatives[-1]) if part)


def words(branch: Any) -> list[str]:
    """The alternatives that one branch of a union allows."""
    kind, constraints = unwrap(branch)
    if get_origin(kind) is Literal:
        return [str(word) for word in get_args(kind)]
    if kind is bool:
        return ["true", "false"]
    if get_origin(kind) is list:
        return [_describe_list(get_args(kind)[0], constraints)]
    bounds = _describe_bounds(constraints) if kind in (int, float) else ""
    suffix = ", such as 300M (k, M or G)" if accepts_suffix(constraints) else ""
    return [f"{_SCALAR_WORDS[kind]}{bounds}{suffix}"]


def _describe_bounds(constraints: list[Any]) -> str:
    low, above = bound(constraints, "ge"), bound(constraints, "gt")
    high, below = bound(constraints, "le"), bound(constraints, "lt")
    if high is not None and high >= _LARGE:
        high = None
    if low is not None and high is not None:
        return f" from {low:g} to {high:g}"
    # All digits of 2**32: "4.29497e+09" would be another number.
    upper = f"at most {high:g}" if high is not None else f"below {below}" if below else ""
    if low is not None:
        return f" of at least {low:g}" + (f" and {upper}" if upper else "")
    if above is not None:
        return f" above {above:g}" + (f" and {upper}" if upper else "")
    return f" of {upper}" if high is not None else f" {upper}" if upper else ""


def bound(constraints: list[Any], name: str) -> Any:
    """The tightest bound called `name` (ge, gt, le, lt, min_length or max_length), or None."""
    numbers = [getattr(item, name) for item in constraints if getattr(item, name, None) is not None]
    if not numbers:
        return None
    return max(numbers) if name in ("ge", "gt", "min_length") else min(numbers)


def _describe_list(item: Any, constraints: list[Any]) -> str:
    least, most = bound(constraints, "min_length"), bound(constraints, "max_length")
    count = f"{least} " if least is not None and least == most else "one or more " if least else ""
    item_values = describe_values(item)
    for number, plural in (("a number", "numbers"), ("a whole number", "whole numbers")):
        if item_values.startswith(number):
            return f"a list of {count}{plural}{item_values.removeprefix(number)}"
    return f"a list of {count}items, each {item_values}"
