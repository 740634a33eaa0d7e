"""The Hugging Face hub: data sets by name (`hf:NAME[:CONFIGURATION]`) and weights
(`hf:OWNER/NAME[@REVISION][:FILE]`).

Its own libraries download and cache. A folder on disk that `load_dataset` reads is a name of a data
set, too; images are taken as they are encoded, so they go through the same checks as any other
source.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from phinas.experiment.errors import InputError
from phinas.training.data.decoding import Content, Listing, Part
from phinas.training.data.grouped_split import groups_of_values, no_such
from phinas.training.data.sources.parquet import IMAGE_COLUMNS, LABEL_COLUMNS, check_range

PREFIX = "hf:"
TRAIN = ("train",)
HELD_OUT = ("test", "validation", "valid", "val")
_WEIGHTS = "model.safetensors"  # as timm's repositories there name it


def weights_file(name: str) -> Path:
    """The file of weights of that name: `hf:OWNER/NAME[@REVISION][:FILE]` is downloaded, once;
    anything else is a path.

    Raises InputError where it can't be had; whether a path exists is for who reads it to say.
    """
    if not name.startswith(PREFIX):
        return Path(name).expanduser()
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise InputError(
            f"weights: {name} needs the library huggingface_hub; pip install 'phinas[hf]'"
        ) from None
    place, _, file = name.removeprefix(PREFIX).partition(":")
    repository, _, revision = place.partition("@")
    try:
        return Path(hf_hub_download(repository, file or _WEIGHTS, revision=revision or None))
    except Exception as error:  # whatever the network or the hub makes it raise
        raise InputError(f"weights: {_unavailable(name, error)}") from None


def list_hub(source: str, *, group_by: str | None = None) -> Listing:
    """The splits of `hf:NAME`: train, and test (or validation) where there is one. group_by: the
    column of groups.

    Raises InputError where the library is missing, the data set can't be had, or has no image and
    label columns.
    """
    try:
        import datasets
    except ImportError:
        raise InputError(
            f"data.source: {source} needs the library datasets; pip install 'phinas[hf]'"
        ) from None
    name, _, configuration = source.removeprefix(PREFIX).partition(":")
    try:
        found = datasets.load_dataset(name, configuration or None)
    except (
        Exception
    ) as error:  # the library raises whatever the network, the hub or a file makes it raise
        raise InputError(f"data.source: {_unavailable(source, error)}") from None
    train = next((found[split] for split in TRAIN if split in found), None)
    if train is None:
        raise InputError(
            f"data.source: {source} has no split called train, only {', '.join(found)}"
        )
    test = next((found[split] for split in HELD_OUT if split in found), None)
    image, label = (_column(source, train, wanted) for wanted in (IMAGE_COLUMNS, LABEL_COLUMNS))
    names = getattr(train.features[label], "names", None)
    if names is None:
        raise InputError(
            f"data.source: {source}: column {label!r} has no class names (a ClassLabel); convert "
            "it to one"
        )
    as_encoded = datasets.Image(decode=False)
    splits = [split.cast_column(image, as_encoded) for split in (train, test) if split is not None]
    classes = tuple(map(str, names))
    parts = [
        _part(
            split, image, _labels(source, split, label, classes), _groups(source, split, group_by)
        )
        for split in splits
    ]
    return Listing(classes, parts[0], parts[1] if test is not None else None)


def _unavailable(name: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:200]
    return f"{name} can't be had ({type(error).__name__}: {reason}); see to name and network"


def _column(source: str, split: Any, wanted: tuple[str, ...]) -> str:
    for name in wanted:
        if name in split.features:
            return name
    raise InputError(
        f"data.source: {source} has no column {wanted[0]!r}, only {', '.join(split.features)}"
    )


def _labels(source: str, split: Any, column: str, classes: tuple[str, ...]) -> np.ndarray:
    where = f"data.source: {source}: {column}"
    values = split.select_columns([column])[:][column]
    if None in values:
        raise InputError(
            f"{where}: row {values.index(None)} has none ({values.count(None)} in all); remove or "
            "label them"
        )
    labels = np.asarray(values, dtype=np.int64)
    check_range(labels, classes, where=where)
    return labels


def _groups(source: str, split: Any, group_by: str | None) -> np.ndarray | None:
    if group_by is None:
        return None
    if group_by not in split.features:
        raise no_such(group_by, "column", source, split.features)
    return groups_of_values(f"{source}: {group_by}", split.select_columns([group_by])[:][group_by])


def _part(split: Any, image: str, labels: np.ndarray, groups: np.ndarray | None) -> Part:
    def read() -> Iterator[tuple[str, Content]]:
        for row, example in enumerate(split.select_columns([image])):
            cell = example[image]
            path = cell["path"]
            yield (
                f"row {row}",
                cell["bytes"] if cell["bytes"] is not None else Path(path) if path else None,
            )

    return Part(labels, read, groups)
