"""Images of one object (frames of a video, slices of a patient) are a group, and a group never
crosses a split.

The one decision to know: groups come in an order that the seed draws, and one is taken for the test
split, then for validation, where it brings the images of its classes nearer to what is wanted; the
rest train. Large groups are not dealt first, as scikit-learn's StratifiedGroupKFold does: the
smaller split would then hold small groups alone. (That one makes folds of one size, too, and lets a
fold go without a class.)
"""

import re
from collections.abc import Iterable, Sequence

import numpy as np

from phinas.experiment.errors import InputError
from phinas.experiment.seeds import derive_seed

FIELD = "data.group_by"
# orders that are tried where groups hold several classes, and one split got none of some class
MAX_ATTEMPTS = 20
_MAX_NAMED = 5
_ClassCounts = list[tuple[int, int]]  # of a group: classes with their images


def groups_from_paths(paths: Iterable[str], pattern: str) -> np.ndarray:
    """What `pattern` captures of each path (relative to the root of the data). Raises InputError
    for one it doesn't match.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(
            f"{FIELD}: {pattern!r} is not a regular expression ({error}); mend it"
        ) from None
    if compiled.groups != 1:
        hint = (
            r"put the part of the path that names the object in parentheses, once, as in "
            r"([^/_]+)_\d+\.jpg$"
        )
        raise InputError(
            f"{FIELD}: {pattern!r} has {compiled.groups} capturing groups, not one; {hint}"
        )
    groups, unmatched = [], []
    for path in paths:
        match = compiled.search(path)
        groups.append((match and match[1]) or "")
        if not groups[-1]:
            unmatched.append(path)
    if unmatched:
        remainder = (
            f" and {len(unmatched) - _MAX_NAMED:,} more" if len(unmatched) > _MAX_NAMED else ""
        )
        listed = f"{', '.join(unmatched[:_MAX_NAMED])}{remainder}"
        raise InputError(
            f"{FIELD}: {pattern!r} finds no group in {len(unmatched):,} of {len(groups):,} paths: "
            f"{listed}; widen it"
        )
    return np.array(groups)


def groups_from_values(where: str, values: Sequence[object]) -> np.ndarray:
    """A column's values as text. Raises InputError for missing ones and for what is neither text
    nor a whole number.
    """
    for row, value in enumerate(values):
        if value is None or value == "":
            raise InputError(
                f"{FIELD}: {where}: row {row} has none; fill it in, or remove the image"
            )
        if not isinstance(value, str | int | np.integer):
            kind = type(value).__name__
            raise InputError(
                f"{FIELD}: {where}: row {row} is a {kind}, neither text nor a whole number; name "
                "another"
            )
    return np.array([str(value) for value in values], np.str_)


def unknown_key_error(name: str, kind: str, where: str, available: Iterable[str]) -> InputError:
    """The error of a name that the data don't have."""
    return InputError(
        f"{FIELD}: {name!r} is no {kind} of {where}, only {', '.join(available) or 'none'}; name "
        "one of them"
    )


def assign_groups(
    labels: np.ndarray,
    groups: np.ndarray,
    targets: Sequence[np.ndarray],
    *,
    classes: Sequence[str],
    seed: int,
) -> np.ndarray:
    """Of each image the split that its group is dealt to: an index of `targets`, or its length for
    the rest.

    targets: of each split the images of every class, one at least. Every class has a group in each
    split and in the rest; raises InputError naming a class with too few.
    """
    codes = np.unique(groups, return_inverse=True)[1]
    pairs, images = np.unique(codes * len(classes) + labels, return_counts=True)
    rows: list[_ClassCounts] = [[] for _ in range(int(codes.max()) + 1)]
    for pair, count in zip(pairs.tolist(), images.tolist(), strict=True):
        rows[pair // len(classes)].append((pair % len(classes), count))
    groups_per_class = np.bincount(pairs % len(classes), minlength=len(classes)).tolist()
    _check_group_counts(groups_per_class, classes, minimum=len(targets) + 1)
    missing_classes: list[int] = []
    for attempt in range(MAX_ATTEMPTS):
        order = (
            np.random.default_rng(derive_seed(seed, "groups", attempt))
            .permutation(len(rows))
            .tolist()
        )
        assignment = _GroupAssignment(rows, list(groups_per_class), remainder=len(targets))
        missing_classes = [
            class_index
            for split, images in enumerate(targets)
            for class_index in assignment.fill(split, images, order)
        ]
        if not missing_classes:
            return np.array(assignment.split_of)[codes]
    raise InputError(
        f"{FIELD}: groups hold several classes, and {MAX_ATTEMPTS} ways to deal them left a split "
        "without class "
        f"{classes[missing_classes[0]]!r}; add some of its groups, or join classes"
    )


def _check_group_counts(
    groups_per_class: list[int], classes: Sequence[str], *, minimum: int
) -> None:
    too_small = [
        f"{name!r} ({count})"
        for name, count in zip(classes, groups_per_class, strict=True)
        if count < minimum
    ]
    if too_small:
        names = ", ".join(too_small[:_MAX_NAMED]) + (
            f" and {len(too_small) - _MAX_NAMED} more" if len(too_small) > _MAX_NAMED else ""
        )
        hint = "each split needs one: add some, name a finer group, or remove the class"
        raise InputError(f"{FIELD}: fewer than {minimum} groups in class {names}; {hint}")


class _GroupAssignment:
    """The split of each group, `remainder` at first; groups_left: of each class the groups that
    still are in the rest.
    """

    def __init__(self, rows: list[_ClassCounts], groups_left: list[int], *, remainder: int) -> None:
        self.split_of = [remainder] * len(rows)
        self._rows = rows
        self._groups_left = groups_left
        self._remainder = remainder

    def fill(self, split: int, images_per_class: np.ndarray, order: list[int]) -> list[int]:
        """Deals groups to a split; gives the classes of which it can get none."""
        target = images_per_class.tolist()
        deficit = list(target)
        # splits still to come, and the rest: each needs a group of every class
        remaining_splits = self._remainder - split
        for group in order:
            if (
                self._is_free(group, remaining_splits)
                and _gain(self._rows[group], deficit, target) > 0
            ):
                self._assign(group, split, deficit)
        for class_index in range(len(target)):
            # its groups are larger than what is wanted: the one that harms least
            if deficit[class_index] == target[class_index]:
                candidates = [
                    group
                    for group in order
                    if self._has_class(group, class_index)
                    and self._is_free(group, remaining_splits)
                ]
                if candidates:
                    self._assign(
                        max(
                            candidates, key=lambda group: _gain(self._rows[group], deficit, target)
                        ),
                        split,
                        deficit,
                    )
        return [
            class_index
            for class_index in range(len(target))
            if deficit[class_index] == target[class_index]
        ]

    def _has_class(self, group: int, class_index: int) -> bool:
        return any(index == class_index for index, _ in self._rows[group])

    def _is_free(self, group: int, remaining_splits: int) -> bool:
        return self.split_of[group] == self._remainder and all(
            self._groups_left[class_index] > remaining_splits
            for class_index, _ in self._rows[group]
        )

    def _assign(self, group: int, split: int, deficit: list[int]) -> None:
        self.split_of[group] = split
        for class_index, images in self._rows[group]:
            deficit[class_index] -= images
            self._groups_left[class_index] -= 1


def _gain(row: _ClassCounts, deficit: list[int], target: list[int]) -> float:
    """How much a group lessens the squares of what is lacking, as fractions of what is wanted: rare
    classes count alike.
    """
    return sum(
        images * (2 * deficit[class_index] - images) / target[class_index] ** 2
        for class_index, images in row
    )
