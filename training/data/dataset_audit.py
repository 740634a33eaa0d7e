"""The audit of a data set before training: sizes, classes, duplicates and wrong labels.

Images are compared pixel by pixel as they are stored. Copies that were compressed or cropped in
another way are not found.
"""

import hashlib
from collections import Counter, defaultdict

import numpy as np
from pydantic import Field

from phinas.experiment.artifacts.artifact import Record
from phinas.experiment.artifacts.manifest import Count
from phinas.experiment.statistics.intervals import min_detectable_difference
from phinas.training.data.prepared_dataset import ARRAYS, PreparedData

_REFERENCE_ACCURACY = 0.8  # where the smallest detectable difference is computed


class ClassCount(Record):
    """The number of images of a class in each split."""

    name: str
    train: Count
    validation: Count
    test: Count


class DatasetAudit(Record):
    """What a data set holds."""

    name: str = Field(description="Name of the data set")
    images: dict[str, int] = Field(description="Number of images in each split")
    channels: Count = Field(description="Channels of an image")
    image_size: Count = Field(description="Height and width of the stored images in px")
    classes: tuple[ClassCount, ...] = Field(description="The classes, in the order of the labels")
    imbalance: float = Field(
        description="Training images of the largest class over those of the smallest"
    )
    duplicates: Count = Field(description="Images that are a copy of another one in the same split")
    cross_split_duplicates: Count = Field(
        description="Distinct images that are in more than one split"
    )
    label_conflicts: tuple[tuple[str, ...], ...] = Field(
        description="For each distinct image with more than one label the names of its classes"
    )
    skipped_images: tuple[str, ...] = Field(
        description="Unreadable images that were skipped, each with the reason"
    )
    min_detectable_difference: float = Field(
        description="Smallest difference of two accuracies near 80% that the test split can detect "
        "(95%), as a fraction, where the errors are independent"
    )
    groups: dict[str, int] = Field(
        description="Number of groups in each split; empty without data.group_by"
    )
    shared_groups: tuple[str, ...] = Field(
        description="Groups of the official test split that are also in another split"
    )


def audit_dataset(data: PreparedData) -> DatasetAudit:
    """Audit prepared images. All three splits are read; nothing is chosen by the test split."""
    names = data.classes
    labels = {
        split: np.load(data.directory / paths[1], allow_pickle=False)
        for split, paths in ARRAYS.items()
    }
    counts = {split: np.bincount(array, minlength=len(names)) for split, array in labels.items()}
    occurrences, labels_of = _compare_images(data, labels)
    return DatasetAudit(
        name=data.name,
        images={split: len(array) for split, array in labels.items()},
        channels=data.channels,
        image_size=data.image_size,
        classes=tuple(
            ClassCount(name=name, **{split: int(counts[split][index]) for split in ARRAYS})
            for index, name in enumerate(names)
        ),
        imbalance=float(counts["train"].max() / max(1, counts["train"].min())),
        duplicates=sum(
            count - 1 for by_split in occurrences.values() for count in by_split.values()
        ),
        cross_split_duplicates=sum(len(by_split) > 1 for by_split in occurrences.values()),
        label_conflicts=tuple(
            tuple(names[index] for index in sorted(image_labels))
            for image_labels in labels_of.values()
            if len(image_labels) > 1
        ),
        skipped_images=data.skipped_images,
        min_detectable_difference=min_detectable_difference(
            _REFERENCE_ACCURACY, len(labels["test"])
        ),
        groups=dict(zip(ARRAYS, data.groups, strict=False)),
        shared_groups=data.shared_groups,
    )


def _compare_images(
    data: PreparedData, labels: dict[str, np.ndarray]
) -> tuple[dict[bytes, Counter[str]], dict[bytes, set[int]]]:
    """For each distinct image how often it is in each split, and which labels it has."""
    occurrences: dict[bytes, Counter[str]] = defaultdict(Counter)
    labels_of: dict[bytes, set[int]] = defaultdict(set)
    for split, paths in ARRAYS.items():
        pixels = np.load(data.directory / paths[0], mmap_mode="r", allow_pickle=False)
        for image, label in zip(pixels, labels[split], strict=True):
            digest = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
            occurrences[digest][split] += 1
            labels_of[digest].add(int(label))
    return occurrences, labels_of
