"""Data sets of torchvision by name (`torchvision:NAME`, or `torchvision:NAME:ROOT` where they lie
on disk already).

The one decision to know: what a class is asked follows from its signature (`train` or `split`,
`root`, `download`), not from a list of names. A ROOT that is given is only read; without one, data
are downloaded once into the machine's cache. torchvision decodes by itself, so its images are not
cached again, and one it can't read is a bad image like any other.
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
from phinas.training.data.decoding import ImageContent, SourceDataset, SourceSplit
from phinas.training.data.sources.parquet import check_range

PREFIX = "torchvision:"
TRAIN_SPLITS = ("train", "trainval")
TEST_SPLITS = ("test", "val", "valid")
# where the classes keep them; else the images tell, one by one
LABEL_ATTRIBUTES = (
    "targets",
    "labels",
    "y",
    "_labels",
)


def list_torchvision(source: str, *, group_by: str | None = None) -> SourceDataset:
    """The splits of `torchvision:NAME[:ROOT]`: train, and test (or validation) where the class has
    one.

    Raises InputError where torchvision is missing, has no such data set, or its data can't be had.
    """
    if group_by is not None:
        raise InputError(f"data.group_by: {group_by!r}, and {source} has no columns; leave it out")
    name, _, root = source.removeprefix(PREFIX).partition(":")
    dataset_class = _dataset_class(source, name)
    parameters = set(inspect.signature(dataset_class).parameters)
    arguments: dict[str, Any] = {
        "root": str(Path(root).expanduser() if root else cache_root() / "torchvision")
    }
    arguments = {
        key: value
        for key, value in (arguments | {"download": not root}).items()
        if key in parameters
    }
    if "train" in parameters:
        datasets_found = [
            _open(source, dataset_class, arguments | {"train": train}) for train in (True, False)
        ]
    elif "split" in parameters:
        datasets_found = [
            _open_first(source, dataset_class, arguments, splits)
            for splits in (TRAIN_SPLITS, TEST_SPLITS)
        ]
    else:
        datasets_found = [_open(source, dataset_class, arguments)]
    labels = [_labels(source, dataset) for dataset in datasets_found]
    classes = _class_names(
        datasets_found[0],
        max_label=max(int(split_labels.max(initial=0)) for split_labels in labels),
    )
    for split_labels in labels:
        check_range(split_labels, classes, where=f"data.source: {source}: label")
    parts = [
        _make_split(dataset, split_labels)
        for dataset, split_labels in zip(datasets_found, labels, strict=True)
    ]
    return SourceDataset(classes, parts[0], parts[1] if len(parts) == 2 else None)


def _dataset_class(source: str, name: str) -> Any:
    try:
        from torchvision import datasets
    except ImportError:
        raise InputError(
            f"data.source: {source} needs torchvision; pip install 'phinas[peers]'"
        ) from None
    except RuntimeError as error:  # a build for another torch: its operators are not there
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"data.source: {source}: torchvision does not load ({reason}); install the one of "
            "this torch"
        ) from None
    classes = {key: value for key, value in vars(datasets).items() if inspect.isclass(value)}
    dataset_classes = {
        key: value for key, value in classes.items() if issubclass(value, datasets.VisionDataset)
    }
    if name in dataset_classes:
        return dataset_classes[name]
    names = {dataset_name.lower(): dataset_name for dataset_name in dataset_classes}
    suggestions = get_close_matches(name.lower(), names, n=1)
    hint = (
        f"did you mean {names[suggestions[0]]!r}?"
        if suggestions
        else "give CIFAR10, MNIST, Flowers102 or another of torchvision.datasets"
    )
    raise InputError(f"data.source: {source}: torchvision has no data set {name!r}; {hint}")


def _open(source: str, dataset_class: Any, arguments: dict[str, Any]) -> Any:
    try:
        # it may tell of its downloads; results alone go to standard output
        with contextlib.redirect_stdout(sys.stderr):
            return dataset_class(**arguments)
    except Exception as error:  # whatever the network, a file or the class makes it raise
        reason = " ".join(str(error).split())[:200] or "no reason given"
        where = arguments.get("root", "its data")
        raise InputError(
            f"data.source: {source} can't be had ({type(error).__name__}: {reason}); see to "
            f"{where}, or name another ROOT"
        ) from error


def _open_first(
    source: str, dataset_class: Any, arguments: dict[str, Any], splits: tuple[str, ...]
) -> Any:
    """The first of the splits that the class knows: it refuses others with a ValueError."""
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
            f"data.source: {source}: its labels are {labels.dtype} of {labels.shape}, not one "
            "class an image"
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
