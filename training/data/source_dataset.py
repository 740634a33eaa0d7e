"""What a data source returns: encoded images that are decoded later, or arrays.

Labels and class names are read at once, images when they are needed. So a source of a million
images is described without a pixel in memory.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from phinas.experiment.errors import InputError

# An encoded image as bytes or file, or a function that returns it decoded. None where it is
# missing.
ImageContent = bytes | Path | Callable[[], Image.Image] | None
ArraySplit = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class SourceSplit:
    """One split of a source, before an image is decoded.

    Attributes:
        labels: int64 (count,), class indices.
        iter_images: Returns an iterator of (name, content) in the order of the labels.
        groups: Text (count,), the group of each image. None without `data.group_by`.
        is_encoded: Whether the contents are encoded images, so that decoding them is worth a cache.
    """

    labels: np.ndarray
    iter_images: Callable[[], Iterator[tuple[str, ImageContent]]]
    groups: np.ndarray | None = None
    is_encoded: bool = True


@dataclass(frozen=True)
class SourceDataset:
    """A source whose images are decoded later.

    Attributes:
        classes: Class names, in the order of the class indices.
        train: The training images, or all images if the source has no official test split.
        test: The official test split.
        allow_flip: Whether an image keeps its class when it is mirrored from left to right.
    """

    classes: tuple[str, ...]
    train: SourceSplit
    test: SourceSplit | None
    allow_flip: bool = True


@dataclass(frozen=True)
class ArrayDataset:
    """A source whose images are arrays.

    Attributes:
        classes: Class names, in the order of the class indices.
        train: Pixels, uint8 (count, height, width, channels), and int64 labels.
        test: The official test split, in the same form.
        groups: Text (count,) for train and for test, the group of each image. None where unknown.
        allow_flip: Whether an image keeps its class when it is mirrored from left to right.
    """

    classes: tuple[str, ...]
    train: ArraySplit
    test: ArraySplit | None
    groups: tuple[np.ndarray | None, np.ndarray | None] = (None, None)
    allow_flip: bool = True


def printable(name: str) -> str:
    """The name of a file or class in a form that fits into one line of text."""
    return name if name.isprintable() else ascii(name)[1:-1]


def check_label_range(labels: np.ndarray, classes: tuple[str, ...], *, where: str) -> None:
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
            "-1 marks a split without labels, so leave the split out"
            if label == -1
            else "correct the label"
        )
        raise InputError(
            f"{where}: row {invalid[0]} is {label}, outside 0 to {len(classes) - 1}; {advice}"
        )
