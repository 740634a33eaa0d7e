"""phinas: a small convolutional network for your images, and how to scale it.

Every command of the command line is a function of the same name here: `phinas.run(config,
out=...)`, `phinas.resume(directory)`. Nothing heavy is imported until one is called.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phinas.api.bench import bench
    from phinas.api.data import data
    from phinas.api.describe import describe
    from phinas.api.export import export
    from phinas.api.fit import fit
    from phinas.api.latency import latency
    from phinas.api.plan import plan
    from phinas.pipeline import report, resume, run, scale, search, validate

__all__ = [
    "bench",
    "data",
    "describe",
    "export",
    "fit",
    "latency",
    "plan",
    "report",
    "resume",
    "run",
    "scale",
    "search",
    "validate",
]

_MODULES = {
    "bench": "phinas.api.bench",
    "data": "phinas.api.data",
    "describe": "phinas.api.describe",
    "export": "phinas.api.export",
    "fit": "phinas.api.fit",
    "latency": "phinas.api.latency",
    "plan": "phinas.api.plan",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'phinas' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_MODULES.get(name, "phinas.pipeline")), name)
