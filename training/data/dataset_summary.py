"""What is known of images once they are split: fingerprint, statistics, duplicates, groups."""

import hashlib
import json
import math
from collections.abc import Iterator

import numpy as np

from phinas.experiment.artifacts.prepared_data import DatasetSummary
from phinas.experiment.schema.run import ResizeMode
from phinas.training.data.dataset_splits import DatasetSplits, SplitImages
from phinas.training.data.image_dataset import ImageDataset

CHUNK_IMAGES = 1024  # images copied at a time


def chunks(array: np.ndarray, indices: np.ndarray) -> Iterator[np.ndarray]:
    """`array[indices]`, CHUNK_IMAGES rows at a time."""
    for start in range(0, len(indices), CHUNK_IMAGES):
        yield np.ascontiguousarray(array[indices[start : start + CHUNK_IMAGES]])


def compute_fingerprint(data: ImageDataset, parts: DatasetSplits) -> str:
    """Sixteen hexadecimal digits of pixels, labels and class names of the splits, in order."""
    shapes = {
        name: [len(split), *split.source.pixels.shape[1:]] for name, split in parts.splits.items()
    }
    digest = hashlib.sha256(json.dumps([data.classes, shapes]).encode())
    for split in parts.splits.values():
        for array in (split.source.pixels, split.source.labels.astype("<i8")):
            for chunk in chunks(array, split.indices):
                digest.update(chunk.data)
    return digest.hexdigest()[:16]


def summarize(
    data: ImageDataset, parts: DatasetSplits, *, fingerprint: str, resize_mode: ResizeMode
) -> DatasetSummary:
    """Sizes, statistics of the training pixels, duplicates and groups."""
    splits = parts.splits
    mean, std = _moments(data.train.pixels, splits["train"].indices)
    groups = {name: _list_groups(split) for name, split in splits.items()}
    return DatasetSummary(
        name=data.name,
        classes=data.classes,
        channels=data.train.pixels.shape[3],
        image_size=data.train.pixels.shape[1],
        native_size=data.native_size,
        resize_mode=resize_mode,
        allow_flip=data.allow_flip,
        fingerprint=fingerprint,
        train=len(splits["train"]),
        validation=len(splits["validation"]),
        test=len(splits["test"]),
        counts=_count_classes(data, splits["train"]),
        test_counts=_count_classes(data, splits["test"]),
        mean=mean,
        std=std,
        skipped_images=tuple(map(str, data.skipped_images)),
        notes=(*data.notes, *parts.notes),
        duplicates=parts.duplicates,
        groups=tuple(map(len, groups.values())) if data.train.groups is not None else (),
        shared_groups=tuple(sorted((groups["train"] | groups["validation"]) & groups["test"])),
    )


def _count_classes(data: ImageDataset, split: SplitImages) -> tuple[int, ...]:
    """The number of images of each class in a split."""
    return tuple(np.bincount(split.labels, minlength=len(data.classes)).tolist())


def _list_groups(split: SplitImages) -> set[str]:
    """The groups of the images of a split, as far as they are known."""
    return set() if split.groups is None else set(split.groups.tolist())


def _moments(
    pixels: np.ndarray, indices: np.ndarray
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel (0 to 1), from counts of the 256 levels."""
    channels = pixels.shape[3]
    counts = np.zeros((channels, 256), np.int64)
    for chunk in chunks(pixels, indices):
        for channel in range(channels):
            counts[channel] += np.bincount(chunk[..., channel].ravel(), minlength=256)
    levels = np.arange(256) / 255
    weights = counts / counts.sum(axis=1, keepdims=True)
    means = weights @ levels
    deviations = [
        math.sqrt(float(row @ (levels - mean) ** 2))
        for row, mean in zip(weights, means, strict=True)
    ]
    return tuple(means.tolist()), tuple(max(deviation, 1 / 255) for deviation in deviations)
