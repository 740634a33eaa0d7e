"""From the text of `data.source` to the labels and images of its source."""

import re
from contextlib import ExitStack
from difflib import get_close_matches
from pathlib import Path

from phinas.experiment.errors import InputError
from phinas.experiment.executors.interface import import_function
from phinas.experiment.schema.config import DataSection
from phinas.training.data.foreign_formats import describe_file
from phinas.training.data.source_dataset import (
    ArrayDataset,
    ReadOptions,
    SourceDataset,
    printable,
)
from phinas.training.data.sources import (
    SOURCES,
    SourceEntry,
    find_content,
    find_named_source,
    find_path_source,
    source_usages,
)

_HUB_ADDRESS = re.compile(r"https?://huggingface\.co/datasets/([\w.-]+/[\w.-]+).*")
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


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
        entry = _find_entry(find_content(path))
        argument, where = find_content(path), path
        name = path.name if path.is_dir() else path.name.removesuffix(entry.suffix_of(path))
    options = ReadOptions(section.group_by, section.image_column, section.label_column, resources)
    function = import_function(entry.path)
    dataset: SourceDataset | ArrayDataset = function(argument, options)
    return name, where, dataset


def _find_entry(path: Path) -> SourceEntry:
    entry = find_path_source(path)
    if entry is not None:
        return entry
    if not path.is_file():
        raise InputError(f"data.source: {path} is neither a file nor a folder; name one of them")
    foreign = describe_file(path.name)
    if foreign is not None:
        kind, remedy = foreign
        raise InputError(f"data.source: {path} is {kind}; {remedy}")
    raise InputError(
        f"data.source: {path} is a file of unknown type {path.suffix!r}; use one of "
        f"{source_usages()}"
    )


def _resolve_path(source: str) -> Path:
    if "://" in source:
        hub = _HUB_ADDRESS.fullmatch(source)
        advice = f"use hf:{hub[1]}" if hub else "download the data, and name the file or folder"
        raise InputError(f"data.source: {printable(source)!r} is an address; {advice}")
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
    if not suggestions and _HUB_NAME.fullmatch(source) and not path.parent.exists():
        suggestions = [f"hf:{source}"]
    advice = f"did you mean {suggestions[0]!r}?" if suggestions else f"use one of {source_usages()}"
    raise InputError(f"data.source: {printable(source)!r} does not exist; {advice}")
