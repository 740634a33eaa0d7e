"""What is known of images once they are split: fingerprint, statistics, duplicates, groups."""

import hashlib
import json
import math
from collections.abc import Iterator

import numpy as np

from phinas.experiment.artifacts.prepared_data import DatasetSummary
from phinas.training.data.image_dataset import ImageDataset

CHUNK_IMAGES = 1024  # images copied at a time
# split to all pixels, all labels, and the indices of its images
SplitArrays = dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]


def chunks(array: np.ndarray, indices: np.ndarray) -> Iterator[np.ndarray]:
    """`array[indices]`, CHUNK_IMAGES rows at a time."""
    for start in range(0, len(indices), CHUNK_IMAGES):
        yield np.ascontiguousarray(array[indices[start : start + CHUNK_IMAGES]])


def compute_fingerprint(data: ImageDataset, splits: SplitArrays) -> str:
    """Sixteen hexadecimal digits of pixels, labels and class names of the splits, in order."""
    shapes = {
        split: [len(indices), *pixels.shape[1:]] for split, (pixels, _, indices) in splits.items()
    }
    digest = hashlib.sha256(json.dumps([data.classes, shapes]).encode())
    for pixels, labels, indices in splits.values():
        for array in (pixels, labels.astype("<i8")):
            for chunk in chunks(array, indices):
                digest.update(chunk.data)
    return digest.hexdigest()[:16]


def summarize(data: ImageDataset, splits: SplitArrays, *, fingerprint: str) -> DatasetSummary:
    """Sizes, statistics of the training pixels, duplicates and groups."""
    mean, std = _moments(data.train.pixels, splits["train"][2])
    groups = _groups(data, splits)
    return DatasetSummary(
        name=data.name,
        classes=data.classes,
        channels=data.train.pixels.shape[3],
        image_size=data.train.pixels.shape[1],
        allow_flip=data.allow_flip,
        fingerprint=fingerprint,
        train=len(splits["train"][2]),
        validation=len(splits["validation"][2]),
        test=len(splits["test"][2]),
        counts=_count_classes(data, splits, "train"),
        test_counts=_count_classes(data, splits, "test"),
        mean=mean,
        std=std,
        skipped_images=data.skipped_images,
        duplicates=_count_duplicates(splits),
        groups=tuple(len(groups[split]) for split in splits)
        if data.train.groups is not None
        else (),
        shared_groups=tuple(sorted((groups["train"] | groups["validation"]) & groups["test"])),
    )


def _count_classes(data: ImageDataset, splits: SplitArrays, split: str) -> tuple[int, ...]:
    """The number of images of each class in a split."""
    _, labels, indices = splits[split]
    return tuple(np.bincount(labels[indices], minlength=len(data.classes)).tolist())


def _groups(data: ImageDataset, splits: SplitArrays) -> dict[str, set[str]]:
    """The groups that each split holds, as far as they are known."""
    groups_of: dict[str, set[str]] = {}
    for split, (_, _, indices) in splits.items():
        source = data.test if split == "test" and data.test is not None else data.train
        groups_of[split] = set() if source.groups is None else set(source.groups[indices].tolist())
    return groups_of


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


def _count_duplicates(splits: SplitArrays) -> int:
    """Distinct images that are in two or three splits."""
    digests = []
    for pixels, _, indices in splits.values():
        digests.append(
            {hashlib.blake2b(pixels[index].tobytes(), digest_size=16).digest() for index in indices}
        )
    train, validation, test = digests
    return len((train & validation) | (train & test) | (validation & test))
