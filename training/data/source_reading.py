"""From the text of `data.source` to the labels and images of its source."""

from contextlib import ExitStack
from difflib import get_close_matches
from pathlib import Path

from phinas.experiment.errors import InputError
from phinas.experiment.executors.interface import import_function
from phinas.experiment.schema.config import DataSection
from phinas.training.data.source_dataset import (
    ArrayDataset,
    ReadOptions,
    SourceDataset,
    printable,
)
from phinas.training.data.sources import (
    SOURCES,
    SourceEntry,
    find_named_source,
    find_path_source,
    source_usages,
)


def read_source(
    section: DataSection, resources: ExitStack
) -> tuple[str, object, SourceDataset | ArrayDataset]:
    """The name of the data set, what messages call it, and its labels and images."""
    entry = find_named_source(section.source)
    argument: str | Path
    if entry is not None:
        argument = section.source
        name = Path(section.source.removeprefix(entry.prefix).partition(":")[0]).name
        where: object = section.source
    else:
        path = _resolve_path(section.source)
        entry = _find_entry(path)
        argument = where = path
        name = path.name if path.is_dir() else path.name.removesuffix(entry.suffix_of(path))
    options = ReadOptions(section.group_by, section.image_column, section.label_column, resources)
    function = import_function(entry.path)
    dataset: SourceDataset | ArrayDataset = function(argument, options)
    return name, where, dataset


def _find_entry(path: Path) -> SourceEntry:
    entry = find_path_source(path)
    if entry is None:
        raise InputError(
            f"data.source: {path} is a file of unknown type {path.suffix!r}; use one of "
            f"{source_usages()}"
        )
    return entry


def _resolve_path(source: str) -> Path:
    try:
        path = Path(source).expanduser()
    except RuntimeError:
        path = Path(source)  # `~name` of an unknown user
    if path.exists():
        return path.resolve()
    siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    names = [entry.name for entry in SOURCES.values() if entry.name]
    suggestions = get_close_matches(source, names, n=1) or [
        str(path.parent / name) for name in get_close_matches(path.name, siblings, n=1)
    ]
    advice = f"did you mean {suggestions[0]!r}?" if suggestions else f"use one of {source_usages()}"
    raise InputError(f"data.source: {printable(source)!r} does not exist; {advice}")
