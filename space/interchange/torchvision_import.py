"""Import of torchvision, and of timm, which imports it, with any build of torch.

The torchvision wheel of PyPI is built for CUDA. With a CPU build of torch its compiled operators do
not load, and `import torchvision` fails, since it registers implementations for two operators that
then do not exist. phinas needs no compiled operator. If they are declared by name, the import
succeeds, and only a call of one of them fails.
"""

import importlib
import importlib.util
import sys
import warnings
from functools import cache
from pathlib import Path
from types import ModuleType

from phinas.space.library_lookup import is_installed

# Operators for which torchvision registers an implementation while it is imported.
_OPERATORS = ("nms", "qnms")
_SIGNATURE = "(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor"


def import_with_torchvision(name: str) -> ModuleType:
    """Import torchvision, or a module that imports it, such as timm.

    Args:
        name: the name of the module.

    Raises:
        ImportError: the module is not installed, or a module of the user has its name.
        RuntimeError: torchvision is for another version of torch.
    """
    library = name.partition(".")[0]
    if not is_installed(library):
        raise ModuleNotFoundError(f"{library} is not installed", name=library)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both libraries use functions that torch deprecates
        _ensure_operators()
        return importlib.import_module(name)


@cache
def _ensure_operators() -> object:
    """Load torchvision's compiled operators, or else declare those that its import needs.

    Returns:
        The library of the declared operators, which exist as long as it does; None if they load.
    """
    import torch

    specification = importlib.util.find_spec("torchvision")
    # Windows loads them with search paths that torchvision sets; its wheels are for CPUs.
    if specification is None or specification.origin is None or sys.platform == "win32":
        return None
    for path in Path(specification.origin).parent.glob("_C*.so"):
        try:
            torch.ops.load_library(str(path))  # type: ignore[no-untyped-call]
        except OSError:  # libraries of CUDA are missing
            continue
    missing = [name for name in _OPERATORS if not hasattr(torch.ops.torchvision, name)]
    if not missing:
        return None
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name in missing:
        library.define(f"{name}{_SIGNATURE}")  # type: ignore[no-untyped-call]
    return library
