"""Whether an optional library is installed, whatever else has its name.

With `python -m phinas`, the working directory is first on Python's path. A folder `datasets` with
images is then an importable package without content, and a user's `ray.py` hides the library.
Neither counts as the library, and neither is imported.
"""

import importlib.metadata
import importlib.util
from pathlib import Path


def is_installed(name: str) -> bool:
    """Whether the library can be imported, and no folder or file of the user has its name.

    Args:
        name: The name of its top-level module, which is also that of its distribution.
    """
    spec = importlib.util.find_spec(name)
    # A folder without `__init__.py` has no origin. An installed package precedes it.
    return spec is not None and spec.origin is not None and find_shadow(name) is None


def find_shadow(name: str) -> Path | None:
    """The user's module in the working directory that Python imports in place of the library."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin)
    module = file.parent if file.stem == "__init__" else file
    try:
        if module.parent.resolve() != Path.cwd().resolve():
            return None
    except FileNotFoundError:
        return None  # the working directory was removed
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return file
    candidates = (Path(str(distribution.locate_file(path))) for path in (name, f"{name}.py"))
    # A checkout of the library has its metadata too, and its module is the only one.
    installed = [path for path in candidates if path.exists()]
    return file if installed and not any(path.samefile(module) for path in installed) else None
