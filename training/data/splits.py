"""Which images train, which steer the search, which judge its end: stratified, and decided by the
seed alone.

The one decision to know: the images of each class are shuffled once, by a generator of that class;
the test images are the first of them, the validation images the next, the rest train, and a limit
keeps the first of its part. So a limit that is raised only adds images, and changes neither of the
other two splits. Where images come in groups (phinas.training.data.grouped_split), whole groups
take the place of the first and the next; the rest holds as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from phinas.experiment.errors import InputError
from phinas.experiment.seeds import seed_of
from phinas.training.data.grouped_split import deal_groups


@dataclass(frozen=True)
class Split:
    """Indices of images, ascending. `test` is empty where the data bring a test split of their own,
    or none is wanted.
    """

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
    train_limit: int | None = None,
    validation_limit: int | None = None,
) -> Split:
    """Every class has at least one image in each split that is wanted.

    groups: of each image; none of them crosses a split. test_fraction: of all images;
    validation_fraction: of the rest (both as nearly as groups allow). Limits are shared among the
    classes in proportion to their images, and may cut a group. Raises InputError for a class with
    too few images or groups, or a limit below the number of classes.
    """
    sizes = np.bincount(labels, minlength=len(classes))
    wanted = 3 if test_fraction > 0 else 2
    _check_sizes(sizes, classes, wanted=wanted)
    none = np.zeros_like(sizes)
    test = (
        share(round(test_fraction * len(labels)), sizes, least=1, most=sizes - 2)
        if wanted == 3
        else none
    )
    rest = sizes - test
    validation = share(round(validation_fraction * int(rest.sum())), rest, least=1, most=rest - 1)
    orders = [
        _shuffled(np.flatnonzero(labels == index), seed, index) for index in range(len(classes))
    ]
    if groups is None:
        ends = zip(orders, test.tolist(), (test + validation).tolist(), strict=True)
        parts = [
            (order[second:], order[first:second], order[:first]) for order, first, second in ends
        ]
    else:
        targets = [test, validation] if wanted == 3 else [validation]
        dealt = deal_groups(labels, groups, targets, classes=classes, seed=seed)
        places = (
            len(targets),
            len(targets) - 1,
            0 if wanted == 3 else -1,
        )  # of train, validation and test
        parts = [tuple(order[dealt[order] == place] for place in places) for order in orders]
    limits = (
        ("data.train_limit", train_limit),
        ("data.validation_limit", validation_limit),
        ("", None),
    )
    return Split(*(_cut([of[place] for of in parts], *limit) for place, limit in enumerate(limits)))


def _shuffled(indices: np.ndarray, seed: int, index: int) -> np.ndarray:
    return np.random.default_rng(seed_of(seed, "split", index)).permutation(indices)


def _cut(part: list[np.ndarray], field: str, limit: int | None) -> np.ndarray:
    """The images of one split, of each class the first that its limit leaves."""
    kept = _limited(field, limit, np.array([len(of) for of in part]))
    return np.sort(np.concatenate([of[:count] for of, count in zip(part, kept, strict=True)]))


def share(total: int, sizes: np.ndarray, *, least: int, most: np.ndarray) -> np.ndarray:
    """`total` shared among classes in proportion to their sizes, from `least` to `most` each
    (largest remainders first).

    The sum is `total`, unless the bounds forbid it; then it is the nearest sum that they allow.
    """
    ideal = total * sizes / sizes.sum()
    given = np.clip(np.floor(ideal).astype(np.int64), least, most)
    for _ in range(abs(total - int(given.sum()))):
        more = given.sum() < total
        movable = given < most if more else given > least
        if not movable.any():
            break
        lack = np.where(movable, ideal - given, -np.inf if more else np.inf)
        given[lack.argmax() if more else lack.argmin()] += 1 if more else -1
    return given


def _limited(field: str, limit: int | None, counts: np.ndarray) -> np.ndarray:
    if limit is None or limit >= counts.sum():
        return counts
    if limit < len(counts):
        raise InputError(
            f"{field}: {limit} is below the {len(counts)} classes; each needs an image, so give "
            f"{len(counts)} or more"
        )
    return share(limit, counts, least=1, most=counts)


def _check_sizes(sizes: np.ndarray, classes: Sequence[str], *, wanted: int) -> None:
    small = [
        f"{name!r} ({size})" for name, size in zip(classes, sizes, strict=True) if size < wanted
    ]
    if small:
        names = ", ".join(small[:5]) + (f" and {len(small) - 5} more" if len(small) > 5 else "")
        use = "train, validate and test" if wanted == 3 else "train and validate"
        raise InputError(
            f"data: fewer than {wanted} images in class {names}; {use} need one each: add some or "
            "remove the class"
        )
