"""phinas: a small convolutional network for your images, and how to scale it.

Every verb of the command line is a call of the same name here: `phinas.run(config, out=...)`, `phinas.resume(directory)`.
Nothing heavy is imported until one is called.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phinas.census import data
    from phinas.description import describe
    from phinas.exporting import export
    from phinas.fitting import fit
    from phinas.pipeline import report, resume, run, scale, search, validate
    from phinas.planning import plan
    from phinas.timing import latency

__all__ = ["data", "describe", "export", "fit", "latency", "plan", "report", "resume", "run", "scale", "search", "validate"]

_HOMES = {
    "data": "phinas.census",
    "describe": "phinas.description",
    "export": "phinas.exporting",
    "fit": "phinas.fitting",
    "latency": "phinas.timing",
    "plan": "phinas.planning",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'phinas' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES.get(name, "phinas.pipeline")), name)
