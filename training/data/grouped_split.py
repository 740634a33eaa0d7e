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
from phinas.experiment.seeds import seed_of

FIELD = "data.group_by"
# orders that are tried where groups hold several classes, and one split got none of some class
ATTEMPTS = 20
_SHOWN = 5
_Row = list[tuple[int, int]]  # of a group: classes with their images


def groups_of_paths(paths: Iterable[str], pattern: str) -> np.ndarray:
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
        remedy = (
            r"put the part of the path that names the object in parentheses, once, as in "
            r"([^/_]+)_\d+\.jpg$"
        )
        raise InputError(
            f"{FIELD}: {pattern!r} has {compiled.groups} capturing groups, not one; {remedy}"
        )
    found, missed = [], []
    for path in paths:
        match = compiled.search(path)
        found.append((match and match[1]) or "")
        if not found[-1]:
            missed.append(path)
    if missed:
        rest = f" and {len(missed) - _SHOWN:,} more" if len(missed) > _SHOWN else ""
        shown = f"{', '.join(missed[:_SHOWN])}{rest}"
        raise InputError(
            f"{FIELD}: {pattern!r} finds no group in {len(missed):,} of {len(found):,} paths: "
            f"{shown}; widen it"
        )
    return np.array(found)


def groups_of_values(where: str, values: Sequence[object]) -> np.ndarray:
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


def no_such(name: str, kind: str, where: str, present: Iterable[str]) -> InputError:
    """The error of a name that the data don't have."""
    return InputError(
        f"{FIELD}: {name!r} is no {kind} of {where}, only {', '.join(present) or 'none'}; name "
        "one of them"
    )


def deal_groups(
    labels: np.ndarray,
    groups: np.ndarray,
    wanted: Sequence[np.ndarray],
    *,
    classes: Sequence[str],
    seed: int,
) -> np.ndarray:
    """Of each image the split that its group is dealt to: an index of `wanted`, or its length for
    the rest.

    wanted: of each split the images of every class, one at least. Every class has a group in each
    split and in the rest; raises InputError naming a class with too few.
    """
    codes = np.unique(groups, return_inverse=True)[1]
    pairs, images = np.unique(codes * len(classes) + labels, return_counts=True)
    rows: list[_Row] = [[] for _ in range(int(codes.max()) + 1)]
    for pair, count in zip(pairs.tolist(), images.tolist(), strict=True):
        rows[pair // len(classes)].append((pair % len(classes), count))
    of_class = np.bincount(pairs % len(classes), minlength=len(classes)).tolist()
    _check(of_class, classes, least=len(wanted) + 1)
    lacking: list[int] = []
    for attempt in range(ATTEMPTS):
        order = (
            np.random.default_rng(seed_of(seed, "groups", attempt)).permutation(len(rows)).tolist()
        )
        dealing = _Dealing(rows, list(of_class), rest=len(wanted))
        lacking = [
            place
            for split, images in enumerate(wanted)
            for place in dealing.fill(split, images, order)
        ]
        if not lacking:
            return np.array(dealing.split_of)[codes]
    raise InputError(
        f"{FIELD}: groups hold several classes, and {ATTEMPTS} ways to deal them left a split "
        "without class "
        f"{classes[lacking[0]]!r}; add some of its groups, or join classes"
    )


def _check(of_class: list[int], classes: Sequence[str], *, least: int) -> None:
    small = [
        f"{name!r} ({count})"
        for name, count in zip(classes, of_class, strict=True)
        if count < least
    ]
    if small:
        names = ", ".join(small[:_SHOWN]) + (
            f" and {len(small) - _SHOWN} more" if len(small) > _SHOWN else ""
        )
        remedy = "each split needs one: add some, name a finer group, or remove the class"
        raise InputError(f"{FIELD}: fewer than {least} groups in class {names}; {remedy}")


class _Dealing:
    """The split of each group, `rest` at first; left: of each class the groups that still are in
    the rest.
    """

    def __init__(self, rows: list[_Row], left: list[int], *, rest: int) -> None:
        self.split_of = [rest] * len(rows)
        self._rows = rows
        self._left = left
        self._rest = rest

    def fill(self, split: int, wanted: np.ndarray, order: list[int]) -> list[int]:
        """Deals groups to a split; gives the classes of which it can get none."""
        target = wanted.tolist()
        lack = list(target)
        later = (
            self._rest - split
        )  # splits still to come, and the rest: each needs a group of every class
        for group in order:
            if self._is_free(group, later) and _gain(self._rows[group], lack, target) > 0:
                self._take(group, split, lack)
        for place in range(len(target)):
            if (
                lack[place] == target[place]
            ):  # its groups are larger than what is wanted: the one that harms least
                able = [
                    group
                    for group in order
                    if self._holds(group, place) and self._is_free(group, later)
                ]
                if able:
                    self._take(
                        max(able, key=lambda group: _gain(self._rows[group], lack, target)),
                        split,
                        lack,
                    )
        return [place for place in range(len(target)) if lack[place] == target[place]]

    def _holds(self, group: int, place: int) -> bool:
        return any(of == place for of, _ in self._rows[group])

    def _is_free(self, group: int, later: int) -> bool:
        return self.split_of[group] == self._rest and all(
            self._left[place] > later for place, _ in self._rows[group]
        )

    def _take(self, group: int, split: int, lack: list[int]) -> None:
        self.split_of[group] = split
        for place, images in self._rows[group]:
            lack[place] -= images
            self._left[place] -= 1


def _gain(row: _Row, lack: list[int], target: list[int]) -> float:
    """How much a group lessens the squares of what is lacking, as fractions of what is wanted: rare
    classes count alike.
    """
    return sum(images * (2 * lack[place] - images) / target[place] ** 2 for place, images in row)
