"""Class indices from the labels of a source, which may be numbers or text.

Where a source names its classes, a label is the index of a name, from 0 or from 1. Otherwise the
classes are the labels that occur. So labels may begin at 1, leave out numbers, or be text. Numbers
are sorted by value, text alphabetically. Tables often write integers as 3.0, and truth values as
False and True. Numbers with a fraction are not labels of classes.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from phinas.experiment.errors import InputError

# What pandas and NumPy write for a missing value.
_MISSING_TEXTS = {"", "nan"}
# Between several labels of one image, as in "scab rust" or "cat|dog".
_SEPARATORS = re.compile(r"[\s,;|]+")
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
        values: One label for each image: integers, whole numbers such as 3.0, truth values, text,
            or lists with one of these.
        where: File or column, which begins a message.

    Returns:
        The labels. None if no image has one: a missing value, an empty text, NaN, or -1.

    Raises:
        InputError: Some labels are missing, an image has several, or they are neither whole numbers
            nor text.
    """
    values = _as_scalars(values, where=where)
    missing = [row for row, value in enumerate(values) if _is_missing(value)]
    if values and len(missing) == len(values):
        return None
    if missing:
        raise InputError(
            f"{where}: row {missing[0]} has no label ({len(missing):,} in total); add the labels, "
            "or remove the rows"
        )
    if values and all(isinstance(value, bool | np.bool_) for value in values):
        return np.array([str(value) for value in values], np.str_)
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


def _as_scalars(values: Sequence[Any], *, where: str) -> list[Any]:
    """The values with lists of one label replaced by it, and whole numbers by integers.

    Raises:
        InputError: A list has another length, or a number has a fraction.
    """
    scalars = []
    for row, item in enumerate(values):
        value = item
        if isinstance(value, list | tuple):
            if len(value) != 1:
                raise InputError(
                    f"{where}: row {row} has {len(value)} labels, and each image needs exactly "
                    "one; keep one label of each image"
                )
            value = value[0]
        if isinstance(value, float | np.floating) and not _is_missing(value):
            if not float(value).is_integer():
                raise _fraction_error(where, row, str(value))
            value = int(value)
        scalars.append(value)
    return scalars


def _is_missing(value: object) -> bool:
    if isinstance(value, str):
        return value.casefold() in _MISSING_TEXTS
    return value is None or (isinstance(value, float | np.floating) and bool(np.isnan(value)))


def _fraction_error(where: str, row: int, value: str) -> InputError:
    return InputError(
        f"{where}: row {row} is {value}, a number with a fraction and not a class; store one whole "
        "number or text for each class, such as intervals of the values"
    )


def select_marked(matrix: np.ndarray, *, where: str) -> np.ndarray:
    """The column of each row of one-hot labels that holds the 1.

    Args:
        matrix: Numbers (count, classes).
        where: File or column, which begins a message.

    Raises:
        InputError: A row has another number of ones than one, or other values than 0 and 1.
    """
    if not np.isin(matrix, (0, 1)).all():
        raise InputError(
            f"{where}: shape {matrix.shape} is not (count,), and the values are not only 0 and 1; "
            "store y.argmax(1) if the largest value marks the class"
        )
    counts = (matrix == 1).sum(axis=1)
    wrong = np.flatnonzero(counts != 1)
    if len(wrong):
        number = "no label" if counts[wrong[0]] == 0 else f"{counts[wrong[0]]} labels"
        raise InputError(
            f"{where}: row {wrong[0]} has {number} ({len(wrong):,} such rows), and each image "
            "needs exactly one; keep the images with one label"
        )
    return np.asarray((matrix == 1).argmax(axis=1), dtype=np.int64)


def describe_combinations(classes: Sequence[str]) -> tuple[str, ...]:
    """A line if classes such as "scab rust" combine others, as where images have several labels."""
    names = set(classes)
    combined = [
        name
        for name in classes
        if len(parts := _SEPARATORS.split(name)) > 1 and names.issuperset(parts)
    ]
    if not combined:
        return ()
    count = "1 class combines" if len(combined) == 1 else f"{len(combined):,} classes combine"
    return (
        f"{count} others, such as {combined[0]!r}; each combination is a class of its own, because "
        "each image has exactly one label",
    )


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
    for split, values in labels.items():
        _check_fractions(values, where=where[split])
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
    # A table in which a label was missing writes 3 as 3.0.
    texts = np.array([value.removesuffix(".0") for value in values.tolist()], np.str_)
    try:
        numbers = texts.astype(np.int64)
    except (ValueError, OverflowError):
        return None
    # "07" and "7" would be two texts and one number.
    return numbers if (numbers.astype(np.str_) == texts).all() else None


def _check_fractions(values: np.ndarray, *, where: str) -> None:
    """Check that texts are not all decimal numbers, which are a quantity instead of classes."""
    if not len(values) or values.dtype.kind in "iu":
        return
    is_decimal = [re.fullmatch(r"[+-]?\d*\.\d+(e[+-]?\d+)?", value, re.I) for value in values]
    if all(is_decimal) and len(np.unique(values)) > len(values) // 2:
        raise _fraction_error(where, 0, str(values[0]))


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
