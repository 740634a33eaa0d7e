"""Import of libraries that are optional dependencies of phinas."""

import importlib
from typing import Any

from phinas.experiment.errors import InputError
from phinas.space.library_lookup import find_shadow, is_installed


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
    shadow = find_shadow(name)
    if shadow is not None:
        raise _shadowed(name, shadow, needed_by=needed_by, extra=extra)
    missing = InputError(
        f"{needed_by} needs {name}, which is not installed; pip install 'phinas[{extra}]'"
    )
    if not is_installed(name):
        raise missing
    try:
        library = importlib.import_module(name)
    except ImportError:
        raise missing from None
    if not hasattr(library, attribute):
        raise _shadowed(name, library.__file__, needed_by=needed_by, extra=extra)
    return library


def _shadowed(name: str, path: object, *, needed_by: str, extra: str) -> InputError:
    return InputError(
        f"{needed_by} needs the library {name}, but {path} shadows it; rename that file or folder, "
        "or run phinas from another directory. If the library is not installed: pip install "
        f"'phinas[{extra}]'"
    )
