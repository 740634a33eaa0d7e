"""A folder with one folder of images per class, or with split folders of those.

The split folders are `train`, `val` and `test`, or have similar names. A split folder without
class folders, such as the test images of ImageNet, has no labels and is not used.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from phinas.experiment.errors import InputError
from phinas.training.data.folder_layout import check_layout
from phinas.training.data.folder_listing import (
    SkippedFiles,
    count_files,
    find_class_folders,
    identity,
    subfolders,
    unwrap,
    walk,
)
from phinas.training.data.foreign_formats import describe_files
from phinas.training.data.grouped_split import groups_from_paths
from phinas.training.data.labeling.labels import describe_unlabeled
from phinas.training.data.labeling.split_names import select_splits
from phinas.training.data.source_dataset import (
    ImageContent,
    ReadOptions,
    SourceDataset,
    SourceSplit,
    list_names,
    printable,
)

ClassFiles = dict[str, list[Path]]  # The sorted files of each class.


def list_class_folders(root: Path, options: ReadOptions) -> SourceDataset:
    """List the images below a folder, without decoding them.

    Args:
        root: The folder.
        options: `group_by` is a regular expression that captures the group in the path below
            `root`.

    Raises:
        InputError: There are no class folders, one is empty, or a split has a class that the train
            split lacks.
    """
    options.refuse(root, "image_column", "label_column", reason="has folders instead of columns")
    skipped, notes = SkippedFiles(), []
    inner = unwrap(root)
    if inner != root:
        notes.append(f"the classes are read from the folder {_relative(inner, root)}")
    folders = _split_folders(inner)
    scanned = {root, inner, *folders.values()} - {folders.get("test")}
    for folder in sorted(scanned):
        skipped.scan(folder)
    train = _list_train(folders.get("train", inner), skipped, root=root)
    splits = {"train": train}
    for split in ("validation", "test"):
        if split in folders:
            files = _list_split(folders[split], train, skipped, notes, root=root)
            if files is not None:
                splits[split] = files
    if folders:
        unused = [path for path in subfolders(inner) if not _contains_any(path, folders)]
        if unused:
            names = list_names(_relative(path, root) for path in unused)
            notes.append(f"not used, because the name is not that of a split: {names}")
    notes += skipped.describe()
    made = {
        split: _make_split(root, files, sorted(train), options.group_by)
        for split, files in splits.items()
    }
    return SourceDataset(
        tuple(map(printable, sorted(train))),
        made["train"],
        test=made.get("test"),
        validation=made.get("validation"),
        validation_name=_relative(folders["validation"], root) if "validation" in made else "",
        notes=tuple(notes),
    )


def _relative(path: Path, root: Path) -> str:
    return printable(str(path.relative_to(root.parent)))


def _contains_any(folder: Path, folders: dict[str, Path]) -> bool:
    return any(path.is_relative_to(folder) for path in folders.values())


def _split_folders(root: Path) -> dict[str, Path]:
    """The folders of the splits. Empty unless there is a train folder with class folders.

    A folder `train` without class folders is a class of this name.
    """
    names = select_splits(path.name for path in subfolders(root))
    folders = {split: unwrap(root / name) for split, name in names.items()}
    return folders if "train" in folders and subfolders(folders["train"]) else {}


def _list_train(folder: Path, skipped: SkippedFiles, *, root: Path) -> ClassFiles:
    """The files of each class.

    Raises:
        InputError: There are no class folders, one is empty, or one is nested in itself.
    """
    class_folders = subfolders(folder)
    check_layout(root, folder, class_folders)
    files = _list_files(folder, class_folders, skipped)
    empty = [name for name, paths in files.items() if not paths]
    nested = [
        path
        for path in class_folders
        if (path / path.name).is_dir() and len(subfolders(path / path.name)) > 1
    ]
    if not empty and not nested:
        return files
    if empty:
        folders_text = "class folder" if len(empty) == 1 else "class folders"
        problem = f"no image in the {folders_text} {list_names(empty)}"
    else:
        problem = f"the class folder {printable(nested[0].name)} has a folder of its own name"
    likely = find_class_folders(folder)
    advice = "add images, or remove the folder"
    foreign = describe_files(list((folder / empty[0]).iterdir())) if empty else None
    if foreign is not None and likely is None:
        problem, advice = f"the class folder {printable(empty[0])} {foreign[0]}", foreign[1]
    if likely is not None:
        names = list_names(path.name for path in class_folders)
        advice = (
            f"the classes were taken from the folders {names}; did you mean "
            f"{printable(str(likely[0]))} ({likely[1]} folders with images)?"
        )
    raise InputError(f"{root}: {problem}; {advice}")


def _list_split(
    folder: Path, train: ClassFiles, skipped: SkippedFiles, notes: list[str], *, root: Path
) -> ClassFiles | None:
    """The files of each class of a validation or test split. None if they have no labels.

    Raises:
        InputError: The split has a class that the train split lacks.
    """
    class_folders = subfolders(folder)
    names = {path.name for path in class_folders}
    if not names or (len(names) == 1 and not names & train.keys()):
        notes.append(describe_unlabeled(_relative(folder, root), count_files(folder)))
        return None
    files = {
        name: paths for name, paths in _list_files(folder, class_folders, skipped).items() if paths
    }
    unknown = sorted(files.keys() - train.keys())
    if unknown:
        spellings = {name.casefold(): name for name in train}
        other = [spellings[name.casefold()] for name in unknown if name.casefold() in spellings]
        advice = (
            f"rename the folders like those of the train split ({list_names(map(repr, other))})"
            if other
            else "add training images, or remove the folder"
        )
        raise InputError(
            f"{root}: the splits have different classes (the train split has no class "
            f"{list_names(map(repr, unknown))}, but {folder.name} has); {advice}"
        )
    return files


def _list_files(folder: Path, class_folders: list[Path], skipped: SkippedFiles) -> ClassFiles:
    parents = _ancestors(folder)
    return {
        path.name: list(walk(path, parents | _ancestors(path) - {identity(path)}, skipped))
        for path in class_folders
    }


def _ancestors(folder: Path) -> set[tuple[int, int]]:
    """The identities of a folder and of its parents."""
    return {identity(path) for path in (folder, *folder.resolve().parents)}


def _make_split(
    root: Path, images: ClassFiles, classes: list[str], group_by: str | None
) -> SourceSplit:
    """The images as a split, in the order of the class names."""
    counts = [len(images.get(name, ())) for name in classes]
    files = [path for name in classes for path in images.get(name, ())]
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), counts)

    def iter_images() -> Iterator[tuple[str, ImageContent]]:
        return ((printable(str(path.relative_to(root))), path) for path in files)

    paths = (printable(path.relative_to(root).as_posix()) for path in files)
    return SourceSplit(
        labels, iter_images, None if group_by is None else groups_from_paths(paths, group_by)
    )
