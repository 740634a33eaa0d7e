"""Search spaces by name, from a YAML file (`space_format`), or from Python."""

import importlib
from pathlib import Path

from phinas.space.closest_name import suggest_name
from phinas.space.loading import path_exists
from phinas.space.search_spaces.definitions import SPACES
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.space.search_spaces.space_format import space_from_dict
from phinas.space.spec import SpecError
from phinas.space.yaml_io import read_yaml


def load_space(source: str, *, field: str = "space") -> SearchSpace:
    """Load a search space.

    Args:
        source: the name of a shipped space, a YAML file, or `package.module:NAME` of a SearchSpace
            in Python.
        field: what error messages call the argument or configuration key that has the source.

    Raises:
        SpecError: the space is unknown, or the file does not describe one; names the
            file.
        YamlError: the file is not YAML; names the file.
    """
    path = SPACES.get(source, Path(source).expanduser())
    if not path_exists(path):
        if source.count(":") == 1 and all(
            part.isidentifier() for part in source.replace(":", ".").split(".")
        ):
            return _import_space(source, field)
        hint = suggest_name(source, SPACES) or f"included spaces: {', '.join(SPACES)}"
        raise SpecError(f"{field}: {source!r} is neither a file nor an included space; {hint}")
    try:
        return space_from_dict(read_yaml(path))
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from None


def _import_space(source: str, field: str) -> SearchSpace:
    module, _, name = source.partition(":")
    try:
        value = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SpecError(
            f"{field}: {source!r} cannot be imported ({error}); write package.module:NAME of a "
            "SearchSpace that Python can import"
        ) from None
    if not isinstance(value, SearchSpace):
        raise SpecError(
            f"{field}: {source!r} is a {type(value).__name__}; it must be a "
            "phinas.space.search_spaces.search_space.SearchSpace"
        )
    return value
