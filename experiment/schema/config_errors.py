"""Validation errors as sentences about configuration keys instead of Python types."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from phinas.experiment.schema.fields import INVALID_KEY, Section
from phinas.experiment.schema.option_info import (
    OptionInfo,
    join_words,
    list_options,
    section_of,
)
from phinas.space.closest_name import closest_name, suggest_name

_NOT_A_SECTION = "is not a mapping of keys to values"
# What is wrong, by pydantic's type of error; the names are keys of that error's context.
REASONS = {
    "greater_than_equal": "is less than {ge}",
    "greater_than": "is not greater than {gt}",
    "less_than_equal": "is greater than {le}",
    "less_than": "is not less than {lt}",
    "finite_number": "is not a finite number",
    "int_type": "is not a whole number",
    "int_from_float": "is not a whole number",
    "float_type": "is not a number",
    "bool_type": "is neither true nor false",
    "string_type": "is not text",
    "string_too_short": "is empty",
    "string_too_long": "has more than {max_length} characters",
    "list_type": "is not a list",
    "too_short": "has fewer than {min_length} items",
    "too_long": "has more than {max_length} items",
    "model_type": _NOT_A_SECTION,
    "model_attributes_type": _NOT_A_SECTION,
}
_UNKNOWN_KEY = ("extra_forbidden", "invalid_key")
_NOT_A_VALUE = "is not a legal value"
# How other tools call a key.
_OTHER_NAMES = {
    "lr": "learning_rate",
    "wd": "weight_decay",
    "bs": "batch_size",
    "smoothing": "label_smoothing",
    "num_epochs": "epochs",
    "n_trials": "trials",
    "num_workers": "workers",
    "img_size": "image_size",
    "input_size": "resolution",
}
_MAX_SUGGESTIONS = 3
_VERY_SIMILAR = 0.75  # similarity of names, from 0 to 1


@dataclass(frozen=True)
class ConfigProblem:
    """What is wrong with one key.

    Attributes:
        path: The dotted path of the key, with the index of a list's item.
        reason: The value, why it is wrong and what to do, to follow the name of the key.
    """

    path: str
    reason: str

    def message(self, source: str, names: Mapping[str, str]) -> str:
        """The problem as one line.

        Args:
            source: The file or other source of the configuration.
            names: Keys that the user wrote elsewhere, such as on the command line, and how.
        """
        written = {key: name for key, name in names.items() if _is_within(self.path, key)}
        if not written:
            # `--set serch.trials=3` is wrong in its section already.
            inner = next((name for key, name in names.items() if _is_within(key, self.path)), None)
            return f"{inner or f'{source}: {self.path}'}: {self.reason}"
        key = max(written, key=len)
        rest = self.path[len(key) :].lstrip(".")
        subject = written[key] if not rest or rest.isdigit() else f"{written[key]}: {rest}"
        return f"{subject}: {self.reason}"


def _is_within(path: str, key: str) -> bool:
    return path == key or path.startswith(f"{key}.")


def find_problems(
    error: ValidationError, root: type[Section], expand_values: Callable[[str], str]
) -> list[ConfigProblem]:
    """The problems that pydantic found, one for each key.

    The branches of a union report an error each; they become one problem.

    Args:
        error: What pydantic reports.
        root: The section that it validated.
        expand_values: Replaces placeholders in legal values by names.
    """
    rows: dict[str, list[ErrorDetails]] = {}
    sections: dict[str, type[Section]] = {}
    for row in error.errors():
        path, section = _locate(row["loc"], root)
        if row["type"] == INVALID_KEY:
            path = ".".join(part for part in (path, row["ctx"]["key"]) if part)
        rows.setdefault(path, []).append(row)
        sections[path] = section
    problems = []
    for path, path_rows in rows.items():
        info = _find_option(path, list_options(root))
        advice = f"use {expand_values(info.values)}" if info is not None else ""
        if path_rows[0]["type"] in _UNKNOWN_KEY:
            reason = _describe_unknown_key(path, path_rows[0]["input"], sections[path], root)
        else:
            reason = _reason(path_rows, info, advice)
        problems.append(ConfigProblem(path, reason))
    return problems


def _reason(rows: list[ErrorDetails], info: OptionInfo | None, advice: str) -> str:
    row = rows[0]
    kind = row["type"]
    if kind == INVALID_KEY:
        return str(row["ctx"]["reason"])
    if kind == "missing":
        return f"is missing; {advice}"
    value = format_value(row["input"])
    if kind == "value_error":
        return f"{value} {row['ctx']['error']}"
    template = REASONS.get(kind, _NOT_A_VALUE) if len(rows) == 1 else _NOT_A_VALUE
    if info is not None and info.is_section:
        return f"{value} {_NOT_A_SECTION}; write the keys of this section"
    reason = f"{value} {template.format(**format_limits(row))}"
    return f"{reason}{_suggest(row['input'], info)}; {advice}".removesuffix("; ")


def format_limits(row: ErrorDetails) -> dict[str, Any]:
    """The context of pydantic's error, for `REASONS`, with floats in their shortest form."""
    return {
        name: f"{limit:g}" if isinstance(limit, float) else limit
        for name, limit in row.get("ctx", {}).items()
    }


def _suggest(value: Any, info: OptionInfo | None) -> str:
    choices = info.choices if info is not None else ()
    suggestion = suggest_name(value, choices) if isinstance(value, str) else ""
    return f" ({suggestion})" if suggestion else ""


def _describe_unknown_key(
    path: str, value: object, section: type[Section], root: type[Section]
) -> str:
    """Say the keys that the user may have meant: a key of this section, or of another one.

    Args:
        path: The dotted path of the unknown key.
        value: What the user wrote for it. A mapping has the rest of the path.
        section: The section that the key is in.
        root: The section that is validated.
    """
    prefix, _, name = path.rpartition(".")
    name = _OTHER_NAMES.get(name, name)
    rest = next(iter(value), None) if isinstance(value, Mapping) else None
    wanted = name if rest is None else f"{name}.{_OTHER_NAMES.get(str(rest), rest)}"
    if name not in section.model_fields:
        elsewhere = _find_elsewhere(wanted, section, root)
        if elsewhere:
            return f"unknown key; did you mean {join_words(elsewhere[:_MAX_SUGGESTIONS])}?"
    closest = closest_name(name, section.model_fields, cutoff=0.5)
    if closest:
        meant = f"{prefix}.{closest}".lstrip(".")
        inner = f"{meant}.{wanted.partition('.')[2]}"
        return f"unknown key; did you mean {inner if inner in list_options(root) else meant}?"
    return f"unknown key; known keys: {', '.join(section.model_fields)}"


def _find_elsewhere(wanted: str, section: type[Section], root: type[Section]) -> list[str]:
    """The keys of all sections that end with `wanted`, or with a name that is very similar.

    Args:
        wanted: The name of the unknown key, or the end of its path.
        section: The section that the key is in. A similar key of it goes first, and gives [].
        root: The section that is validated.
    """
    keys = list(list_options(root))
    exact = [key for key in keys if f".{key}".endswith(f".{wanted}")]
    if exact or closest_name(wanted, section.model_fields, cutoff=_VERY_SIMILAR):
        return exact
    last_parts = [key.rpartition(".")[2] for key in keys]
    similar = closest_name(wanted, last_parts, cutoff=_VERY_SIMILAR)
    return [key for key, last in zip(keys, last_parts, strict=True) if last == similar]


def _find_option(path: str, options: Mapping[str, OptionInfo]) -> OptionInfo | None:
    """The option of a path, which may end with the index of a list's item."""
    return options.get(path) or options.get(path.rpartition(".")[0])


def _locate(location: tuple[str | int, ...], root: type[Section]) -> tuple[str, type[Section]]:
    """The dotted path of an error and the section that its key is in.

    pydantic's location also names the branches of a union, which are left out.
    """
    section: type[Section] = root
    inner_section: type[Section] | None = root
    parts: list[str] = []
    for part in location:
        if inner_section is not None:
            section = inner_section
            field = section.model_fields.get(str(part))
            inner_section = section_of(field) if field else None
            parts.append(str(part))
        elif isinstance(part, int):
            parts.append(str(part))
    return ".".join(parts), section


def format_value(value: object) -> str:
    """A value for a message, cut to 120 characters."""
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
