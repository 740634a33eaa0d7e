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
from phinas.space.cache_directory import CACHE_DIR_VARIABLE, cache_root, open_cache_folder
from phinas.space.interchange.torchvision_import import import_with_torchvision
from phinas.training.data.labeling.labels import as_labels, describe_unlabeled, encode_labels
from phinas.training.data.labeling.split_names import SPLIT_NAMES
from phinas.training.data.source_dataset import (
    ImageContent,
    ReadOptions,
    SourceDataset,
    SourceSplit,
)
from phinas.training.data.sources import SOURCES

PREFIX = SOURCES["torchvision"].prefix
_SPLITS = {**SPLIT_NAMES, "train": ("train", "trainval")}
# Attributes that hold all labels. If a class has none of them, each image is loaded for its label.
LABEL_ATTRIBUTES = ("targets", "labels", "y", "_labels")


def list_torchvision(source: str, options: ReadOptions) -> SourceDataset:
    """Read a data set of torchvision: its train, validation and test splits.

    Args:
        source: `torchvision:NAME[:ROOT]`.
        options: None may be set, because these data sets have no columns.

    Raises:
        InputError: torchvision is not installed or has no such data set, or the data could not be
            downloaded or read.
    """
    options.refuse(source, "group_by", "image_column", "label_column", reason="has no columns")
    name, _, root = source.removeprefix(PREFIX).partition(":")
    dataset_class = _dataset_class(source, name)
    splits = _open_splits(source, dataset_class, root)
    labels, notes = {}, []
    for split, dataset in splits.items():
        values = _labels(source, dataset)
        if values is not None:
            labels[split] = values
        elif split == "train":
            raise InputError(f"data.source: {source}: no image has a label; use another data set")
        else:
            notes.append(describe_unlabeled(f"the {split} split", len(dataset)))
    classes, codes = encode_labels(
        labels,
        names=_class_names(splits["train"], labels),
        where=dict.fromkeys(labels, f"data.source: {source}: label"),
    )
    made = {split: _make_split(splits[split], codes[split]) for split in labels}
    return SourceDataset(
        classes,
        made["train"],
        test=made.get("test"),
        validation=made.get("validation"),
        notes=tuple(notes),
    )


def _open_splits(source: str, dataset_class: Any, root: str) -> dict[str, Any]:
    """The splits that the data set has. All images are for training where it has none."""
    parameters = set(inspect.signature(dataset_class).parameters)
    folder = str(Path(root).expanduser() if root else _download_folder(source))
    available: dict[str, Any] = {"root": folder, "download": not root}
    arguments = {name: value for name, value in available.items() if name in parameters}
    if "train" in parameters:
        return {
            split: _open(source, dataset_class, arguments | {"train": split == "train"})
            for split in ("train", "test")
        }
    if "split" not in parameters:
        return {"train": _open(source, dataset_class, arguments)}
    splits = {
        split: _open_first(source, dataset_class, arguments, names, required=split == "train")
        for split, names in _SPLITS.items()
    }
    return {split: dataset for split, dataset in splits.items() if dataset is not None}


def _download_folder(source: str) -> Path:
    """The folder of the cache for downloads.

    torchvision unpickles the files of some data sets, so they must not be another user's.
    """
    try:
        return open_cache_folder("torchvision")
    except OSError as error:
        raise InputError(
            f"data.source: {source}: {cache_root() / 'torchvision'} cannot be used ({error}); set "
            f"{CACHE_DIR_VARIABLE} to a folder that you may write, or use {source}:ROOT"
        ) from None


def _dataset_class(source: str, name: str) -> Any:
    try:
        datasets = import_with_torchvision("torchvision.datasets")
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
    source: str,
    dataset_class: Any,
    arguments: dict[str, Any],
    splits: tuple[str, ...],
    *,
    required: bool,
) -> Any:
    """Open the first split that the class has. For others, it raises a ValueError.

    Returns:
        The data set. None if the class has none of the splits and none is required.
    """
    for split in splits:
        try:
            return _open(source, dataset_class, arguments | {"split": split})
        except InputError as error:
            is_unknown = isinstance(error.__cause__, ValueError)
            if not is_unknown or (required and split == splits[-1]):
                raise
    return None


def _labels(source: str, dataset: Any) -> np.ndarray | None:
    """The labels of a split as int64 or text (count,). None if no image has one."""
    values = next(
        (getattr(dataset, name) for name in LABEL_ATTRIBUTES if hasattr(dataset, name)), None
    )
    if values is None:
        values = [dataset[index][1] for index in range(len(dataset))]
    labels = np.asarray(values)
    if labels.shape != (len(dataset),) or labels.dtype.kind not in "iuU":
        raise InputError(
            f"data.source: {source}: its labels are {labels.dtype} of shape {labels.shape}, not "
            "one label per image; use a data set for classification"
        )
    return as_labels(labels.tolist(), where=f"data.source: {source}: label")


def _class_names(dataset: Any, labels: dict[str, np.ndarray]) -> tuple[str, ...]:
    """The class names of a data set. Empty if it has none, or fewer than its labels need."""
    names = tuple(
        name if isinstance(name, str) else ", ".join(name)
        for name in getattr(dataset, "classes", ())
    )
    numbers = [values for values in labels.values() if values.dtype.kind == "i"]
    max_label = max((int(values.max(initial=0)) for values in numbers), default=0)
    return names if len(names) > max_label else ()


def _make_split(dataset: Any, labels: np.ndarray) -> SourceSplit:
    def image(index: int) -> Any:
        return dataset[index][0]

    def iter_images() -> Iterator[tuple[str, ImageContent]]:
        return ((f"image {index}", partial(image, index)) for index in range(len(dataset)))

    return SourceSplit(labels, iter_images, is_encoded=False)
