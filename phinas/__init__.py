"""phinas: a small convolutional network for your images, and how to scale it.

Every command of the command line is a function of the same name: `phinas.run("photos/",
out="runs/photos")`, `phinas.resume("runs/photos")`. Only `phinas list` is `list_names`, because
`list` is a name of Python. `phinas.load("runs/photos")` gives the records of a run as data frames,
and `phinas.plot` draws them. Nothing heavy is imported until it is used.
The errors that they raise are here too: `except phinas.InputError`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phinas import plot
    from phinas.api.audit import audit
    from phinas.api.bench import bench
    from phinas.api.choose import choose
    from phinas.api.describe import describe
    from phinas.api.doctor import doctor
    from phinas.api.export import export
    from phinas.api.fit import fit
    from phinas.api.latency import latency
    from phinas.api.list_names import list_names
    from phinas.api.load import load
    from phinas.api.load_model import load_model
    from phinas.api.plan import plan
    from phinas.api.predict import predict
    from phinas.api.report import report
    from phinas.api.resume import resume
    from phinas.api.run import run
    from phinas.api.scale import scale
    from phinas.api.search import search
    from phinas.api.status import status
    from phinas.api.validate import validate
    from phinas.experiment.errors import (
        DiskError,
        InputError,
        InUseError,
        NoResultError,
        PhinasError,
        StorageError,
    )

_ERRORS = ("DiskError", "InUseError", "InputError", "NoResultError", "PhinasError", "StorageError")

__all__ = [
    "DiskError",
    "InUseError",
    "InputError",
    "NoResultError",
    "PhinasError",
    "StorageError",
    "audit",
    "bench",
    "choose",
    "describe",
    "doctor",
    "export",
    "fit",
    "latency",
    "list_names",
    "load",
    "load_model",
    "plan",
    "plot",
    "predict",
    "report",
    "resume",
    "run",
    "scale",
    "search",
    "status",
    "validate",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'phinas' has no attribute {name!r}")
    import importlib

    if name == "plot":
        return importlib.import_module("phinas.plot")
    module = "phinas.experiment.errors" if name in _ERRORS else f"phinas.api.{name}"
    return getattr(importlib.import_module(module), name)
