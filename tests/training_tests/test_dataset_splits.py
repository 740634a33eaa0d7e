"""Tests of images with equal pixels: in one split, counted, and left out on request."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phinas.experiment.artifacts.manifest import DuplicateCounts
from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import DataSection
from phinas.training.data.dataset_splits import DatasetSplits, join_equal_images, split_dataset
from phinas.training.data.image_dataset import ImageDataset
from phinas.training.data.source_dataset import LabeledImages


def make_images(ids: object, labels: object, groups: object = None) -> LabeledImages:
    """Images of 2 px whose pixels are equal where the ids are."""
    values = np.asarray(ids, np.int64)
    pixels = np.stack([values & 255, values >> 8, values * 0, values * 0], axis=1)
    return LabeledImages(
        pixels.astype(np.uint8).reshape(-1, 2, 2, 1),
        np.asarray(labels, np.int64),
        None if groups is None else np.asarray(groups),
    )


def make_dataset(train: LabeledImages, **splits: LabeledImages) -> ImageDataset:
    return ImageDataset(
        name="set",
        train=train,
        validation=splits.get("validation"),
        test=splits.get("test"),
        classes=tuple("abcd"[: int(train.labels.max()) + 1]),
        allow_flip=True,
        native_size=2,
        skipped_images=(),
        notes=(),
    )


def split(data: ImageDataset, *, seed: int = 0, **options: object) -> DatasetSplits:
    section = DataSection.model_validate({"source": "set"} | options)
    return split_dataset(data, section, seed=seed)


def count_shared(parts: DatasetSplits, values: dict[str, np.ndarray]) -> int:
    """The number of values that are in more than one split."""
    sets = [set(values[name].tolist()) for name in parts.splits]
    return sum(map(len, sets)) - len(set.union(*sets))


def pixel_ids(parts: DatasetSplits) -> dict[str, np.ndarray]:
    return {name: part.pixel_ids for name, part in parts.splits.items()}


@settings(deadline=None)
@given(st.lists(st.integers(0, 40), min_size=30, max_size=120), st.integers(0, 3), st.booleans())
def test_equal_images_are_in_one_split_with_and_without_groups(ids, seed, has_groups):
    ids = [*range(1000, 1012), *ids]  # six different images of each class
    labels = np.array(ids) % 2
    groups = np.arange(len(ids)) // 3 if has_groups else None
    if has_groups:
        groups[:12] = 500 + np.arange(12)
    parts = split(make_dataset(make_images(ids, labels, groups)), seed=seed)
    assert count_shared(parts, pixel_ids(parts)) == 0
    indices = np.concatenate([part.indices for part in parts.splits.values()])
    assert sorted(indices.tolist()) == list(range(len(ids)))
    assert all(len(set(part.labels.tolist())) == 2 for part in parts.splits.values())
    if has_groups:
        assert count_shared(parts, {n: part.groups for n, part in parts.splits.items()}) == 0


def test_splits_of_different_images_do_not_change_with_the_search_for_copies():
    images = make_images(range(90), np.arange(90) % 3)
    parts = split(make_dataset(images))
    assert [len(part) for part in parts.splits.values()] == [58, 14, 18]
    assert parts.duplicates == DuplicateCounts()


def test_class_proportions_stay_with_copies():
    ids = np.concatenate([np.arange(200), np.arange(40), np.arange(20)])
    images = make_images(ids, ids % 2)
    parts = split(make_dataset(images))
    test = parts.splits["test"].labels
    assert abs(len(test) - 52) <= 3
    assert abs((test == 0).mean() - 0.5) < 0.06


def test_groups_that_share_an_image_are_joined():
    joined = join_equal_images(np.array(["x", "x", "y", "z", "w"]), np.array([0, 1, 1, 2, 3]))
    assert joined.tolist() == ["w" if name == "w" else name for name in "xxx"] + ["z", "w"]


def test_groups_stay_as_they_are_without_copies():
    groups = np.array(["b", "a", "b"])
    assert join_equal_images(groups, np.array([0, 1, 2])) is groups


def test_leaks_between_official_splits_are_counted_by_image():
    data = make_dataset(
        make_images([0, 1, 2, 3, 4, 4], [0, 1, 0, 1, 0, 0]),
        validation=make_images([3, 10, 11], [1, 0, 1]),
        test=make_images([0, 0, 1, 3, 20, 21], [0, 0, 0, 1, 0, 1]),
    )
    assert split(data).duplicates == DuplicateCounts(
        test_in_train=4,
        test_in_validation=1,
        validation_in_train=1,
        repeats=2,
        with_other_label=2,
    )


def test_copies_are_left_out_of_train_on_request():
    data = make_dataset(
        make_images([0, 1, 2, 3, 4, 4, 5], [0, 1, 0, 1, 0, 0, 1]),
        validation=make_images([3, 10, 11], [1, 0, 1]),
        test=make_images([0, 0, 20, 21], [0, 0, 0, 1]),
    )
    parts = split(data, drop_duplicates=True)
    assert parts.splits["train"].indices.tolist() == [1, 2, 4, 6]
    assert [len(parts.splits[name]) for name in ("validation", "test")] == [3, 4]
    assert parts.duplicates == DuplicateCounts(repeats=1, dropped=3)


def test_without_official_splits_each_image_is_left_once():
    ids = np.concatenate([np.arange(60), np.arange(30)])
    parts = split(make_dataset(make_images(ids, ids % 2)), drop_duplicates=True)
    assert sum(map(len, parts.splits.values())) == 60
    assert parts.duplicates == DuplicateCounts(dropped=30)


def test_class_of_copies_only_is_refused_when_they_are_left_out():
    data = make_dataset(
        make_images([0, 1, 2, 3], [0, 1, 0, 0]), test=make_images([1, 5, 6], [1, 0, 1])
    )
    with pytest.raises(InputError, match=r"data\.drop_duplicates: leaves no .* of class b"):
        split(data, drop_duplicates=True)


def test_official_validation_split_is_used_up_to_its_limit():
    data = make_dataset(
        make_images(range(40), np.arange(40) % 2),
        validation=make_images(range(100, 130), np.arange(30) % 2),
        test=make_images(range(200, 210), np.arange(10) % 2),
    )
    parts = split(data, max_train_images=10, max_validation_images=6)
    assert [len(part) for part in parts.splits.values()] == [10, 6, 10]
    assert parts.splits["validation"].source is data.validation
    assert np.bincount(parts.splits["train"].labels).tolist() == [5, 5]


def test_small_classes_are_train_images_and_are_named():
    labels = np.array([0] * 20 + [1] * 20 + [2] * 2)
    parts = split(make_dataset(make_images(range(42), labels)))
    assert 2 not in np.concatenate([parts.splits[name].labels for name in ("validation", "test")])
    assert parts.notes == (
        "1 class has fewer than 3 different images, so all of them are training images and "
        "validation and test have none: c (add images, or drop such classes with "
        "--min-images-per-class 3)",
    )


def test_copies_of_one_image_count_once_for_the_size_of_a_class():
    labels = np.array([0] * 20 + [1] * 20 + [2] * 4)
    parts = split(make_dataset(make_images([*range(40), 50, 50, 50, 51], labels)))
    assert np.flatnonzero(parts.splits["train"].labels == 2).size == 4
    assert "c" in parts.notes[0]


@pytest.mark.parametrize("labels", [np.arange(30) % 2, np.arange(30) // 15])
def test_copies_are_in_several_splits_only_if_nearly_all_images_are_copies(labels):
    parts = split(make_dataset(make_images(np.arange(30) // 15, labels)))
    assert [len(part) for part in parts.splits.values()] == [19, 5, 6]
    assert parts.duplicates.test_in_train == 6
    assert "too few different images" in parts.notes[0]


def test_split_depends_on_images_section_and_seed_only():
    ids = np.concatenate([np.arange(80), np.arange(20)])
    data = make_dataset(make_images(ids, ids % 2))
    first, again, other = (split(data, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.splits["test"].indices, again.splits["test"].indices)
    assert not np.array_equal(first.splits["test"].indices, other.splits["test"].indices)
    reordered = make_dataset(replace(data.train, pixels=255 - data.train.pixels))
    assert np.array_equal(split(reordered).splits["test"].indices, first.splits["test"].indices)
