"""What is wrong with a configuration, in sentences: pydantic's errors speak of Python, a user wrote
YAML.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError


def sentences(error: ValidationError, root: type[BaseModel]) -> list[str]:
    """pydantic's errors as sentences (path, value, remedy), one a path: the branches of a union are
    joined.
    """
    sentences: dict[str, str] = {}
    for row in error.errors():
        path, sentence = _sentence(row, root)
        if path in sentences:
            sentences[path] += " or " + sentence.partition(" should ")[2].removeprefix("be ")
        else:
            sentences[path] = sentence
    return list(sentences.values())


def _sentence(row: Any, root: type[BaseModel]) -> tuple[str, str]:
    path, section = _place(row["loc"], root)
    message = row["msg"].removeprefix("Value error, ")
    if row["type"] in ("extra_forbidden", "invalid_key"):
        near = get_close_matches(path.rpartition(".")[2], section.model_fields, n=1, cutoff=0.5)
        remedy = (
            f"did you mean `{near[0]}`?"
            if near
            else f"known keys: {', '.join(section.model_fields)}"
        )
        return path, f"{path}: unknown key; {remedy}"
    if row["type"] == "missing":
        return path, f"{path}: missing; {section.model_fields[path.rpartition('.')[2]].description}"
    if row["type"] == "model_type":
        return path, f"{path}: {shown(row['input'])} is not a section of keys"
    if row["type"] == "value_error":
        inside = isinstance(
            row["input"], Mapping | BaseModel
        )  # a check of a whole section says itself which key it means
        return path, f"{path}.{message}".lstrip(
            "."
        ) if inside else f"{path}: {shown(row['input'])} {message}"
    should = message.partition(" should ")[2]
    return path, f"{path}: {shown(row['input'])} " + (
        f"should {should}" if should else f"is wrong: {message}"
    )


def _place(location: tuple[str | int, ...], root: type[BaseModel]) -> tuple[str, type[BaseModel]]:
    """The dotted path of an error and the section that its key is in, without pydantic's names for
    branches of a union.
    """
    section: type[BaseModel] = root
    inner: Any = root
    parts: list[str] = []
    for part in location:
        if inner is not None:
            section = inner
            field = section.model_fields.get(str(part))
            kinds = (
                get_args(field.annotation) or (field.annotation,) if field else ()
            )  # a section, or a section or none
            inner = next(
                (kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)),
                None,
            )
            parts.append(str(part))
        elif isinstance(part, int):
            parts.append(str(part))
    return ".".join(parts), section


def shown(value: object) -> str:
    """A value for a message, cut to 120 characters."""
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
