"""Data sets of the Hugging Face Hub (`hf:NAME[:CONFIGURATION]`).

The Hub's own library downloads and caches files. NAME may also be a folder on disk that
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
from phinas.training.data.labeling.columns import IMAGE_COLUMNS, LABEL_COLUMNS, find_column
from phinas.training.data.labeling.labels import as_labels, describe_unlabeled, encode_labels
from phinas.training.data.labeling.split_names import select_splits
from phinas.training.data.source_dataset import (
    ImageContent,
    ReadOptions,
    SourceDataset,
    SourceSplit,
)
from phinas.training.data.sources import SOURCES

PREFIX = SOURCES["hf"].prefix


def list_hf_dataset(source: str, options: ReadOptions) -> SourceDataset:
    """Read a data set of the Hub: its train, validation and test splits that have labels.

    Args:
        source: `hf:NAME[:CONFIGURATION]`.
        options: Names of columns.

    Raises:
        InputError: The extra `hf` is not installed, the data set could not be downloaded, or it has
            no suitable splits and columns.
    """
    split_names, splits = _load_splits(source)
    where = f"data.source: {source}"
    features = splits["train"].features
    columns = list(features)
    image = find_column(
        columns, options.image_column, IMAGE_COLUMNS, key="image_column", where=where
    )
    label = find_column(
        columns, options.label_column, LABEL_COLUMNS, key="label_column", where=where
    )
    names = tuple(map(str, getattr(features[label], "names", None) or ()))
    labels, notes = {}, []
    for split, table in splits.items():
        values = _labels(f"{where}: {label}", table, label)
        if values is not None:
            labels[split] = values
        elif split == "train":
            raise InputError(f"{where}: {label}: no image has a label; use another column")
        else:
            notes.append(describe_unlabeled(f"the {split} split", len(table)))
    classes, codes = encode_labels(
        labels, names=names, where=dict.fromkeys(labels, f"{where}: {label}")
    )
    made = {
        split: _make_split(
            splits[split], image, codes[split], _groups(source, splits[split], options.group_by)
        )
        for split in labels
    }
    return SourceDataset(
        classes,
        made["train"],
        test=made.get("test"),
        validation=made.get("validation"),
        validation_name=split_names.get("validation", ""),
        notes=tuple(notes),
    )


def _load_splits(source: str) -> tuple[dict[str, str], dict[str, Any]]:
    """What the data set calls its splits, and their tables, both by the names of phinas."""
    datasets = import_library(
        "datasets", attribute="load_dataset", needed_by=f"data.source: {source}", extra="hf"
    )
    name, _, configuration = source.removeprefix(PREFIX).partition(":")
    try:
        dataset = datasets.load_dataset(name, configuration or None)
    except Exception as error:  # The library raises many kinds of network, Hub and file errors.
        raise InputError(f"data.source: {_download_error(source, error)}") from None
    names = select_splits(dataset)
    if "train" not in names:
        raise InputError(
            f"data.source: {source} has no split named train, only {', '.join(dataset)}; use a "
            "data set with a train split"
        )
    return names, {split: dataset[name] for split, name in names.items()}


def _download_error(name: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:200]
    return (
        f"{name} could not be downloaded ({type(error).__name__}: {reason}); check the name and "
        "the network connection"
    )


def _labels(where: str, split: Any, column: str) -> np.ndarray | None:
    """The labels of a split. None if it has none, as test splits of benchmarks do."""
    if column not in split.features:
        return None
    return as_labels(split.select_columns([column])[:][column], where=where)


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
    from datasets import Image

    split = split.cast_column(image, Image(decode=False))

    def iter_images() -> Iterator[tuple[str, ImageContent]]:
        for row, example in enumerate(split.select_columns([image])):
            cell = example[image]
            path = cell["path"]
            yield (
                f"row {row}",
                cell["bytes"] if cell["bytes"] is not None else Path(path) if path else None,
            )

    return SourceSplit(labels, iter_images, groups)
