"""Checks of the fields of a network description. Each error names the field, its value and a
remedy.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from difflib import get_close_matches
from typing import Any


class SpecError(ValueError):
    """A description that no network can be built from.

    The message names the field, its value and what to do.
    """


def field_error(field: str, value: object, reason: str) -> SpecError:
    """The error "FIELD: VALUE REASON", with a long value cut off."""
    text = repr(value)
    return SpecError(f"{field}: {text if len(text) <= 120 else text[:117] + '...'} {reason}")


def check_integer(field: str, value: object, *, minimum: int, maximum: int) -> None:
    """Raise SpecError unless `value` is a whole number in the range."""
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
        raise field_error(field, value, f"is not a whole number from {minimum} to {maximum}")


def check_number(field: str, value: object, *, minimum: float, maximum: float) -> None:
    """Raise SpecError unless `value` is a finite number in the range."""
    # No isfinite here: it overflows for a whole number above 1e308, which the range refuses anyway.
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or value != value
        or abs(value) == math.inf
    ):
        raise field_error(field, value, "is not a finite number")
    if not minimum <= value <= maximum:
        raise field_error(field, value, f"is outside {minimum} to {maximum}")


def check_kernel(field: str, value: object) -> None:
    """Raise SpecError unless `value` is an odd kernel size from 1 to 31."""
    check_integer(field, value, minimum=1, maximum=31)
    if isinstance(value, int) and value % 2 == 0:
        raise field_error(
            field,
            value,
            f"is even: padding keeps the size only for odd kernels; use {value - 1} or {value + 1}",
        )


def check_bool(field: str, value: object) -> None:
    """Raise SpecError unless `value` is True or False."""
    if not isinstance(value, bool):
        raise field_error(field, value, "is neither true nor false")


def check_choice(field: str, value: object, options: Iterable[str]) -> None:
    """Raise SpecError unless `value` is one of `options`."""
    options = tuple(options)
    if value not in options:
        matches = get_close_matches(str(value), options, n=1)
        raise field_error(
            field,
            value,
            f"is not one of {', '.join(options)}"
            + (f"; did you mean {matches[0]!r}?" if matches else ""),
        )


def field_values(cls: type, data: object, path: str) -> dict[str, Any]:
    """The keyword arguments of the dataclass `cls` in `data`.

    Args:
        cls: a dataclass.
        data: a mapping of field to value.
        path: the position of `data` in the file, for messages; "" for the top level.

    Raises:
        SpecError: `data` is not a mapping, or has an unknown or missing key.
    """
    if not isinstance(data, Mapping):
        raise field_error(path or "spec", data, "is not a mapping of field to value")
    known_fields = {field.name: field for field in fields(cls)}
    prefix = f"{path}." if path else ""
    for key in data:
        if key not in known_fields:
            matches = get_close_matches(str(key), known_fields, n=1)
            hint = (
                f"did you mean {matches[0]!r}?"
                if matches
                else f"known fields: {', '.join(known_fields)}"
            )
            raise SpecError(f"{prefix}{key}: unknown field; {hint}")
    for name, field in known_fields.items():
        if name not in data and field.default is MISSING:
            raise SpecError(f"{prefix}{name}: missing; every {cls.__name__} needs it")
    return dict(data)
