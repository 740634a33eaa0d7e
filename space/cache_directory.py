"""The folder of files that phinas can create or download again."""

import os
from pathlib import Path

CACHE_DIR_VARIABLE, CACHE_LIMIT_VARIABLE = "PHINAS_CACHE", "PHINAS_CACHE_GB"


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
