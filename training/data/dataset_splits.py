"""The splits of a decoded data set, made so that no image is on both sides of a split.

Official splits stay as they are, except that `data.drop_duplicates` removes training images of
which another split has a copy. In splits that phinas makes, all images with equal pixels are in one
split, like the images of a group. Pixels are compared as they are stored, so copies that were
compressed or cropped in another way count as other images.
"""

import hashlib
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from phinas.experiment.artifacts.manifest import DuplicateCounts
from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import DataSection
from phinas.training.data.image_dataset import ImageDataset
from phinas.training.data.source_dataset import LabeledImages, list_names, printable
from phinas.training.data.splits import find_small_classes, limit_images, split_indices

SPLITS = ("train", "validation", "test")
_TOO_FEW_IMAGES = (
    "there are too few different images to keep all copies of an image in one split, so scores say "
    "little; add images"
)


@dataclass(frozen=True)
class SplitImages:
    """The images of a split.

    Attributes:
        source: The images that the split is a part of.
        indices: Indices of the images of the split in `source`.
        pixel_ids: For each image of the split a number. Images of a data set have equal pixels if
            they have equal numbers.
    """

    source: LabeledImages
    indices: np.ndarray
    pixel_ids: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def labels(self) -> np.ndarray:
        return self.source.labels[self.indices]

    @property
    def groups(self) -> np.ndarray | None:
        return None if self.source.groups is None else self.source.groups[self.indices]


@dataclass(frozen=True)
class DatasetSplits:
    """The train, validation and test split of a data set.

    Attributes:
        splits: The images of each split, by its name.
        duplicates: How many images have equal pixels.
        notes: What the user should know of how the splits were made, one line each.
    """

    splits: dict[str, SplitImages]
    duplicates: DuplicateCounts
    notes: tuple[str, ...]


def split_dataset(data: ImageDataset, section: DataSection, *, seed: int) -> DatasetSplits:
    """Split a data set. It depends on images, section and seed only.

    Official splits are used. Validation and test splits that the source does not have are split off
    from the training images.

    Raises:
        InputError: A class has no training image left, or the images cannot be split.
    """
    train, validation, test = _number_pixels(data.train, data.validation, data.test)
    pool = np.arange(len(data.train))
    if section.drop_duplicates:
        pool = _drop_duplicates(data, train, [validation, test])
    splits, notes = _split_pool(data, section, pool, train, seed=seed)
    if data.validation is not None:
        part = _limit(data, data.validation.labels, "max_validation_images", section, seed=seed)
        splits["validation"] = SplitImages(data.validation, part, validation[part])
    if data.test is not None:
        splits["test"] = SplitImages(data.test, np.arange(len(data.test)), test)
    splits = {name: splits[name] for name in SPLITS}
    duplicates = count_duplicates(splits, num_dropped=len(data.train) - len(pool))
    return DatasetSplits(splits, duplicates, notes)


def _split_pool(
    data: ImageDataset, section: DataSection, pool: np.ndarray, pixel_ids: np.ndarray, *, seed: int
) -> tuple[dict[str, SplitImages], tuple[str, ...]]:
    """Split training images, and describe what the user should know of it.

    Args:
        data: The data set.
        section: Its section of the configuration.
        pool: Indices of the training images that are used.
        pixel_ids: The numbers of the pixels of all training images.
        seed: The random seed.
    """
    labels, ids = data.train.labels[pool], pixel_ids[pool]
    if data.validation is not None:
        parts = {"train": _limit(data, labels, "max_train_images", section, seed=seed)}
        notes: tuple[str, ...] = ()
    else:
        user_groups = None if data.train.groups is None else data.train.groups[pool]
        groups = join_equal_images(user_groups, ids)
        split = partial(
            split_indices,
            labels,
            classes=data.classes,
            seed=seed,
            validation_fraction=section.validation_fraction,
            test_fraction=0.0 if data.test is not None else section.test_fraction,
            max_train_images=section.max_train_images,
            max_validation_images=section.max_validation_images,
        )
        try:
            parts = vars(split(groups=groups))
        except InputError:
            if groups is user_groups:
                raise
            # Almost all images are copies of a few. The number of leaks says what that means.
            groups, parts = user_groups, vars(split(groups=user_groups))
            notes = (_TOO_FEW_IMAGES,)
        else:
            notes = ()
        notes += _describe_small_classes(data, section, labels, groups)
    return {
        name: SplitImages(data.train, pool[part], ids[part]) for name, part in parts.items()
    }, notes


def _limit(
    data: ImageDataset, labels: np.ndarray, key: str, section: DataSection, *, seed: int
) -> np.ndarray:
    """The images of an official split that `data.max_train_images` or its like leaves."""
    limit: int | None = getattr(section, key)
    return limit_images(labels, f"data.{key}", limit, num_classes=len(data.classes), seed=seed)


def _number_pixels(*splits: LabeledImages | None) -> list[np.ndarray]:
    """For each image of each split a number, the same one for images with equal pixels."""
    numbers: dict[bytes, int] = {}

    def number(image: np.ndarray) -> int:
        digest = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
        return numbers.setdefault(digest, len(numbers))

    return [
        np.empty(0, np.int64)
        if split is None
        else np.fromiter(map(number, np.asarray(split.pixels)), np.int64, count=len(split))
        for split in splits
    ]


def _drop_duplicates(data: ImageDataset, train: np.ndarray, others: list[np.ndarray]) -> np.ndarray:
    """Indices of the training images that are in no other official split, each image once.

    Raises:
        InputError: A class has no image left.
    """
    first = np.zeros(len(train), bool)
    first[np.unique(train, return_index=True)[1]] = True
    pool = np.flatnonzero(first & ~np.isin(train, np.concatenate(others)))
    left = np.bincount(data.train.labels[pool], minlength=len(data.classes))
    empty = [printable(data.classes[index]) for index in np.flatnonzero(left == 0)]
    if empty:
        raise InputError(
            f"data.drop_duplicates: leaves no training image of class {list_names(empty)}, because "
            "all of them are copies; correct the labels, or remove the class"
        )
    return pool


def join_equal_images(groups: np.ndarray | None, pixel_ids: np.ndarray) -> np.ndarray | None:
    """The groups of images, joined where images of two groups have equal pixels.

    Args:
        groups: The group of each image. None: each image is a group of its own.
        pixel_ids: For each image a number, the same one for images with equal pixels.

    Returns:
        The group of each image. None where each image is a group of its own.
    """
    distinct, ids = np.unique(pixel_ids, return_inverse=True)
    if len(distinct) == len(pixel_ids):
        return groups
    if groups is None:
        return ids
    names, codes = np.unique(groups, return_inverse=True)
    # A graph of groups and distinct images, with an edge for each image.
    size = len(names) + len(distinct)
    edges = coo_array((np.ones(len(ids), np.int8), (codes, len(names) + ids)), shape=(size, size))
    components = connected_components(edges, directed=False)[1][: len(names)]
    # The first name of each component, so that the order of groups does not depend on scipy.
    first = np.full(size, len(names))
    np.minimum.at(first, components, np.arange(len(names)))
    joined: np.ndarray = names[first[components]][codes]
    return joined


def count_duplicates(splits: dict[str, SplitImages], *, num_dropped: int) -> DuplicateCounts:
    """Count the images with equal pixels.

    The audit, the report page and the model card all show these numbers. Validation images that
    were split off from the training images of the source count as its training images.
    """
    ids = {name: split.pixel_ids for name, split in splits.items()}
    if splits["validation"].source is splits["train"].source:
        train, validation = np.concatenate([ids["train"], ids["validation"]]), ids["train"][:0]
    else:
        train, validation = ids["train"], ids["validation"]
    return DuplicateCounts(
        test_in_train=int(np.isin(ids["test"], train).sum()),
        test_in_validation=int(np.isin(ids["test"], validation).sum()),
        validation_in_train=int(np.isin(ids["validation"], ids["train"]).sum()),
        repeats=sum(len(part) - len(np.unique(part)) for part in ids.values()),
        with_other_label=len(find_label_conflicts(splits)),
        dropped=num_dropped,
    )


def find_label_conflicts(splits: dict[str, SplitImages]) -> dict[tuple[str, int], int]:
    """The images of which a copy has another label.

    Returns:
        For the name of a split and the position of an image in it, the number of its pixels.
    """
    ids = np.concatenate([split.pixel_ids for split in splits.values()])
    labels = np.concatenate([split.labels for split in splits.values()])
    pairs = np.unique(np.stack([ids, labels]), axis=1)
    values, counts = np.unique(pairs[0], return_counts=True)
    conflicting = values[counts > 1]
    return {
        (name, int(position)): int(split.pixel_ids[position])
        for name, split in splits.items()
        for position in np.flatnonzero(np.isin(split.pixel_ids, conflicting))
    }


def _describe_small_classes(
    data: ImageDataset, section: DataSection, labels: np.ndarray, groups: np.ndarray | None
) -> tuple[str, ...]:
    """A line where classes are too small to be in each split that is made."""
    if data.validation is not None:
        return ()
    num_splits = 2 if data.test is not None else 3
    small = find_small_classes(labels, groups, num_classes=len(data.classes), num_splits=num_splits)
    names = [printable(data.classes[index]) for index in np.flatnonzero(small)]
    if not names:
        return ()
    unit = "different images" if section.group_by is None else "groups"
    classes = "1 class has" if len(names) == 1 else f"{len(names):,} classes have"
    splits = "validation" if num_splits == 2 else "validation and test"
    return (
        f"{classes} fewer than {num_splits} {unit}, so all of them are training images and "
        f"{splits} have none: {list_names(names)} (add images, or drop such classes with "
        f"--min-images-per-class {num_splits})",
    )
