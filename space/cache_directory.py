"""The folder of files that phinas can create or download again.

What another user may write is not trusted: pixels, costs and downloaded data sets of the cache
decide results. So the folder of each kind of file is private, and it and its files must belong to
the user who runs phinas, or to root. File owners are checked on POSIX only.
"""

import os
from pathlib import Path

CACHE_DIR_VARIABLE, CACHE_LIMIT_VARIABLE = "PHINAS_CACHE", "PHINAS_CACHE_GB"
_PRIVATE = 0o700
_ROOT_USER = 0


class ForeignCacheError(OSError):
    """A folder of the cache belongs to another user."""


def cache_root() -> Path:
    """The folder. It may not exist yet."""
    configured = os.environ.get(CACHE_DIR_VARIABLE)
    try:
        root = Path(
            configured or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "phinas"
        ).expanduser()
    except RuntimeError:
        root = Path(configured or "phinas")  # `~name` of an unknown user, or no home directory
    return root.absolute()


def open_cache_folder(kind: str) -> Path:
    """The folder of one kind of file, which no other user may write. It is made if it is missing.

    A folder that belongs to this user, but that others may read or write, becomes private.

    Args:
        kind: Its name in the cache.

    Raises:
        ForeignCacheError: It belongs to another user.
        OSError: It cannot be made.
    """
    folder = cache_root() / kind
    folder.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
    if not is_trusted_owner(folder):
        raise ForeignCacheError("it belongs to another user")
    try:
        if os.name == "posix" and folder.stat().st_mode & 0o077:
            folder.chmod(_PRIVATE)
    except PermissionError:
        pass  # It belongs to root, who shares it.
    return folder


def is_trusted_owner(path: Path) -> bool:
    """Whether a file or folder, and a link to it, belongs to this user or to root.

    False if it is missing.
    """
    if os.name != "posix":
        return path.exists()
    try:
        return {path.lstat().st_uid, path.stat().st_uid} <= {_ROOT_USER, os.geteuid()}
    except OSError:
        return False
