"""A folder with one folder a class; or `train` and `test` (or `val`) with one folder a class each.

The one decision to know: every file below a class folder counts as an image of that class, but for
dotfiles and the few kinds of text that come along with images; so a picture in a format that cannot
be read is told, not passed over.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from phinas.experiment.errors import InputError
from phinas.training.data.decoding import Content, Listing, Part
from phinas.training.data.grouped_split import groups_of_paths

SPLITS = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "validation": ("val", "validation", "valid"),
}
COMPANIONS = (".txt", ".json", ".csv", ".xml", ".md", ".ini", ".db", ".yaml", ".yml")


def list_class_folders(root: Path, *, group_by: str | None = None) -> Listing:
    """The images below `root`. A `val` or `validation` folder is the official test split where
    there is no `test`.

    group_by: a regular expression that captures what names an image's group in its path below
    `root`."""
    splits = _splits(root)
    if "train" not in splits:
        train = _images_by_class(root)
        return Listing(tuple(map(shown, train)), _part(root, train, group_by), None)
    train = _images_by_class(splits["train"])
    held_out = splits.get("test") or splits.get("validation")
    if held_out is None:
        return Listing(tuple(map(shown, train)), _part(root, train, group_by), None)
    test = _images_by_class(held_out)
    if set(train) != set(test):
        wrong = [
            f"{held_out.name} has no class {shown(name)!r}" for name in train if name not in test
        ]
        wrong += [
            f"{splits['train'].name} has no class {shown(name)!r}"
            for name in test
            if name not in train
        ]
        raise InputError(f"{root}: the splits differ in their classes: {'; '.join(wrong[:5])}")
    return Listing(
        tuple(map(shown, train)), _part(root, train, group_by), _part(root, test, group_by)
    )


def shown(name: str) -> str:
    """A file's name as it may stand in one line of text."""
    return name if name.isprintable() else ascii(name)[1:-1]


def _splits(root: Path) -> dict[str, Path]:
    """Folders named for a split, if there is one for training that holds class folders (a class may
    be called `train`).
    """
    folders = {path.name.lower(): path for path in _subfolders(root)}
    found = {
        split: folders[name]
        for split, names in SPLITS.items()
        for name in reversed(names)
        if name in folders
    }
    return found if "train" in found and _subfolders(found["train"]) else {}


def _subfolders(root: Path) -> list[Path]:
    with os.scandir(root) as entries:
        return sorted(
            root / entry.name
            for entry in entries
            if not entry.name.startswith(".") and entry.is_dir()
        )


def _images_by_class(root: Path) -> dict[str, list[Path]]:
    """Class name to sorted files. Raises InputError for no classes and for empty ones."""
    folders = _subfolders(root)
    if not folders:
        loose = any(path.is_file() and not path.name.startswith(".") for path in root.iterdir())
        what = "holds files but no class folders" if loose else "is empty"
        raise InputError(
            f"{root}: {what}; put the images of each class into a folder named for the class"
        )
    images = {
        folder.name: list(_walk(folder, _above(root) | _above(folder) - {_identity(folder)}))
        for folder in folders
    }
    empty = [shown(name) for name, files in images.items() if not files]
    if empty:
        raise InputError(
            f"{root}: no image in the class folder {', '.join(empty[:5])}; fill or remove it"
        )
    return images


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _above(folder: Path) -> set[tuple[int, int]]:
    """A folder and all that it lies in."""
    return {_identity(path) for path in (folder, *folder.resolve().parents)}


def _walk(folder: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    """Files below a folder in sorted order, links followed; a folder that was seen, or lies above,
    is not entered again.
    """
    identity = _identity(folder)
    if identity in seen:
        return
    seen.add(identity)
    with os.scandir(folder) as entries:
        found = sorted(
            (entry for entry in entries if not entry.name.startswith(".")),
            key=lambda entry: entry.name,
        )
    for entry in found:
        path = folder / entry.name
        if _is_folder(entry):
            yield from _walk(path, seen)
        elif (entry.is_symlink() or entry.is_file()) and path.suffix.lower() not in COMPANIONS:
            yield path


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: a bad image, like a link to nothing
        return False


def _part(root: Path, images: dict[str, list[Path]], group_by: str | None) -> Part:
    """Images in the order of their classes' names."""
    names = sorted(images)
    files = [path for name in names for path in images[name]]
    labels = np.repeat(np.arange(len(names), dtype=np.int64), [len(images[name]) for name in names])

    def read() -> Iterator[tuple[str, Content]]:
        return ((shown(str(path.relative_to(root))), path) for path in files)

    paths = (shown(path.relative_to(root).as_posix()) for path in files)
    return Part(labels, read, None if group_by is None else groups_of_paths(paths, group_by))
