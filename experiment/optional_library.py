"""Import of libraries that are optional dependencies of phinas."""

import importlib
from typing import Any

from phinas.experiment.errors import InputError


def import_library(name: str, *, attribute: str, needed_by: str, extra: str) -> Any:
    """Import an optional library when it is needed.

    Args:
        name: The name of the module.
        attribute: A name that the library defines and a user's package of the same name does not.
        needed_by: What needs the library. The error message begins with it.
        extra: The extra of phinas that installs the library.

    Returns:
        The module.

    Raises:
        InputError: The library is not installed, or another package of the same name shadows it.
    """
    try:
        library = importlib.import_module(name)
    except ImportError:
        raise InputError(
            f"{needed_by} needs {name}, which is not installed; pip install 'phinas[{extra}]'"
        ) from None
    if not hasattr(library, attribute):
        location = library.__file__ or next(iter(library.__path__))
        raise InputError(
            f"{needed_by} needs the library {name}, but {location} shadows it; rename that package "
            "or run phinas from another directory"
        )
    return library
