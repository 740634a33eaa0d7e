import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phinas.experiment.errors import InputError
from phinas.training.data.splits import Split, apportion, split_indices


def labels_of(*sizes: int) -> np.ndarray:
    """Labels of classes of these sizes, shuffled."""
    return np.random.default_rng(7).permutation(np.repeat(np.arange(len(sizes)), sizes))


def split(labels: np.ndarray, **options: object) -> Split:
    classes = [f"class{index}" for index in range(int(labels.max()) + 1)]
    values = {"seed": 0, "validation_fraction": 0.2, "test_fraction": 0.2} | options
    return split_indices(labels, classes=classes, **values)


def counts(labels: np.ndarray, indices: np.ndarray) -> list[int]:
    return np.bincount(labels[indices], minlength=int(labels.max()) + 1).tolist()


def test_the_splits_are_disjoint_and_use_every_image():
    labels = labels_of(50, 30, 20)
    parts = split(labels)
    joined = np.concatenate([parts.train, parts.validation, parts.test])
    assert sorted(joined.tolist()) == list(range(100))


def test_test_is_a_fraction_of_all_and_validation_of_the_rest():
    parts = split(labels_of(500, 500))
    assert [len(parts.test), len(parts.validation), len(parts.train)] == [200, 160, 640]


def test_every_class_is_split_in_the_same_proportion():
    labels = labels_of(500, 300, 200)
    assert counts(labels, split(labels).test) == [100, 60, 40]


def test_small_fractions_of_many_classes_still_add_up():
    labels = labels_of(*[12] * 20)
    assert len(split(labels).test) == 48


def test_without_a_test_fraction_there_is_no_test_split():
    parts = split(labels_of(10, 10), test_fraction=0.0)
    assert [len(parts.test), len(parts.validation), len(parts.train)] == [0, 4, 16]


def test_the_same_seed_gives_the_same_split():
    labels = labels_of(40, 40)
    assert all(
        np.array_equal(a, b)
        for a, b in zip(vars(split(labels)).values(), vars(split(labels)).values(), strict=True)
    )


def test_another_seed_gives_another_split():
    labels = labels_of(40, 40)
    assert not np.array_equal(split(labels, seed=0).test, split(labels, seed=1).test)


def test_indices_ascend():
    parts = split(labels_of(40, 40))
    assert all((np.diff(part) > 0).all() for part in vars(parts).values())


def test_the_smallest_class_keeps_an_image_in_each_split():
    labels = labels_of(3, 1000)
    parts = split(labels, test_fraction=0.01, validation_fraction=0.01)
    assert [counts(labels, part)[0] for part in (parts.train, parts.validation, parts.test)] == [
        1,
        1,
        1,
    ]


def test_large_fractions_leave_every_class_an_image_to_train_with():
    labels = labels_of(3, 10)
    assert (
        min(counts(labels, split(labels, test_fraction=0.98, validation_fraction=0.98).train)) == 1
    )


def test_a_class_of_two_images_is_named():
    with pytest.raises(InputError, match=r"fewer than 3 images in class 'class1' \(2\)"):
        split(labels_of(9, 2))


def test_two_images_of_a_class_are_enough_without_a_test_fraction():
    labels = labels_of(9, 2)
    assert counts(labels, split(labels, test_fraction=0.0).train)[1] == 1


def test_a_class_of_one_image_is_named_without_a_test_fraction_too():
    with pytest.raises(InputError, match=r"fewer than 2 images in class 'class1' \(1\)"):
        split(labels_of(9, 1), test_fraction=0.0)


def test_of_many_small_classes_five_are_named():
    with pytest.raises(InputError, match="and 2 more"):
        split(labels_of(9, *[1] * 7))


def test_limits_keep_the_proportions_of_the_classes():
    labels = labels_of(400, 200, 100)
    parts = split(labels, max_train_images=70, max_validation_images=14)
    assert counts(labels, parts.train) == [40, 20, 10]
    assert counts(labels, parts.validation) == [8, 4, 2]


def test_a_limit_leaves_the_rarest_class_an_image():
    labels = labels_of(1000, 5)
    assert counts(labels, split(labels, max_train_images=10).train) == [9, 1]


def test_a_train_limit_that_is_raised_only_adds_images():
    labels = labels_of(100, 60)
    few, many = split(labels, max_train_images=20), split(labels, max_train_images=50)
    assert set(few.train) < set(many.train)
    assert np.array_equal(few.validation, many.validation)
    assert np.array_equal(few.test, many.test)


def test_a_limit_above_all_images_changes_nothing():
    labels = labels_of(20, 20)
    assert np.array_equal(split(labels, max_train_images=10_000).train, split(labels).train)


@pytest.mark.parametrize("field", ["max_train_images", "max_validation_images"])
def test_a_limit_below_the_number_of_classes_is_refused(field):
    with pytest.raises(InputError, match=rf"data\.{field}: 2 is below the 3 classes"):
        split(labels_of(50, 50, 50), **{field: 2})


@settings(deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=12), st.integers(0, 800))
def test_shares_keep_their_bounds_and_come_as_near_the_total_as_these_allow(sizes, total):
    maximum = np.array(sizes)
    given_out = apportion(total, maximum, minimum=1, maximum=maximum)
    assert (given_out >= 1).all()
    assert (given_out <= maximum).all()
    assert given_out.sum() == np.clip(total, len(sizes), maximum.sum())
