"""Splits in which all images of a group, such as the frames of a video, are in one split.

Groups are visited in a random order. A group is assigned to the test split, then to validation, if
that brings the split closer to its target number of images per class. The rest is for training.

scikit-learn's StratifiedGroupKFold assigns the largest groups first, after which the smaller splits
would have small groups only. It also makes folds of one size, and a fold may lack a class.
"""

import re
from collections.abc import Iterable, Sequence

import numpy as np

from phinas.experiment.errors import InputError
from phinas.experiment.seeds import derive_seed

FIELD = "data.group_by"
# If groups have images of several classes, an order may leave a split without a class. Then another
# order is tried.
MAX_ATTEMPTS = 20
_MAX_NAMED = 5
_ClassCounts = list[tuple[int, int]]  # (class index, images) for each class of a group


def groups_from_paths(paths: Iterable[str], pattern: str) -> np.ndarray:
    """The group that a regular expression captures in each path.

    Args:
        paths: Paths relative to the folder of the data.
        pattern: A regular expression with one capturing group.

    Raises:
        InputError: The pattern is not such an expression, or finds no group in a path.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(
            f"{FIELD}: {pattern!r} is not a regular expression ({error}); correct it"
        ) from None
    if compiled.groups != 1:
        example = r"([^/_]+)_\d+\.jpg$"
        raise InputError(
            f"{FIELD}: {pattern!r} has {compiled.groups} capturing groups, not one; put "
            f"parentheses around the part of the path that names the group, as in {example}"
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
            f"{listed}; change it so that it matches every path"
        )
    return np.array(groups)


def groups_from_values(where: str, values: Sequence[object]) -> np.ndarray:
    """The values of a column as text.

    Args:
        where: File and column, for messages.
        values: One value for each image.

    Raises:
        InputError: A value is missing, or is neither text nor an integer.
    """
    for row, value in enumerate(values):
        if value is None or value == "":
            raise InputError(
                f"{FIELD}: {where}: row {row} has no value; add it, or remove the image"
            )
        if not isinstance(value, str | int | np.integer):
            kind = type(value).__name__
            raise InputError(
                f"{FIELD}: {where}: row {row} is a {kind}, not text or an integer; use another "
                "column"
            )
    return np.array([str(value) for value in values], np.str_)


def unknown_key_error(name: str, kind: str, where: str, available: Iterable[str]) -> InputError:
    """The error that a data source has no column or key of this name.

    Args:
        name: The value of `data.group_by`.
        kind: "column" or "key".
        where: The source.
        available: The names that the source has.
    """
    return InputError(
        f"{FIELD}: {where} has no {kind} {name!r}; use one of: {', '.join(available) or 'none'}"
    )


def assign_groups(
    labels: np.ndarray,
    groups: np.ndarray,
    targets: Sequence[np.ndarray],
    *,
    classes: Sequence[str],
    seed: int,
) -> np.ndarray:
    """Assign each group to a split. Every class has a group in each split and in the rest.

    A class whose targets are 0 is in the rest only, with all its groups.

    Args:
        labels: int64 (count,), class indices.
        groups: The group of each image.
        targets: For each split, the target number of images of every class. A class has at least 1
            in each split, or 0 in all of them.
        classes: Class names.
        seed: Determines the order of the groups.

    Returns:
        For each image the index of its split in `targets`, or `len(targets)` for the rest.

    Raises:
        InputError: No order gave every split all classes.
    """
    codes = np.unique(groups, return_inverse=True)[1]
    pairs, images = np.unique(codes * len(classes) + labels, return_counts=True)
    rows: list[_ClassCounts] = [[] for _ in range(int(codes.max()) + 1)]
    for pair, count in zip(pairs.tolist(), images.tolist(), strict=True):
        rows[pair // len(classes)].append((pair % len(classes), count))
    groups_per_class = np.bincount(pairs % len(classes), minlength=len(classes)).tolist()
    is_large_class = (targets[0] > 0).tolist()
    movable = [all(is_large_class[class_index] for class_index, _ in row) for row in rows]
    missing_classes: list[int] = []
    for attempt in range(MAX_ATTEMPTS):
        generator = np.random.default_rng(derive_seed(seed, "groups", attempt))
        order = [group for group in generator.permutation(len(rows)).tolist() if movable[group]]
        assignment = _GroupAssignment(rows, list(groups_per_class), remainder=len(targets))
        missing_classes = [
            class_index
            for split, images in enumerate(targets)
            for class_index in assignment.fill(split, images, order)
        ]
        if not missing_classes:
            return np.array(assignment.split_of)[codes]
    raise InputError(
        f"{FIELD}: some groups, or copies of one image, have several classes, and none of "
        f"{MAX_ATTEMPTS} random assignments of groups gave every split all classes (the last one "
        f"lacked class {classes[missing_classes[0]]!r}); add groups of this class, correct the "
        "labels, or merge classes"
    )


class _GroupAssignment:
    """The split of each group, which is the rest at first.

    Args:
        rows: The class counts of each group.
        groups_left: For each class, the number of groups in the rest. Is modified.
        remainder: The number of the rest.
    """

    def __init__(self, rows: list[_ClassCounts], groups_left: list[int], *, remainder: int) -> None:
        self.split_of = [remainder] * len(rows)
        self._rows = rows
        self._groups_left = groups_left
        self._remainder = remainder

    def fill(self, split: int, images_per_class: np.ndarray, order: list[int]) -> list[int]:
        """Assign groups to a split, in the given order, up to its target.

        Returns:
            The classes of which the split has no group.
        """
        target = images_per_class.tolist()
        deficit = list(target)
        # The later splits and the rest need a group of every class each.
        remaining_splits = self._remainder - split
        for group in order:
            if (
                self._is_free(group, remaining_splits)
                and _gain(self._rows[group], deficit, target) > 0
            ):
                self._assign(group, split, deficit)
        for class_index in range(len(target)):
            if deficit[class_index] < target[class_index] or target[class_index] == 0:
                continue
            # Every group of this class exceeds the target by far. Take the one that does the least
            # harm.
            candidates = [
                group
                for group in order
                if self._has_class(group, class_index) and self._is_free(group, remaining_splits)
            ]
            if candidates:
                gains = [_gain(self._rows[group], deficit, target) for group in candidates]
                self._assign(candidates[gains.index(max(gains))], split, deficit)
        return [
            class_index
            for class_index in range(len(target))
            if deficit[class_index] == target[class_index] > 0
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
    """The decrease of the sum of squared deficits if the group is added to the split.

    Deficits are relative to the targets, so rare classes count like common ones.
    """
    return sum(
        images * (2 * deficit[class_index] - images) / target[class_index] ** 2
        for class_index, images in row
    )
