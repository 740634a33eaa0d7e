"""Libraries that an extra installs: imported when they are needed, or an error that says how."""

import importlib
from typing import Any

from phinas.experiment.errors import InputError


def import_library(name: str, *, attribute: str, needed_by: str, extra: str) -> Any:
    """Import the library `name`, installed by `phinas[extra]`.

    Args:
        name: The module.
        attribute: What the library has and a user's own package of the same name has not.
        needed_by: What needs it, in the words of the caller; begins the message.
        extra: The extra of phinas that installs it.

    Raises:
        InputError: It is not installed, or another package of that name hides it.
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
            f"{needed_by} needs the library {name}, but {location} hides it; rename that package "
            "or run phinas from another directory"
        )
    return library
