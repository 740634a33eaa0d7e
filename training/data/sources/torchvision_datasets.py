"""Data sets of torchvision (`torchvision:NAME[:ROOT]`).

How a data set class is called follows from its parameters (`train` or `split`, `root`, `download`),
so a list of classes is not needed. Data in ROOT are only read. Without ROOT, they are downloaded
once, to the cache folder of phinas.

torchvision decodes the images, so the cache of decoded images does not hold them. An image that it
cannot read is a bad image.
"""

import contextlib
import inspect
import sys
from collections.abc import Iterator
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from phinas.experiment.errors import InputError
from phinas.training.data.cache import cache_root
from phinas.training.data.source_dataset import (
    ImageContent,
    SourceDataset,
    SourceSplit,
    check_label_range,
)
from phinas.training.data.sources import SOURCES

PREFIX = SOURCES["torchvision"].prefix
TRAIN_SPLITS = ("train", "trainval")
TEST_SPLITS = ("test", "val", "valid")
# Attributes that hold all labels. If a class has none of them, each image is loaded for its label.
LABEL_ATTRIBUTES = ("targets", "labels", "y", "_labels")


def list_torchvision(source: str, *, group_by: str | None = None) -> SourceDataset:
    """Read a data set of torchvision: its train split, and its test or else its validation split.

    Args:
        source: `torchvision:NAME[:ROOT]`.
        group_by: Must be None, because these data sets have no columns.

    Raises:
        InputError: torchvision is not installed or has no such data set, or the data could not be
            downloaded or read.
    """
    if group_by is not None:
        raise InputError(
            f"data.group_by: is {group_by!r}, but {source} has no columns; remove data.group_by"
        )
    name, _, root = source.removeprefix(PREFIX).partition(":")
    dataset_class = _dataset_class(source, name)
    parameters = set(inspect.signature(dataset_class).parameters)
    folder = str(Path(root).expanduser() if root else cache_root() / "torchvision")
    available: dict[str, Any] = {"root": folder, "download": not root}
    arguments = {name: value for name, value in available.items() if name in parameters}
    if "train" in parameters:
        splits = [
            _open(source, dataset_class, arguments | {"train": train}) for train in (True, False)
        ]
    elif "split" in parameters:
        splits = [
            _open_first(source, dataset_class, arguments, split_names)
            for split_names in (TRAIN_SPLITS, TEST_SPLITS)
        ]
    else:
        splits = [_open(source, dataset_class, arguments)]
    labels = [_labels(source, dataset) for dataset in splits]
    classes = _class_names(
        splits[0],
        max_label=max(int(split_labels.max(initial=0)) for split_labels in labels),
    )
    for split_labels in labels:
        check_label_range(split_labels, classes, where=f"data.source: {source}: label")
    parts = [
        _make_split(dataset, split_labels)
        for dataset, split_labels in zip(splits, labels, strict=True)
    ]
    return SourceDataset(classes, parts[0], parts[1] if len(parts) == 2 else None)


def _dataset_class(source: str, name: str) -> Any:
    try:
        from torchvision import datasets
    except ImportError:
        raise InputError(
            f"data.source: {source} needs torchvision, which is not installed; pip install "
            "'phinas[peers]'"
        ) from None
    except RuntimeError as error:  # Operators are missing in a build for another torch version.
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"data.source: {source}: torchvision cannot be imported ({reason}); install the "
            "version that belongs to the installed torch"
        ) from None
    classes = {key: value for key, value in vars(datasets).items() if inspect.isclass(value)}
    dataset_classes = {
        key: value for key, value in classes.items() if issubclass(value, datasets.VisionDataset)
    }
    if name in dataset_classes:
        return dataset_classes[name]
    names = {dataset_name.lower(): dataset_name for dataset_name in dataset_classes}
    suggestions = get_close_matches(name.lower(), names, n=1)
    advice = (
        f"did you mean {names[suggestions[0]]!r}?"
        if suggestions
        else "use a class of torchvision.datasets, such as CIFAR10, MNIST or Flowers102"
    )
    raise InputError(f"data.source: {source}: torchvision has no data set {name!r}; {advice}")


def _open(source: str, dataset_class: Any, arguments: dict[str, Any]) -> Any:
    try:
        # Some classes print messages. Only results go to standard output.
        with contextlib.redirect_stdout(sys.stderr):
            return dataset_class(**arguments)
    except Exception as error:  # The classes raise many kinds of network and file errors.
        reason = " ".join(str(error).split())[:200] or "no reason given"
        where = arguments.get("root", "its data")
        raise InputError(
            f"data.source: {source} could not be loaded ({type(error).__name__}: {reason}); check "
            f"{where}, or use another ROOT"
        ) from error


def _open_first(
    source: str, dataset_class: Any, arguments: dict[str, Any], splits: tuple[str, ...]
) -> Any:
    """Open the first split that the class has. For others, it raises a ValueError."""
    for split in splits:
        try:
            return _open(source, dataset_class, arguments | {"split": split})
        except InputError as error:
            if not isinstance(error.__cause__, ValueError) or split == splits[-1]:
                raise
    raise AssertionError("unreachable: the last split returns or raises")


def _labels(source: str, dataset: Any) -> np.ndarray:
    values = next(
        (getattr(dataset, name) for name in LABEL_ATTRIBUTES if hasattr(dataset, name)), None
    )
    if values is None:
        values = [dataset[index][1] for index in range(len(dataset))]
    labels = np.asarray(values)
    if labels.shape != (len(dataset),) or labels.dtype.kind not in "iu":
        raise InputError(
            f"data.source: {source}: its labels are {labels.dtype} of shape {labels.shape}, not "
            "one integer per image; use a data set for classification"
        )
    return labels.astype(np.int64)


def _class_names(dataset: Any, *, max_label: int) -> tuple[str, ...]:
    names = [
        name if isinstance(name, str) else ", ".join(name)
        for name in getattr(dataset, "classes", ())
    ]
    return tuple(names) if len(names) > max_label else tuple(map(str, range(max_label + 1)))


def _make_split(dataset: Any, labels: np.ndarray) -> SourceSplit:
    def image(index: int) -> Any:
        return dataset[index][0]

    def iter_images() -> Iterator[tuple[str, ImageContent]]:
        return ((f"image {index}", partial(image, index)) for index in range(len(dataset)))

    return SourceSplit(labels, iter_images, is_encoded=False)
