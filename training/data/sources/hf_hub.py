"""The Hugging Face Hub: data sets (`hf:NAME[:CONFIGURATION]`) and weights
(`hf:OWNER/NAME[@REVISION][:FILE]`).

The Hub's own libraries download and cache files. NAME may also be a folder on disk that
`datasets.load_dataset` reads. Images are read in their encoded form, so they pass the same checks
as those of other sources.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from phinas.experiment.errors import InputError
from phinas.experiment.optional_library import import_library
from phinas.training.data.grouped_split import groups_from_values, unknown_key_error
from phinas.training.data.source_dataset import (
    ImageContent,
    SourceDataset,
    SourceSplit,
    check_label_range,
)
from phinas.training.data.sources import SOURCES
from phinas.training.data.sources.parquet import IMAGE_COLUMNS, LABEL_COLUMNS

PREFIX = SOURCES["hf"].prefix
TRAIN_SPLITS = ("train",)
TEST_SPLITS = ("test", "validation", "valid", "val")
_WEIGHTS = "model.safetensors"  # the file name in timm's repositories


def resolve_weights_path(name: str) -> Path:
    """The path of a weights file. A file of the Hub is downloaded unless it is cached.

    Args:
        name: `hf:OWNER/NAME[@REVISION][:FILE]`, or a path, which is not checked.

    Raises:
        InputError: The extra `hf` is not installed, or the file could not be downloaded.
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
    except Exception as error:  # The library raises many kinds of network and Hub errors.
        raise InputError(f"weights: {_download_error(name, error)}") from None


def list_hf_dataset(source: str, *, group_by: str | None = None) -> SourceDataset:
    """Read a data set of the Hub: its train split, and its test or else its validation split.

    Args:
        source: `hf:NAME[:CONFIGURATION]`.
        group_by: The column of the groups.

    Raises:
        InputError: The extra `hf` is not installed, the data set could not be downloaded, or it has
            no suitable splits and columns.
    """
    datasets = import_library(
        "datasets", attribute="load_dataset", needed_by=f"data.source: {source}", extra="hf"
    )
    name, _, configuration = source.removeprefix(PREFIX).partition(":")
    try:
        dataset = datasets.load_dataset(name, configuration or None)
    except Exception as error:  # The library raises many kinds of network, Hub and file errors.
        raise InputError(f"data.source: {_download_error(source, error)}") from None
    train = next((dataset[split] for split in TRAIN_SPLITS if split in dataset), None)
    if train is None:
        raise InputError(
            f"data.source: {source} has no split named train, only {', '.join(dataset)}; use a "
            "data set with a train split"
        )
    test = next((dataset[split] for split in TEST_SPLITS if split in dataset), None)
    image, label = (
        _column(source, train, candidates) for candidates in (IMAGE_COLUMNS, LABEL_COLUMNS)
    )
    names = getattr(train.features[label], "names", None)
    if names is None:
        raise InputError(
            f"data.source: {source}: column {label!r} has no class names; convert it to a "
            "ClassLabel"
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
    return (
        f"{name} could not be downloaded ({type(error).__name__}: {reason}); check the name and "
        "the network connection"
    )


def _column(source: str, split: Any, candidates: tuple[str, ...]) -> str:
    for name in candidates:
        if name in split.features:
            return name
    raise InputError(
        f"data.source: {source} has no column {candidates[0]!r}, only "
        f"{', '.join(split.features)}; use a data set that has it"
    )


def _labels(source: str, split: Any, column: str, classes: tuple[str, ...]) -> np.ndarray:
    where = f"data.source: {source}: {column}"
    values = split.select_columns([column])[:][column]
    if None in values:
        raise InputError(
            f"{where}: row {values.index(None)} has no label ({values.count(None)} in total); add "
            "the labels, or remove the rows"
        )
    labels = np.asarray(values, dtype=np.int64)
    check_label_range(labels, classes, where=where)
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
