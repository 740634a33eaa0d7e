"""A folder with one folder of images per class, or with split folders of those.

The split folders are `train` and `test` (or `val`). Every file below a class folder counts as an
image, except dotfiles and the text formats that often accompany images. So an image in an
unsupported format is reported as a bad image, not skipped silently.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from phinas.experiment.errors import InputError
from phinas.training.data.grouped_split import groups_from_paths
from phinas.training.data.source_dataset import (
    ImageContent,
    SourceDataset,
    SourceSplit,
    printable,
)

SPLITS = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "validation": ("val", "validation", "valid"),
}
IGNORED_SUFFIXES = (".txt", ".json", ".csv", ".xml", ".md", ".ini", ".db", ".yaml", ".yml")


def list_class_folders(root: Path, *, group_by: str | None = None) -> SourceDataset:
    """List the images below a folder, without decoding them.

    Args:
        root: The folder. Its `val` folder is the official test split if it has no `test` folder.
        group_by: A regular expression that captures the group in the path below `root`.

    Raises:
        InputError: There are no class folders, one is empty, or the splits differ in their classes.
    """
    split_folders = _split_folders(root)
    train = _images_by_class(split_folders.get("train", root))
    test_folder = split_folders.get("test") or split_folders.get("validation")
    test = _images_by_class(test_folder) if test_folder else None
    if test_folder and test is not None and set(train) != set(test):
        problems = [
            f"{test_folder.name} has no class {printable(name)!r}"
            for name in train
            if name not in test
        ]
        problems += [
            f"{split_folders['train'].name} has no class {printable(name)!r}"
            for name in test
            if name not in train
        ]
        raise InputError(
            f"{root}: the splits have different classes ({', '.join(problems[:5])}); add the "
            "missing class folders, or remove the others"
        )
    return SourceDataset(
        tuple(map(printable, train)),
        _make_split(root, train, group_by),
        None if test is None else _make_split(root, test, group_by),
    )


def _split_folders(root: Path) -> dict[str, Path]:
    """The folders of the splits. Empty unless there is a train folder with class folders.

    A folder `train` without class folders is a class of this name.
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
    """The sorted files of each class.

    Raises:
        InputError: There are no class folders, or one is empty.
    """
    folders = _subfolders(root)
    if not folders:
        has_files = any(path.is_file() and not path.name.startswith(".") for path in root.iterdir())
        problem = "contains files but no class folders" if has_files else "is empty"
        raise InputError(
            f"{root}: {problem}; put the images of each class into a folder with the name of the "
            "class"
        )
    images = {
        folder.name: list(
            _walk(folder, _ancestors(root) | _ancestors(folder) - {_identity(folder)})
        )
        for folder in folders
    }
    empty = [printable(name) for name, files in images.items() if not files]
    if empty:
        folders_text = "class folder" if len(empty) == 1 else "class folders"
        raise InputError(
            f"{root}: no image in the {folders_text} {', '.join(empty[:5])}; add images, or remove "
            "the folder"
        )
    return images


def _identity(folder: Path) -> tuple[int, int]:
    """Device and inode, which are the same for all links to a folder."""
    status = folder.stat()
    return status.st_dev, status.st_ino


def _ancestors(folder: Path) -> set[tuple[int, int]]:
    """The identities of a folder and of its parents."""
    return {_identity(path) for path in (folder, *folder.resolve().parents)}


def _walk(folder: Path, visited: set[tuple[int, int]]) -> Iterator[Path]:
    """The files below a folder in sorted order.

    Links are followed, but no folder is visited twice, so links cannot make a loop.

    Args:
        folder: The folder.
        visited: Identities of the folders that are not visited. Is extended.
    """
    identity = _identity(folder)
    if identity in visited:
        return
    visited.add(identity)
    with os.scandir(folder) as entries:
        visible_entries = sorted(
            (entry for entry in entries if not entry.name.startswith(".")),
            key=lambda entry: entry.name,
        )
    for entry in visible_entries:
        path = folder / entry.name
        if _is_folder(entry):
            yield from _walk(path, visited)
        # A link to nothing is a bad image; a pipe or socket is skipped.
        elif (
            entry.is_symlink() or entry.is_file()
        ) and path.suffix.lower() not in IGNORED_SUFFIXES:
            yield path


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # A link to itself, which is a bad image like a link to nothing.
        return False


def _make_split(root: Path, images: dict[str, list[Path]], group_by: str | None) -> SourceSplit:
    """The images as a split, in the order of the class names."""
    names = sorted(images)
    files = [path for name in names for path in images[name]]
    labels = np.repeat(np.arange(len(names), dtype=np.int64), [len(images[name]) for name in names])

    def iter_images() -> Iterator[tuple[str, ImageContent]]:
        return ((printable(str(path.relative_to(root))), path) for path in files)

    paths = (printable(path.relative_to(root).as_posix()) for path in files)
    return SourceSplit(
        labels, iter_images, None if group_by is None else groups_from_paths(paths, group_by)
    )
