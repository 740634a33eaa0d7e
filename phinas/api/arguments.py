"""Checks of the arguments of the Python functions, and error messages in their words.

A wrong argument is an InputError with its name, value and remedy, like a wrong configuration key.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cache, wraps
from pathlib import Path
from types import NoneType
from typing import Any, Literal, ParamSpec, TypeVar, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError

from phinas.api.keywords import keyword_keys, plain_value
from phinas.experiment.errors import InputError, PhinasError
from phinas.experiment.schema.config import Config
from phinas.experiment.schema.config_errors import format_value
from phinas.experiment.schema.option_info import join_words, split_union
from phinas.options.key_names import write_names
from phinas.space.spec import SpecError
from phinas.space.yaml_io import YamlError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_WORDS: dict[Any, str] = {
    str: "text",
    Path: "a path",
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    Config: "a Config",
    Mapping: "a mapping",
    Sequence: "a list",
    Callable: "a function",
}


def checked_arguments(
    *groups: Sequence[str],
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Check the types of a function's arguments, and name arguments in errors.

    Where the function has no configuration file, an error about a configuration key names the
    keyword argument that sets it.

    Args:
        groups: The dotted keys that the function has a keyword argument for.
    """
    names = {key: name for name, key in keyword_keys(*groups).items()}

    def wrap(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        signature = inspect.signature(function)

        @wraps(function)
        def checked(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            bound = signature.bind_partial(*args, **kwargs)
            for name, value in bound.arguments.items():
                _check_argument(signature.parameters[name], value)
            used = names
            if any(bound.arguments.get(name) is not None for name in ("config", "directory")):
                options = bound.arguments.get("options", {}) | bound.arguments
                used = {key: name for key, name in names.items() if name in options}
            try:
                return function(*args, **kwargs)
            except PhinasError as error:
                error.args = (write_names(str(error), used),)
                raise
            except (SpecError, YamlError) as error:
                raise InputError(write_names(str(error), used)) from error

        return checked

    return wrap


def _check_argument(parameter: inspect.Parameter, value: Any) -> None:
    """Raises InputError for a value that does not fit the annotation of its parameter."""
    annotation = parameter.annotation
    if parameter.kind is parameter.VAR_KEYWORD or isinstance(annotation, str):
        return  # checked by the configuration, or by the function itself
    values = value if parameter.kind is parameter.VAR_POSITIONAL else (value,)
    for item in values:
        try:
            _adapter(annotation).validate_python(plain_value(item), strict=True)
        except ValidationError:
            raise InputError(
                f"{parameter.name}: {format_value(item)} is not a legal value; use "
                f"{_describe(annotation)}"
            ) from None


@cache
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return TypeAdapter(annotation)
    return TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))


def _describe(annotation: Any) -> str:
    """The legal values of an annotation in words, such as "text or a path"."""
    words = [
        word
        for branch in split_union(annotation)
        if branch is not NoneType
        for word in _branch_words(branch)
    ]
    if NoneType in get_args(annotation):
        words.append("None")
    return join_words(words)


def _branch_words(branch: Any) -> list[str]:
    kind = get_origin(branch) or branch
    if kind is Literal:
        return [repr(value) for value in get_args(branch)]
    if kind is Sequence or kind is list:
        (item,) = get_args(branch) or (Any,)
        items = {str: " of texts", int: " of whole numbers", float: " of numbers"}.get(item, "")
        return [f"{_WORDS[Sequence]}{items}"]
    return [_WORDS.get(kind, getattr(kind, "__name__", str(kind)))]
