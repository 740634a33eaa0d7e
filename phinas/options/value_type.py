"""How the text of a command-line argument becomes a value, by the annotation of its key.

Text that does not fit the annotation stays text. The schema then reports it, so that there is one
style of error message for the command line and the configuration file.
"""

import re
from typing import Any, Literal, get_args, get_origin

import click
from pydantic import TypeAdapter, ValidationError

from phinas.experiment.schema.fields import Section, parse_count
from phinas.experiment.schema.option_info import (
    accepts_suffix,
    describe_values,
    is_list,
    split_union,
    unwrap,
    words,
)
from phinas.space.closest_name import suggest_name
from phinas.space.yaml_io import YamlError, parse_yaml

_NUMBER = re.compile(r"[-+]?((\d+\.?\d*|\.\d+)(e[-+]?\d+)?|inf|nan)", re.ASCII | re.IGNORECASE)
_WHOLE_NUMBER = re.compile(r"[-+]?\d+", re.ASCII)
_LIST_ITEM = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?[kMG]?", re.ASCII)


class ValueType(click.ParamType):  # type: ignore[type-arg]  # click 8.1's takes none
    """A value of an annotated type; what does not fit stays text, for the schema to report."""

    name = "value"

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation

    @property
    def is_list(self) -> bool:
        return any(is_list(branch) for branch in split_union(self.annotation))

    def convert(
        self, value: Any, _param: click.Parameter | None, _ctx: click.Context | None
    ) -> Any:
        return parse_text(value, self.annotation) if isinstance(value, str) else value


class CheckedType(ValueType):
    """A value of an annotated type for an option that sets no key; refuses what does not fit."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        parsed = super().convert(value, param, ctx)
        try:
            return TypeAdapter(self.annotation).validate_python(parsed, strict=True)
        except ValidationError:
            choices = [word for branch in split_union(self.annotation) for word in words(branch)]
            suggestion = suggest_name(str(value), choices)
            hint = f" ({suggestion})" if suggestion else ""
            legal = describe_values(self.annotation)
            self.fail(f"{value!r} is not a legal value{hint}; use {legal}", param, ctx)


def is_list_item(text: str) -> bool:
    """Whether an argument continues a list of numbers that is separated by blanks."""
    return _LIST_ITEM.fullmatch(text.removesuffix(",")) is not None


def parse_text(text: str, annotation: Any) -> Any:
    """The value that `text` means for an annotation, or `text` itself where it does not fit."""
    for branch in split_union(annotation):
        value = _parse_branch(text.strip(), branch)
        if value is not None:
            return value
    return text


def _parse_branch(text: str, branch: Any) -> Any:
    kind, constraints = unwrap(branch)
    if get_origin(kind) is Literal:
        return text if text in get_args(kind) else None
    if get_origin(kind) is list:
        return _parse_list(text, branch)
    if kind is bool:
        return {"true": True, "false": False}.get(text)
    if kind in (int, float):
        return _parse_number(text, kind, constraints)
    if isinstance(kind, type) and issubclass(kind, Section):
        return _parse_mapping(text)
    return None


def _parse_number(text: str, kind: type, constraints: list[Any]) -> int | float | None:
    if kind is int and _WHOLE_NUMBER.fullmatch(text):
        return int(text)
    if accepts_suffix(constraints) and isinstance(value := parse_count(text), float):
        return value
    return float(text) if kind is float and _NUMBER.fullmatch(text) else None


def _parse_list(text: str, branch: Any) -> list[Any] | None:
    item = get_args(unwrap(branch)[0])[0]
    values = [parse_text(part.strip(), item) for part in text.split(",")]
    is_numeric = any(unwrap(part)[0] in (int, float) for part in split_union(item))
    # A single word is not a list of numbers. It may be the path of another branch.
    if is_numeric and all(isinstance(value, str) for value in values):
        return None
    return values


def _parse_mapping(text: str) -> Any:
    if not text.startswith("{"):
        return None
    try:
        return parse_yaml(text)
    except YamlError:
        return None
