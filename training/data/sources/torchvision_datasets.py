"""Data sets of torchvision by name (`torchvision:NAME`, or `torchvision:NAME:ROOT` where they lie
on disk already).

The one decision to know: what a class is asked follows from its signature (`train` or `split`,
`root`, `download`), not from a list of names. A ROOT that is given is only read; without one, data
are downloaded once into the machine's cache. torchvision decodes by itself, so its images are not
cached again, and one it can't read is a bad image like any other.
"""

import contextlib
import inspect
import sys
from collections.abc import Iterator
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from phinas.experiment.errors import InputError
from phinas.training.data.cache import cache_root
from phinas.training.data.decoding import Content, Listing, Part
from phinas.training.data.sources.parquet import check_range

PREFIX = "torchvision:"
TRAIN = ("train", "trainval")
HELD_OUT = ("test", "val", "valid")
LABELS = (
    "targets",
    "labels",
    "y",
    "_labels",
)  # where the classes keep them; else the images tell, one by one


def list_torchvision(source: str, *, group_by: str | None = None) -> Listing:
    """The splits of `torchvision:NAME[:ROOT]`: train, and test (or validation) where the class has
    one.

    Raises InputError where torchvision is missing, has no such data set, or its data can't be had.
    """
    if group_by is not None:
        raise InputError(f"data.group_by: {group_by!r}, and {source} has no columns; leave it out")
    name, _, root = source.removeprefix(PREFIX).partition(":")
    kind = _kind(source, name)
    asked = set(inspect.signature(kind).parameters)
    given: dict[str, Any] = {
        "root": str(Path(root).expanduser() if root else cache_root() / "torchvision")
    }
    given = {key: value for key, value in (given | {"download": not root}).items() if key in asked}
    if "train" in asked:
        found = [_open(source, kind, given | {"train": train}) for train in (True, False)]
    elif "split" in asked:
        found = [_first(source, kind, given, splits) for splits in (TRAIN, HELD_OUT)]
    else:
        found = [_open(source, kind, given)]
    labels = [_labels(source, each) for each in found]
    classes = _class_names(found[0], most=max(int(of.max(initial=0)) for of in labels))
    for of in labels:
        check_range(of, classes, where=f"data.source: {source}: label")
    parts = [_part(each, of) for each, of in zip(found, labels, strict=True)]
    return Listing(classes, parts[0], parts[1] if len(parts) == 2 else None)


def _kind(source: str, name: str) -> Any:
    try:
        from torchvision import datasets
    except ImportError:
        raise InputError(
            f"data.source: {source} needs torchvision; pip install 'phinas[peers]'"
        ) from None
    except RuntimeError as error:  # a build for another torch: its operators are not there
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"data.source: {source}: torchvision does not load ({reason}); install the one of "
            "this torch"
        ) from None
    kinds = {key: value for key, value in vars(datasets).items() if inspect.isclass(value)}
    sets = {key: value for key, value in kinds.items() if issubclass(value, datasets.VisionDataset)}
    if name in sets:
        return sets[name]
    names = {known.lower(): known for known in sets}
    near = get_close_matches(name.lower(), names, n=1)
    remedy = (
        f"did you mean {names[near[0]]!r}?"
        if near
        else "give CIFAR10, MNIST, Flowers102 or another of torchvision.datasets"
    )
    raise InputError(f"data.source: {source}: torchvision has no data set {name!r}; {remedy}")


def _open(source: str, kind: Any, given: dict[str, Any]) -> Any:
    try:
        with contextlib.redirect_stdout(
            sys.stderr
        ):  # it may tell of its downloads; results alone go to standard output
            return kind(**given)
    except Exception as error:  # whatever the network, a file or the class makes it raise
        reason = " ".join(str(error).split())[:200] or "no reason given"
        where = given.get("root", "its data")
        raise InputError(
            f"data.source: {source} can't be had ({type(error).__name__}: {reason}); see to "
            f"{where}, or name another ROOT"
        ) from error


def _first(source: str, kind: Any, given: dict[str, Any], splits: tuple[str, ...]) -> Any:
    """The first of the splits that the class knows: it refuses others with a ValueError."""
    for split in splits:
        try:
            return _open(source, kind, given | {"split": split})
        except InputError as error:
            if not isinstance(error.__cause__, ValueError) or split == splits[-1]:
                raise
    raise AssertionError("unreachable: the last split returns or raises")


def _labels(source: str, found: Any) -> np.ndarray:
    values = next((getattr(found, name) for name in LABELS if hasattr(found, name)), None)
    if values is None:
        values = [found[index][1] for index in range(len(found))]
    labels = np.asarray(values)
    if labels.shape != (len(found),) or labels.dtype.kind not in "iu":
        raise InputError(
            f"data.source: {source}: its labels are {labels.dtype} of {labels.shape}, not one "
            "class an image"
        )
    return labels.astype(np.int64)


def _class_names(found: Any, *, most: int) -> tuple[str, ...]:
    names = [
        name if isinstance(name, str) else ", ".join(name) for name in getattr(found, "classes", ())
    ]
    return tuple(names) if len(names) > most else tuple(map(str, range(most + 1)))


def _part(found: Any, labels: np.ndarray) -> Part:
    def image(index: int) -> Any:
        return found[index][0]

    def read() -> Iterator[tuple[str, Content]]:
        return ((f"image {index}", partial(image, index)) for index in range(len(found)))

    return Part(labels, read, encoded=False)
