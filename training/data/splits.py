"""Stratified splits of images into train, validation and test.

The images of each class are shuffled once, by a random generator of that class. The first ones are
test images, the next ones validation images, the rest training images. A limit keeps the first
images of its split. So a higher limit only adds images, and no limit changes another split.

Where images belong to groups, whole groups are assigned to splits instead
(`phinas.training.data.grouped_split`). Images with equal pixels are such a group
(`phinas.training.data.dataset_splits`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from phinas.experiment.errors import InputError
from phinas.experiment.seeds import derive_seed
from phinas.training.data.grouped_split import assign_groups


@dataclass(frozen=True)
class Split:
    """Indices of the images of each split, in ascending order. `test` may be empty."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def split_indices(
    labels: np.ndarray,
    *,
    classes: Sequence[str],
    seed: int,
    groups: np.ndarray | None = None,
    validation_fraction: float,
    test_fraction: float = 0.0,
    max_train_images: int | None = None,
    max_validation_images: int | None = None,
) -> Split:
    """Split images. Every class has at least one image in each split, except small classes.

    A class with fewer images (or groups) than there are splits is in the train split only.

    Args:
        labels: int64 (count,), class indices.
        classes: Class names.
        seed: The split depends on it and on the arguments alone.
        groups: Text or integers (count,). The images of a group are in one split.
        validation_fraction: Fraction of the images outside the test split, as nearly as the groups
            allow.
        test_fraction: Fraction of all images, as nearly as the groups allow. 0 makes no test split.
        max_train_images: Limit of the training images, which keeps the class proportions and may
            divide a group.
        max_validation_images: The same for validation images.

    Raises:
        InputError: Fewer than two classes have enough images or groups, no assignment of groups
            gives every split all classes, or a limit is below the number of classes.
    """
    num_splits = 3 if test_fraction > 0 else 2
    small = find_small_classes(labels, groups, num_classes=len(classes), num_splits=num_splits)
    _check_class_count(classes, small, num_splits=num_splits, has_groups=groups is not None)
    sizes = np.bincount(labels, minlength=len(classes))
    test, validation = _target_sizes(
        sizes, small, validation_fraction=validation_fraction, test_fraction=test_fraction
    )
    orders = [_shuffle(np.flatnonzero(labels == index), seed, index) for index in range(len(sizes))]
    if groups is None:
        ends = zip(orders, test.tolist(), (test + validation).tolist(), strict=True)
        parts = [
            (order[second:], order[first:second], order[:first]) for order, first, second in ends
        ]
    else:
        targets = [test, validation] if num_splits == 3 else [validation]
        split_of = assign_groups(labels, groups, targets, classes=classes, seed=seed)
        # The numbers of train, validation and test in `split_of`.
        part_numbers = (len(targets), len(targets) - 1, 0 if num_splits == 3 else -1)
        parts = [
            tuple(order[split_of[order] == number] for number in part_numbers) for order in orders
        ]
    limits = (
        ("data.max_train_images", max_train_images),
        ("data.max_validation_images", max_validation_images),
        ("", None),
    )
    return Split(
        *(_select([part[number] for part in parts], *limit) for number, limit in enumerate(limits))
    )


def find_small_classes(
    labels: np.ndarray, groups: np.ndarray | None, *, num_classes: int, num_splits: int
) -> np.ndarray:
    """For each class whether it has fewer images, or groups, than there are splits."""
    if groups is None:
        counts = np.bincount(labels, minlength=num_classes)
    else:
        codes = np.unique(groups, return_inverse=True)[1]
        pairs = np.unique(codes * num_classes + labels)
        counts = np.bincount(pairs % num_classes, minlength=num_classes)
    return counts < num_splits


def limit_images(
    labels: np.ndarray, field: str, limit: int | None, *, num_classes: int, seed: int
) -> np.ndarray:
    """The ascending indices of a subset of a split with the same class proportions.

    Args:
        labels: int64 (count,), class indices.
        field: The configuration key of the limit, for messages.
        limit: Maximum number of images; None: all.
        num_classes: Number of classes.
        seed: The subset depends on it.
    """
    part = [_shuffle(np.flatnonzero(labels == index), seed, index) for index in range(num_classes)]
    return _select(part, field, limit)


def _target_sizes(
    sizes: np.ndarray, small: np.ndarray, *, validation_fraction: float, test_fraction: float
) -> tuple[np.ndarray, np.ndarray]:
    """The number of test and of validation images of each class; 0 for a small class."""
    test, validation, large = np.zeros_like(sizes), np.zeros_like(sizes), ~small
    if test_fraction > 0:
        count = round(test_fraction * int(sizes.sum()))
        test[large] = apportion(count, sizes[large], minimum=1, maximum=sizes[large] - 2)
    remaining = sizes - test
    validation[large] = apportion(
        round(validation_fraction * int(remaining.sum())),
        remaining[large],
        minimum=1,
        maximum=remaining[large] - 1,
    )
    return test, validation


def _shuffle(indices: np.ndarray, seed: int, index: int) -> np.ndarray:
    return np.random.default_rng(derive_seed(seed, "split", index)).permutation(indices)


def _select(part: list[np.ndarray], field: str, limit: int | None) -> np.ndarray:
    """The images of one split: of each class the first ones, up to the limit."""
    limits = _limit_counts(field, limit, np.array([len(indices) for indices in part]))
    return np.sort(
        np.concatenate([indices[:count] for indices, count in zip(part, limits, strict=True)])
    )


def apportion(total: int, sizes: np.ndarray, *, minimum: int, maximum: np.ndarray) -> np.ndarray:
    """Divide `total` among classes in proportion to their sizes, by the largest remainder method.

    Args:
        total: The sum of the result, or the nearest sum that the bounds allow.
        sizes: Images of each class.
        minimum: Lower bound for each class.
        maximum: Upper bound for each class.
    """
    exact_shares = total * sizes / sizes.sum()
    shares = np.clip(np.floor(exact_shares).astype(np.int64), minimum, maximum)
    for _ in range(abs(total - int(shares.sum()))):
        too_few = shares.sum() < total
        adjustable = shares < maximum if too_few else shares > minimum
        if not adjustable.any():
            break
        deficit = np.where(adjustable, exact_shares - shares, -np.inf if too_few else np.inf)
        shares[deficit.argmax() if too_few else deficit.argmin()] += 1 if too_few else -1
    return shares


def _limit_counts(field: str, limit: int | None, counts: np.ndarray) -> np.ndarray:
    if limit is None or limit >= counts.sum():
        return counts
    num_classes = np.count_nonzero(counts)
    if limit < num_classes:
        raise InputError(
            f"{field}: {limit} is below the number of classes, {num_classes}, and each class "
            f"needs an image; set it to {num_classes} or more"
        )
    return apportion(limit, counts, minimum=1, maximum=counts)


def _check_class_count(
    classes: Sequence[str], small: np.ndarray, *, num_splits: int, has_groups: bool
) -> None:
    """Check that at least two classes can be in all splits."""
    num_large = int((~small).sum())
    if num_large >= 2:
        return
    names = [repr(classes[index]) for index in np.flatnonzero(small).tolist()]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    unit = "groups" if has_groups else "images"
    splits = "train, validation and test" if num_splits == 3 else "train and validation"
    raise InputError(
        f"data: fewer than {num_splits} {unit} in class {', '.join(names[:5])}{more}, but two "
        f"classes or more must be in each of the splits {splits}; add images"
        f"{', or use smaller groups' if has_groups else ''}"
    )
