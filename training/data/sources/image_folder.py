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
from phinas.training.data.decoding import ImageContent, SourceDataset, SourceSplit
from phinas.training.data.grouped_split import groups_from_paths

SPLITS = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "validation": ("val", "validation", "valid"),
}
IGNORED_SUFFIXES = (".txt", ".json", ".csv", ".xml", ".md", ".ini", ".db", ".yaml", ".yml")


def list_class_folders(root: Path, *, group_by: str | None = None) -> SourceDataset:
    """The images below `root`. A `val` or `validation` folder is the official test split where
    there is no `test`.

    group_by: a regular expression that captures what names an image's group in its path below
    `root`."""
    splits = _splits(root)
    if "train" not in splits:
        train = _images_by_class(root)
        return SourceDataset(tuple(map(printable, train)), _make_split(root, train, group_by), None)
    train = _images_by_class(splits["train"])
    test_folder = splits.get("test") or splits.get("validation")
    if test_folder is None:
        return SourceDataset(tuple(map(printable, train)), _make_split(root, train, group_by), None)
    test = _images_by_class(test_folder)
    if set(train) != set(test):
        problems = [
            f"{test_folder.name} has no class {printable(name)!r}"
            for name in train
            if name not in test
        ]
        problems += [
            f"{splits['train'].name} has no class {printable(name)!r}"
            for name in test
            if name not in train
        ]
        raise InputError(f"{root}: the splits differ in their classes: {'; '.join(problems[:5])}")
    return SourceDataset(
        tuple(map(printable, train)),
        _make_split(root, train, group_by),
        _make_split(root, test, group_by),
    )


def printable(name: str) -> str:
    """A file's name as it may stand in one line of text."""
    return name if name.isprintable() else ascii(name)[1:-1]


def _splits(root: Path) -> dict[str, Path]:
    """Folders named for a split, if there is one for training that holds class folders (a class may
    be called `train`).
    """
    folders = {path.name.lower(): path for path in _subfolders(root)}
    split_folders = {
        split: folders[name]
        for split, names in SPLITS.items()
        for name in reversed(names)
        if name in folders
    }
    return split_folders if "train" in split_folders and _subfolders(split_folders["train"]) else {}


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
        has_files = any(path.is_file() and not path.name.startswith(".") for path in root.iterdir())
        problem = "holds files but no class folders" if has_files else "is empty"
        raise InputError(
            f"{root}: {problem}; put the images of each class into a folder named for the class"
        )
    images = {
        folder.name: list(
            _walk(folder, _ancestors(root) | _ancestors(folder) - {_identity(folder)})
        )
        for folder in folders
    }
    empty = [printable(name) for name, files in images.items() if not files]
    if empty:
        raise InputError(
            f"{root}: no image in the class folder {', '.join(empty[:5])}; fill or remove it"
        )
    return images


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _ancestors(folder: Path) -> set[tuple[int, int]]:
    """A folder and all that it lies in."""
    return {_identity(path) for path in (folder, *folder.resolve().parents)}


def _walk(folder: Path, visited: set[tuple[int, int]]) -> Iterator[Path]:
    """Files below a folder in sorted order, links followed; a folder that was seen, or lies above,
    is not entered again.
    """
    identity = _identity(folder)
    if identity in visited:
        return
    visited.add(identity)
    with os.scandir(folder) as entries:
        entries_found = sorted(
            (entry for entry in entries if not entry.name.startswith(".")),
            key=lambda entry: entry.name,
        )
    for entry in entries_found:
        path = folder / entry.name
        if _is_folder(entry):
            yield from _walk(path, visited)
        elif (
            entry.is_symlink() or entry.is_file()
        ) and path.suffix.lower() not in IGNORED_SUFFIXES:
            yield path


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: a bad image, like a link to nothing
        return False


def _make_split(root: Path, images: dict[str, list[Path]], group_by: str | None) -> SourceSplit:
    """Images in the order of their classes' names."""
    names = sorted(images)
    files = [path for name in names for path in images[name]]
    labels = np.repeat(np.arange(len(names), dtype=np.int64), [len(images[name]) for name in names])

    def iter_images() -> Iterator[tuple[str, ImageContent]]:
        return ((printable(str(path.relative_to(root))), path) for path in files)

    paths = (printable(path.relative_to(root).as_posix()) for path in files)
    return SourceSplit(
        labels, iter_images, None if group_by is None else groups_from_paths(paths, group_by)
    )
