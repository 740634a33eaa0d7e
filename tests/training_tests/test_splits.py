"""Tests of stratified splits: sizes, proportions, seeds, limits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phinas.experiment.errors import InputError
from phinas.training.data.splits import Split, apportion, split_indices


def make_labels(*sizes: int) -> np.ndarray:
    """Make shuffled labels; each argument is the number of images of a class."""
    return np.random.default_rng(7).permutation(np.repeat(np.arange(len(sizes)), sizes))


def split(labels: np.ndarray, **options: object) -> Split:
    classes = [f"class{index}" for index in range(int(labels.max()) + 1)]
    values = {"seed": 0, "validation_fraction": 0.2, "test_fraction": 0.2} | options
    return split_indices(labels, classes=classes, **values)


def counts(labels: np.ndarray, indices: np.ndarray) -> list[int]:
    return np.bincount(labels[indices], minlength=int(labels.max()) + 1).tolist()


def test_the_splits_are_disjoint_and_use_every_image():
    labels = make_labels(50, 30, 20)
    parts = split(labels)
    joined = np.concatenate([parts.train, parts.validation, parts.test])
    assert sorted(joined.tolist()) == list(range(100))


def test_test_fraction_is_of_all_images_and_validation_fraction_of_the_rest():
    parts = split(make_labels(500, 500))
    assert [len(parts.test), len(parts.validation), len(parts.train)] == [200, 160, 640]


def test_test_split_has_the_class_proportions_of_the_data():
    labels = make_labels(500, 300, 200)
    assert counts(labels, split(labels).test) == [100, 60, 40]


def test_test_split_has_its_size_despite_rounding_in_many_classes():
    labels = make_labels(*[12] * 20)
    assert len(split(labels).test) == 48


def test_test_fraction_of_zero_makes_no_test_split():
    parts = split(make_labels(10, 10), test_fraction=0.0)
    assert [len(parts.test), len(parts.validation), len(parts.train)] == [0, 4, 16]


def test_same_seed_makes_the_same_split():
    labels = make_labels(40, 40)
    assert all(
        np.array_equal(a, b)
        for a, b in zip(vars(split(labels)).values(), vars(split(labels)).values(), strict=True)
    )


def test_another_seed_makes_another_split():
    labels = make_labels(40, 40)
    assert not np.array_equal(split(labels, seed=0).test, split(labels, seed=1).test)


def test_indices_are_in_ascending_order():
    parts = split(make_labels(40, 40))
    assert all((np.diff(part) > 0).all() for part in vars(parts).values())


def test_smallest_class_has_an_image_in_each_split():
    labels = make_labels(3, 1000)
    parts = split(labels, test_fraction=0.01, validation_fraction=0.01)
    splits = (parts.train, parts.validation, parts.test)
    assert [counts(labels, part)[0] for part in splits] == [1, 1, 1]


def test_every_class_has_a_training_image_despite_large_fractions():
    labels = make_labels(3, 10)
    assert (
        min(counts(labels, split(labels, test_fraction=0.98, validation_fraction=0.98).train)) == 1
    )


def test_class_of_two_images_is_in_the_train_split_only():
    labels = make_labels(9, 2, 30)
    parts = split(labels)
    assert [counts(labels, part)[1] for part in (parts.train, parts.validation, parts.test)] == [
        2,
        0,
        0,
    ]
    assert all(min(counts(labels, part)[::2]) >= 1 for part in vars(parts).values())


def test_small_class_is_refused_where_only_one_other_class_is_left():
    with pytest.raises(InputError, match=r"fewer than 3 images in class 'class1', but two classes"):
        split(make_labels(9, 2))


def test_two_images_of_a_class_are_sufficient_without_a_test_split():
    labels = make_labels(9, 2)
    assert counts(labels, split(labels, test_fraction=0.0).train)[1] == 1


def test_class_of_one_image_is_refused_without_a_test_split():
    with pytest.raises(InputError, match=r"fewer than 2 images in class 'class1'"):
        split(make_labels(9, 1), test_fraction=0.0)


def test_error_lists_five_of_many_small_classes_and_counts_the_others():
    with pytest.raises(InputError, match="and 2 more"):
        split(make_labels(9, *[1] * 7))


def test_limited_splits_have_the_class_proportions_of_the_data():
    labels = make_labels(400, 200, 100)
    parts = split(labels, max_train_images=70, max_validation_images=14)
    assert counts(labels, parts.train) == [40, 20, 10]
    assert counts(labels, parts.validation) == [8, 4, 2]


def test_rarest_class_has_an_image_within_a_limit():
    labels = make_labels(1000, 5)
    assert counts(labels, split(labels, max_train_images=10).train) == [9, 1]


def test_higher_train_limit_only_adds_images():
    labels = make_labels(100, 60)
    few, many = split(labels, max_train_images=20), split(labels, max_train_images=50)
    assert set(few.train) < set(many.train)
    assert np.array_equal(few.validation, many.validation)
    assert np.array_equal(few.test, many.test)


def test_limit_above_the_number_of_images_changes_nothing():
    labels = make_labels(20, 20)
    assert np.array_equal(split(labels, max_train_images=10_000).train, split(labels).train)


@pytest.mark.parametrize("field", ["max_train_images", "max_validation_images"])
def test_limit_below_the_number_of_classes_is_refused(field):
    with pytest.raises(InputError, match=rf"data\.{field}: 2 is below the number of classes, 3"):
        split(make_labels(50, 50, 50), **{field: 2})


@settings(deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=12), st.integers(0, 800))
def test_apportion_respects_its_bounds_and_has_the_closest_possible_sum(sizes, total):
    maximum = np.array(sizes)
    numbers = apportion(total, maximum, minimum=1, maximum=maximum)
    assert (numbers >= 1).all()
    assert (numbers <= maximum).all()
    assert numbers.sum() == np.clip(total, len(sizes), maximum.sum())
