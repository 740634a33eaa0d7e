"""Class indices from the labels of a source, which may be numbers or text.

Where a source names its classes, a label is the index of a name, from 0 or from 1. Otherwise the
classes are the labels that occur. So labels may begin at 1, leave out numbers, or be text. Numbers
are sorted by value, text alphabetically.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from phinas.experiment.errors import InputError

UNLABELED = -1  # marks an image without a label, such as those of a benchmark's test split


def check_label_range(labels: np.ndarray, classes: Sequence[str], *, where: str) -> None:
    """Check that each label is the index of a class.

    Args:
        labels: int64 (count,).
        classes: Class names.
        where: File or column, which begins the message.

    Raises:
        InputError: A label is negative or too large. Names the first one by its row.
    """
    invalid = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if len(invalid):
        label = labels[invalid[0]]
        advice = (
            "-1 marks an image without a label, so remove these images"
            if label == UNLABELED
            else "correct the label"
        )
        raise InputError(
            f"{where}: row {invalid[0]} is {label}, outside 0 to {len(classes) - 1}; {advice}"
        )


def describe_unlabeled(where: str, count: int) -> str:
    """A line that says that a validation or test split is not used.

    Args:
        where: The split, as the source calls it.
        count: The number of its images.
    """
    images = "its 1 image has no label" if count == 1 else f"its {count:,} images have no labels"
    return f"{where} is not used, because {images}"


def as_labels(values: Sequence[object], *, where: str) -> np.ndarray | None:
    """The labels of a split as int64 or text (count,).

    Args:
        values: One label for each image. Text that is a number everywhere becomes numbers.
        where: File or column, which begins a message.

    Returns:
        The labels. None if no image has one: a missing value, an empty text, or -1.

    Raises:
        InputError: Some labels are missing, or they are neither integers nor text.
    """
    missing = [row for row, value in enumerate(values) if value is None or value == ""]
    if values and len(missing) == len(values):
        return None
    if missing:
        raise InputError(
            f"{where}: row {missing[0]} has no label ({len(missing):,} in total); add the labels, "
            "or remove the rows"
        )
    if all(isinstance(value, int | np.integer) and not isinstance(value, bool) for value in values):
        labels = np.array(values, dtype=np.int64)
        return None if len(labels) and (labels == UNLABELED).all() else labels
    if not all(isinstance(value, str) for value in values):
        kinds = sorted({type(value).__name__ for value in values})
        raise InputError(
            f"{where}: labels are of type {' and '.join(kinds)}, neither integers nor text; store "
            "integers or text"
        )
    return np.array(values, np.str_)


def encode_labels(
    labels: Mapping[str, np.ndarray], *, names: Sequence[str] = (), where: Mapping[str, str]
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """The classes of a data set, and the class indices of each split.

    Args:
        labels: For each split int64 or text (count,).
        names: Class names, where the source has some.
        where: For each split a file or column, which begins a message.

    Raises:
        InputError: A label is not the index of a class, or some labels are text and some numbers.
    """
    numbers = {split: _as_numbers(values) for split, values in labels.items()}
    if names:
        return _index_names(labels, numbers, tuple(names), where)
    parsed = [values for values in numbers.values() if values is not None]
    if len(parsed) == len(labels):
        present = np.unique(np.concatenate(parsed)) if parsed else np.empty(0, np.int64)
        for split, values in zip(labels, parsed, strict=True):
            _check_negative(values, where=where[split])
        codes = {
            split: np.searchsorted(present, values).astype(np.int64)
            for split, values in zip(labels, parsed, strict=True)
        }
        return tuple(map(str, present.tolist())), codes
    texts = {split: values.astype(np.str_) for split, values in labels.items()}
    present_texts = np.unique(np.concatenate(list(texts.values())))
    return tuple(present_texts.tolist()), {
        split: np.searchsorted(present_texts, values).astype(np.int64)
        for split, values in texts.items()
    }


def _as_numbers(values: np.ndarray) -> np.ndarray | None:
    """Integers, also where they are written as text. None for other text."""
    if values.dtype.kind in "iu":
        return values.astype(np.int64)
    try:
        numbers = values.astype(np.int64)
    except (ValueError, OverflowError):
        return None
    # "07" and "7" would be two texts and one number.
    return numbers if (numbers.astype(np.str_) == values).all() else None


def _check_negative(values: np.ndarray, *, where: str) -> None:
    negative = np.flatnonzero(values < 0)
    if len(negative):
        raise InputError(
            f"{where}: row {negative[0]} is {values[negative[0]]}, a negative label "
            f"({len(negative):,} in total); number the classes from 0 or 1, and remove images "
            "without a label"
        )


def _index_names(
    labels: Mapping[str, np.ndarray],
    numbers: Mapping[str, np.ndarray | None],
    names: tuple[str, ...],
    where: Mapping[str, str],
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Labels that are indices of names, or names themselves."""
    index_of = {name: index for index, name in enumerate(names)}
    present = {value for values in numbers.values() if values is not None for value in values}
    # The largest label is the number of names, so the first name has label 1.
    first = 1 if present and min(present) >= 1 and max(present) == len(names) else 0
    codes = {}
    for split, values in labels.items():
        indices = numbers[split]
        if indices is None or set(values.tolist()) <= index_of.keys():
            unknown = sorted(set(values.tolist()) - index_of.keys())
            if unknown:
                raise InputError(
                    f"{where[split]}: the label {unknown[0]!r} is not one of the {len(names)} "
                    "classes; correct it"
                )
            codes[split] = np.array([index_of[value] for value in values.tolist()], np.int64)
            continue
        check_label_range(indices - first, names, where=where[split])
        codes[split] = indices - first
    return names, codes
