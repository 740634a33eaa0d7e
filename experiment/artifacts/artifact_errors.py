"""What is wrong with a file's data, in one phrase: field, value, reason."""

from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from phinas.experiment.schema.config_errors import REASONS, format_limits, format_value

# Where a file needs other words than a configuration.
_REASONS = REASONS | {
    "tuple_type": "is not a list",
    "dict_type": "is not a mapping of keys",
    "model_type": "is not a mapping of keys",
    "literal_error": "is not one of {expected}",
    "enum": "is not one of {expected}",
    "too_short": "has {actual_length} items, fewer than {min_length}",
    "too_long": "has {actual_length} items, more than {max_length}",
    "value_error": "{error}",
}


def describe_problem(error: ValidationError, model: type[BaseModel]) -> str:
    """The first problem that pydantic found, as "field: value reason"."""
    row = error.errors()[0]
    path = ".".join(map(str, row["loc"]))
    if row["type"] == "extra_forbidden":
        return f"{path}: unknown key{_suggest(row, model)}"
    if row["type"] == "missing":
        return f"{path}: is missing"
    reason = _REASONS.get(row["type"], "is not a legal value").format(**format_limits(row))
    value = f"{format_value(row['input'])} " if row["type"] != "value_error" else ""
    return f"{path}: {value}{reason}" if path else f"{value}{reason}"


def _suggest(row: ErrorDetails, model: type[BaseModel]) -> str:
    """A known key that the unknown one may stand for."""
    *parents, key = row["loc"]
    closest = get_close_matches(str(key), _keys_at(parents, model), n=1, cutoff=0.5)
    return f" (did you mean {closest[0]!r}?)" if closest else ""


def _keys_at(parents: list[str | int], model: type[BaseModel]) -> list[str]:
    """The keys of the model that the location is in; none where the location names no model."""
    kind: type[BaseModel] | None = model
    for name in parents:
        if isinstance(name, str) and kind is not None:
            field = kind.model_fields.get(name)
            kind = _model_within(field.annotation) if field else None
    return list(kind.model_fields) if kind is not None else []


def _model_within(annotation: Any) -> type[BaseModel] | None:
    """The first model in an annotation such as `tuple[Row, ...] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    models = (_model_within(part) for part in get_args(annotation))
    return next((model for model in models if model is not None), None)
