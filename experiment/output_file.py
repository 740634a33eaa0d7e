"""Checks of a file that a command will write, before the work that leads to it."""

import tempfile
from pathlib import Path

from phinas.experiment.errors import InputError


def check_output_file(path: Path, *, option: str) -> None:
    """Check that a file can be written. Nothing is left behind.

    Args:
        path: The file. Its directory need not exist.
        option: The command-line option that names it, such as "--out".

    Raises:
        InputError: It is a directory, or files cannot be made in its directory.
    """
    if path.is_dir():
        raise InputError(f"{option}: {str(path)!r} is a directory; name a file")
    parent = path.absolute().parent
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    try:
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise InputError(
            f"{option}: {str(path)!r} cannot be written ({error.strerror or error}); use another "
            "directory, or correct the permissions"
        ) from None
