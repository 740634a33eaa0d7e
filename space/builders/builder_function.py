"""A model builder: the user's function that makes a network of any depth and width.

`build(*, depth, width, resolution, classes, channels)` returns a torch module from images
(N, channels, resolution, resolution) to logits (N, classes). `depth` and `width` are factors of the
user's own network, and the function does its own rounding. It is named as `package.module:build` or
`path/to/file.py:build`. Its module is imported when it is first called, and no other code of the
user is. `timm:NAME` is the builder that phinas has for a network of timm
(`phinas.space.builders.timm_builders`).
"""

import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from phinas.space.builders import timm_builders
from phinas.space.builders.source_files import SourceFiles, find_source_files
from phinas.space.field_checks import SpecError

PARAMETERS = ("depth", "width", "resolution", "classes", "channels")
SIGNATURE = f"build(*, {', '.join(PARAMETERS)})"
DEFAULT_RESOLUTION = 224  # px
_NAME = r"[^\W\d]\w*"
_REFERENCE = re.compile(rf"(.+\.py|{_NAME}(?:\.{_NAME})*):({_NAME})")
_LIBRARIES = ("timm", "torchvision", "hf")  # prefixes of other names


@dataclass(frozen=True, slots=True)
class BuilderFunction:
    """An imported model builder.

    Attributes:
        function: The user's function.
        sources: The user's files that it is made of.
        cache_name: Another one for each state of its code, packages not included.
        resolution: Of the images of its network at factors of 1, in px.
    """

    function: Callable[..., Any]
    sources: SourceFiles
    cache_name: str
    resolution: int = DEFAULT_RESOLUTION


def is_builder(source: str) -> bool:
    """Whether `source` has the form of a model builder's name."""
    match = _REFERENCE.fullmatch(source)
    is_function = match is not None and match[1] not in _LIBRARIES
    return is_function or timm_builders.timm_model_name(source) is not None


def load_builder(reference: str) -> BuilderFunction:
    """Import a model builder; once in a process.

    Raises:
        SpecError: There is no such module or function, its module cannot be imported, or the
            function takes other parameters.
    """
    model = timm_builders.timm_model_name(reference)
    if model is not None:
        return _load_timm_builder(model)
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise SpecError(
            f"builder: {reference!r} is not the name of a function; write package.module:function "
            "or path/to/file.py:function"
        )
    return _load_builder(reference, match[1], match[2], str(Path.cwd()))


def builder_name(source: str) -> str:
    """The name of a model builder, without what does not decide its networks: the tag of weights of
    timm.
    """
    model = timm_builders.timm_model_name(source)
    return source if model is None else f"timm:{model}"


@lru_cache(maxsize=16)
def _load_timm_builder(model: str) -> BuilderFunction:
    """The builder of a network of timm. None of its files is the user's."""
    code = hashlib.sha256(Path(timm_builders.__file__).read_bytes()).hexdigest()[:12]
    function = timm_builders.timm_builder(model)
    sources = SourceFiles({}, {"timm": importlib.metadata.version("timm")})
    resolution = timm_builders.timm_resolution(model)
    return BuilderFunction(function, sources, f"timm-{model}-{code}", resolution)


@lru_cache(maxsize=16)
def _load_builder(reference: str, place: str, name: str, _directory: str) -> BuilderFunction:
    try:
        module = _import_file(Path(place)) if place.endswith(".py") else _import_module(place)
    except SpecError:
        raise
    except ModuleNotFoundError as error:
        raise SpecError(_not_found_message(reference, place, error)) from None
    except Exception as error:
        raise SpecError(
            f"builder: {reference}: {place} could not be imported ({describe(error)})"
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise SpecError(f"builder: {reference}: {place} has no function {name!r}")
    _check_parameters(reference, function)
    if module.__file__ is None:
        raise SpecError(f"builder: {reference}: {place} has no file; name a module with one")
    path = Path(module.__file__).resolve()
    levels = 0 if place.endswith(".py") else place.count(".") + (path.stem == "__init__")
    sources = find_source_files(path, path.parents[levels])
    return BuilderFunction(function, sources, f"{sources.digest}-{function.__name__}")


def describe(error: BaseException) -> str:
    """An error of the user's code in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _import_module(name: str) -> ModuleType:
    return importlib.import_module(name)


def _import_file(path: Path) -> ModuleType:
    """Import a file like a script: it may import its neighbors by their names."""
    path = path.expanduser().resolve()
    if not path.is_file():
        raise SpecError(f"builder: {path}: no such file; name the file that has the function")
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.append(folder)
    name = f"phinas_builder_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _not_found_message(reference: str, place: str, error: ModuleNotFoundError) -> str:
    missing = error.name or ""
    if place == missing or place.startswith(f"{missing}."):
        return (
            f"builder: {reference!r}: there is no module {missing!r}; run phinas in the folder "
            "that has it, install it, or name the file as path/to/file.py:function"
        )
    return (
        f"builder: {reference}: {place} needs the package {missing!r}, which is not installed; "
        "install it"
    )


def _check_parameters(reference: str, function: Callable[..., Any]) -> None:
    try:
        signature = inspect.signature(function)
        signature.bind(**dict.fromkeys(PARAMETERS))
    except (TypeError, ValueError) as error:
        raise SpecError(
            f"builder: {reference}: cannot be called as {SIGNATURE} ({error}); give it these "
            "parameters, and defaults to all others"
        ) from None
