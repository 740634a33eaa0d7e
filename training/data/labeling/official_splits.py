"""The official splits of a source and the classes in them.

A labeled test split is the test split. Without one, the official validation split is the test
split, and validation images are split off from the training images.
"""

from dataclasses import replace

import numpy as np

from phinas.experiment.errors import InputError
from phinas.training.data.source_dataset import LabeledDataset, SplitT, list_names, printable


def use_validation_for_testing(dataset: LabeledDataset[SplitT]) -> LabeledDataset[SplitT]:
    """Make the validation split the test split where there is no labeled test split. Says so."""
    if dataset.validation is None:
        return dataset
    name = dataset.validation_name
    if dataset.test is not None:
        note = f"the validation images are those of the split {name}"
        return replace(dataset, notes=(*dataset.notes, note))
    note = (
        f"there is no labeled test split, so the split {name} is the test split, and validation "
        "images are split off from the training images"
    )
    return replace(dataset, test=dataset.validation, validation=None, notes=(*dataset.notes, note))


def drop_small_classes(dataset: LabeledDataset[SplitT], minimum: int) -> LabeledDataset[SplitT]:
    """Leave out the classes that have fewer training images than `minimum`.

    The training images are counted before validation and test images are split off from them.
    """
    counts = np.bincount(dataset.train.labels, minlength=len(dataset.classes))
    frequent = np.flatnonzero(counts >= minimum)
    if len(frequent) == len(dataset.classes):
        return dataset
    new_index = np.full(len(dataset.classes), -1, np.int64)
    new_index[frequent] = np.arange(len(frequent))
    splits, num_dropped = {}, 0
    for name, split in dataset.splits.items():
        indices = np.flatnonzero(new_index[split.labels] >= 0)
        num_dropped += len(split.labels) - len(indices)
        selected = split.take(indices)
        splits[name] = replace(selected, labels=new_index[selected.labels])
    dropped = [name for name, count in zip(dataset.classes, counts, strict=True) if count < minimum]
    classes = "1 class" if len(dropped) == 1 else f"{len(dropped):,} classes"
    images = "1 image" if num_dropped == 1 else f"{num_dropped:,} images"
    return dataset.replace_splits(
        splits,
        classes=tuple(dataset.classes[index] for index in frequent),
        note=f"dropped {classes} with fewer than {minimum} training images ({images} in total): "
        f"{list_names(dropped)}",
    )


def check_classes(
    classes: tuple[str, ...], labels: dict[str, np.ndarray], *, where: object
) -> None:
    """Check that there are two classes, and images of every class in the train split.

    Args:
        classes: Class names.
        labels: For each split, class indices.
        where: The source, which begins a message.

    Raises:
        InputError: There are no images or only one class, a class has no training image, or a split
            has images of one class only.
    """
    if not len(labels["train"]):
        raise InputError(f"{where} has no training images; add some")
    if len(classes) < 2:
        raise InputError(
            f"{where} has only one class ({printable(classes[0])}); add images of another class"
        )
    empty = _missing_classes(classes, labels["train"])
    if empty:
        raise InputError(
            f"{where}: the train split has no image of class {list_names(map(repr, empty))}; add "
            "images, or remove the class"
        )
    for split, values in labels.items():
        if len(np.unique(values)) < 2:
            problem = (
                f"has images of class {printable(classes[int(values[0])])!r} only"
                if len(values)
                else "has no images"
            )
            raise InputError(
                f"{where}: the {split} split {problem}, so its accuracy says nothing; add images "
                "of other classes, or remove the split"
            )


def describe_missing_classes(
    classes: tuple[str, ...], labels: dict[str, np.ndarray]
) -> tuple[str, ...]:
    """One line for each split that lacks a class."""
    missing = {split: _missing_classes(classes, values) for split, values in labels.items()}
    return tuple(
        f"the {split} split has no image of {len(names):,} of the {len(classes):,} classes: "
        f"{list_names(names)}"
        for split, names in missing.items()
        if names
    )


def _missing_classes(classes: tuple[str, ...], labels: np.ndarray) -> list[str]:
    counts = np.bincount(labels, minlength=len(classes))
    return [printable(classes[index]) for index in np.flatnonzero(counts == 0)]
