"""What a data source returns: encoded images that are decoded later, or arrays.

Labels and class names are read at once, images when they are needed. So a source of a million
images is described without a pixel in memory.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import compress
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from PIL import Image

from phinas.experiment.errors import InputError
from phinas.training.data.pixel_array import take_rows

# An encoded image as bytes or file, or a function that returns it decoded. None where it is
# missing.
ImageContent = bytes | Path | Callable[[], Image.Image] | None
# An image that cannot be used, in place of its content: the reason.
MAX_NAMED = 5  # names of which a message lists so many


@dataclass(frozen=True)
class ReadOptions:
    """What a source reads besides its default.

    Attributes:
        group_by: `data.group_by`.
        image_column: `data.image_column`.
        label_column: `data.label_column`.
        resources: What the images need until they are decoded, such as an unpacked archive.
    """

    group_by: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    resources: ExitStack = field(default_factory=ExitStack)

    def refuse(self, source: object, *keys: str, reason: str) -> None:
        """Check that none of some keys is set, because they have no effect on a source.

        Args:
            source: The source.
            keys: Names of attributes.
            reason: Why, to follow the name of the source.

        Raises:
            InputError: One of them is set.
        """
        for key in keys:
            value = getattr(self, key)
            if value is not None:
                raise InputError(
                    f"data.{key}: {value!r} has no effect, because {source} {reason}; remove it"
                )


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

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> "SourceSplit":
        """The images with these indices, which are ascending."""
        selected = np.zeros(len(self.labels), bool)
        selected[indices] = True
        return replace(
            self,
            labels=self.labels[indices],
            iter_images=lambda: compress(self.iter_images(), selected.tolist()),
            groups=None if self.groups is None else self.groups[indices],
        )


@dataclass(frozen=True)
class LabeledImages:
    """The images of a split.

    Attributes:
        pixels: uint8 (count, height, width, channels).
        labels: int64 (count,), class indices.
        groups: Text (count,), the group of each image. None without `data.group_by`.
        rows: The index of each image in its source, where images of the source were left out.
    """

    pixels: np.ndarray
    labels: np.ndarray
    groups: np.ndarray | None = None
    rows: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> "LabeledImages":
        return LabeledImages(
            take_rows(self.pixels, indices),
            self.labels[indices],
            None if self.groups is None else self.groups[indices],
            indices if self.rows is None else self.rows[indices],
        )


class UnusableImage(NamedTuple):
    """An image that cannot be used.

    Attributes:
        name: Its name.
        reason: The reason, which begins with a verb.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} {self.reason}"


AnySplit = SourceSplit | LabeledImages
SplitT = TypeVar("SplitT", SourceSplit, LabeledImages)


@dataclass(frozen=True)
class LabeledDataset(Generic[SplitT]):
    """The images of a source. All splits have the same classes.

    Attributes:
        classes: Class names, in the order of the class indices.
        train: The training images, or all images if the source has no official splits.
        test: The official test split.
        validation: The official validation split.
        validation_name: How the source calls it, such as "dev".
        allow_flip: Whether an image keeps its class when it is mirrored from left to right.
        notes: What the user should know of how the source was read, one line each.
    """

    classes: tuple[str, ...]
    train: SplitT
    test: SplitT | None = None
    validation: SplitT | None = None
    validation_name: str = "validation"
    allow_flip: bool = True
    notes: tuple[str, ...] = ()

    @property
    def splits(self) -> dict[str, SplitT]:
        """The splits that the source has, by name."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in splits.items() if split is not None}

    def replace_splits(
        self, splits: dict[str, SplitT], *, classes: tuple[str, ...], note: str = ""
    ) -> "LabeledDataset[SplitT]":
        """The same data set with other images, other classes and another note."""
        return replace(
            self,
            classes=classes,
            train=splits["train"],
            validation=splits.get("validation"),
            test=splits.get("test"),
            notes=(*self.notes, note) if note else self.notes,
        )


SourceDataset = LabeledDataset[SourceSplit]
ArrayDataset = LabeledDataset[LabeledImages]


def printable(name: str) -> str:
    """The name of a file or class in a form that fits into one line of text."""
    return name if name.isprintable() else ascii(name)[1:-1]


def list_names(names: Any) -> str:
    """The first names of a list, and the number of the others."""
    printed = [printable(str(name)) for name in names]
    more = f" and {len(printed) - MAX_NAMED:,} more" if len(printed) > MAX_NAMED else ""
    return f"{', '.join(printed[:MAX_NAMED])}{more}"
