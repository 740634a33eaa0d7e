"""What is wrong with a configuration, in sentences: pydantic's errors speak of Python, a user wrote
YAML.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError


def error_messages(error: ValidationError, root: type[BaseModel]) -> list[str]:
    """pydantic's errors as sentences (path, value, remedy), one a path: the branches of a union are
    joined.
    """
    messages: dict[str, str] = {}
    for row in error.errors():
        path, message = _error_message(row, root)
        if path in messages:
            messages[path] += " or " + message.partition(" should ")[2].removeprefix("be ")
        else:
            messages[path] = message
    return list(messages.values())


def _error_message(row: Any, root: type[BaseModel]) -> tuple[str, str]:
    path, section = _locate(row["loc"], root)
    message = row["msg"].removeprefix("Value error, ")
    if row["type"] in ("extra_forbidden", "invalid_key"):
        close_matches = get_close_matches(
            path.rpartition(".")[2], section.model_fields, n=1, cutoff=0.5
        )
        advice = (
            f"did you mean `{close_matches[0]}`?"
            if close_matches
            else f"known keys: {', '.join(section.model_fields)}"
        )
        return path, f"{path}: unknown key; {advice}"
    if row["type"] == "missing":
        return path, f"{path}: missing; {section.model_fields[path.rpartition('.')[2]].description}"
    if row["type"] == "model_type":
        return path, f"{path}: {format_value(row['input'])} is not a section of keys"
    if row["type"] == "value_error":
        # a check of a whole section says itself which key it means
        is_whole_section = isinstance(row["input"], Mapping | BaseModel)
        return path, f"{path}.{message}".lstrip(
            "."
        ) if is_whole_section else f"{path}: {format_value(row['input'])} {message}"
    requirement = message.partition(" should ")[2]
    return path, f"{path}: {format_value(row['input'])} " + (
        f"should {requirement}" if requirement else f"is wrong: {message}"
    )


def _locate(location: tuple[str | int, ...], root: type[BaseModel]) -> tuple[str, type[BaseModel]]:
    """The dotted path of an error and the section that its key is in, without pydantic's names for
    branches of a union.
    """
    section: type[BaseModel] = root
    inner_section: Any = root
    parts: list[str] = []
    for part in location:
        if inner_section is not None:
            section = inner_section
            field = section.model_fields.get(str(part))
            # a section, or a section or none
            annotations = get_args(field.annotation) or (field.annotation,) if field else ()
            inner_section = next(
                (
                    kind
                    for kind in annotations
                    if isinstance(kind, type) and issubclass(kind, BaseModel)
                ),
                None,
            )
            parts.append(str(part))
        elif isinstance(part, int):
            parts.append(str(part))
    return ".".join(parts), section


def format_value(value: object) -> str:
    """A value for a message, cut to 120 characters."""
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
