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
from phinas.experiment.optional_library import import_library
from phinas.training.data.decoding import ImageContent, SourceDataset, SourceSplit
from phinas.training.data.grouped_split import groups_from_values, unknown_key_error
from phinas.training.data.sources.parquet import IMAGE_COLUMNS, LABEL_COLUMNS, check_range

PREFIX = "hf:"
TRAIN_SPLITS = ("train",)
TEST_SPLITS = ("test", "validation", "valid", "val")
_WEIGHTS = "model.safetensors"  # as timm's repositories there name it


def resolve_weights_path(name: str) -> Path:
    """The file of weights of that name: `hf:OWNER/NAME[@REVISION][:FILE]` is downloaded, once;
    anything else is a path.

    Raises InputError where it can't be had; whether a path exists is for who reads it to say.
    """
    if not name.startswith(PREFIX):
        return Path(name).expanduser()
    huggingface_hub = import_library(
        "huggingface_hub", attribute="hf_hub_download", needed_by=f"weights: {name}", extra="hf"
    )
    repository_and_revision, _, file = name.removeprefix(PREFIX).partition(":")
    repository, _, revision = repository_and_revision.partition("@")
    try:
        return Path(
            huggingface_hub.hf_hub_download(repository, file or _WEIGHTS, revision=revision or None)
        )
    except Exception as error:  # whatever the network or the hub makes it raise
        raise InputError(f"weights: {_download_error(name, error)}") from None


def list_hf_dataset(source: str, *, group_by: str | None = None) -> SourceDataset:
    """The splits of `hf:NAME`: train, and test (or validation) where there is one. group_by: the
    column of groups.

    Raises InputError where the library is missing, the data set can't be had, or has no image and
    label columns.
    """
    datasets = import_library(
        "datasets", attribute="load_dataset", needed_by=f"data.source: {source}", extra="hf"
    )
    name, _, configuration = source.removeprefix(PREFIX).partition(":")
    try:
        dataset = datasets.load_dataset(name, configuration or None)
    except (
        Exception
    ) as error:  # the library raises whatever the network, the hub or a file makes it raise
        raise InputError(f"data.source: {_download_error(source, error)}") from None
    train = next((dataset[split] for split in TRAIN_SPLITS if split in dataset), None)
    if train is None:
        raise InputError(
            f"data.source: {source} has no split called train, only {', '.join(dataset)}"
        )
    test = next((dataset[split] for split in TEST_SPLITS if split in dataset), None)
    image, label = (
        _column(source, train, candidates) for candidates in (IMAGE_COLUMNS, LABEL_COLUMNS)
    )
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
        _make_split(
            split, image, _labels(source, split, label, classes), _groups(source, split, group_by)
        )
        for split in splits
    ]
    return SourceDataset(classes, parts[0], parts[1] if test is not None else None)


def _download_error(name: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:200]
    return f"{name} can't be had ({type(error).__name__}: {reason}); see to name and network"


def _column(source: str, split: Any, candidates: tuple[str, ...]) -> str:
    for name in candidates:
        if name in split.features:
            return name
    raise InputError(
        f"data.source: {source} has no column {candidates[0]!r}, only {', '.join(split.features)}"
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
        raise unknown_key_error(group_by, "column", source, split.features)
    return groups_from_values(
        f"{source}: {group_by}", split.select_columns([group_by])[:][group_by]
    )


def _make_split(
    split: Any, image: str, labels: np.ndarray, groups: np.ndarray | None
) -> SourceSplit:
    def iter_images() -> Iterator[tuple[str, ImageContent]]:
        for row, example in enumerate(split.select_columns([image])):
            cell = example[image]
            path = cell["path"]
            yield (
                f"row {row}",
                cell["bytes"] if cell["bytes"] is not None else Path(path) if path else None,
            )

    return SourceSplit(labels, iter_images, groups)
