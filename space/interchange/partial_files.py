"""The folder in which a file is written and checked before it gets its name.

It lies beside the file, so that a renaming moves it. A killed process leaves its folder. The next
export into the same directory removes it: a lock, which ends with its process, tells that it is
abandoned.
"""

import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = ".phinas-export-"
_SECONDS_TO_LOCK = 5.0  # a younger folder may not have its lock yet


@contextmanager
def partial_files(path: Path) -> Iterator[Path]:
    """An empty folder beside a file that is written, which exists until the end of the block.

    Args:
        path: The file. Its directory is made if it does not exist.

    Yields:
        The folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path.parent)
    with (
        tempfile.TemporaryDirectory(prefix=_PREFIX, dir=path.parent) as folder,
        contextlib.ExitStack() as stack,
    ):
        with contextlib.suppress(OSError):  # a file system without locks
            stack.enter_context(_locked(Path(folder)))
        yield Path(folder)


def _remove_abandoned(directory: Path) -> None:
    for folder in directory.glob(f"{_PREFIX}*"):
        # another process may remove it at the same time
        with contextlib.suppress(OSError):
            is_young = time.time() - folder.stat().st_mtime < _SECONDS_TO_LOCK
            if is_young:
                continue
            with _locked(folder):
                shutil.rmtree(folder)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder.

    Raises:
        OSError: Another process holds it, or the machine has no such locks.
    """
    if sys.platform == "win32":
        raise OSError("directories cannot be locked")
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
