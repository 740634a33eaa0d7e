"""Refusals of folders that hold images and no class folders, each with what the folder may be.

Images of object detection, of segmentation, and flat train and test folders have folders too. Read
as class folders, they would train a network to distinguish the train images from the test images.
"""

import os
from pathlib import Path

from phinas.experiment.errors import InputError
from phinas.training.data.folder_listing import has_files, is_junk
from phinas.training.data.foreign_formats import describe_files
from phinas.training.data.labeling.split_names import means_no_class
from phinas.training.data.source_dataset import list_names
from phinas.training.data.tables.table_folder import TABLE_SUFFIXES

_ADVICE = (
    "put the images of each class into a folder with the name of the class, or write a CSV file "
    "with the columns image and label"
)
_MAX_FILES, _MAX_FOLDERS = 200, 50  # that are looked at
_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".rar", ".7z")
# Words of names that mean annotations of parts of an image.
_DETECTION = ("annotation", "bbox", "labels", "imagesets")
_MASKS = ("mask", "segmentation")


def check_layout(root: Path, folder: Path, class_folders: list[Path]) -> None:
    """Check that folders may be classes.

    Args:
        root: The folder that the user named.
        folder: The folder inside it that is read.
        class_folders: The folders in it, without junk.

    Raises:
        InputError: There are none, none of their names can be that of a class, or the files are of
            a format that is not read.
    """
    are_classes = not all(means_no_class(path.name) for path in class_folders)
    if are_classes and len(class_folders) > 1:
        return
    files = _list_files(folder)
    foreign = describe_files(files)
    if foreign is not None:
        raise InputError(f"{root} {foreign[0]}; {foreign[1]}")
    _check_tables(root, folder, files)
    names = list_names(path.name for path in class_folders)
    if _is_detection(files, class_folders):
        raise InputError(
            f"{root} has the annotations of object detection (in {names or folder.name}), and each "
            f"image needs one label; {_ADVICE}"
        )
    if any(word in path.name.lower() for path in class_folders for word in _MASKS):
        raise InputError(
            f"{root} has the masks of segmentation (in {names}), and each image needs one label; "
            f"{_ADVICE}"
        )
    archives = [path for path in files if path.suffix.lower() in _ARCHIVES]
    if archives and not any(map(has_files, (folder, *class_folders))):
        raise InputError(
            f"{root} has no images but archives ({list_names(path.name for path in archives)}); "
            "unpack them and name the folder"
        )
    if class_folders and not are_classes:
        raise InputError(
            f"{root} has no class folders, only {names}, whose names are not those of classes; "
            f"{_ADVICE}"
        )
    if not class_folders:
        raise InputError(f"{root} {_describe_flat(folder)}; {_ADVICE}")


def _check_tables(root: Path, folder: Path, files: list[Path]) -> None:
    """Refuse a folder whose table is not beside the folders of the images."""
    tables = [
        path for path in files if path.suffix.lower() in TABLE_SUFFIXES and path.parent != folder
    ]
    if tables:
        raise InputError(
            f"{root} has no class folders but a table in a folder of its own "
            f"({list_names(path.relative_to(folder) for path in tables)}); move it to {folder}, "
            "beside the folders of the images"
        )


def _describe_flat(folder: Path) -> str:
    """What a folder without class folders has, to follow its name."""
    if has_files(folder):
        return "contains files but no class folders"
    hidden = sorted(
        path.name for path in folder.iterdir() if path.is_dir() and path.name.startswith(".")
    )
    if hidden:
        return f"has only hidden folders ({list_names(hidden)}), which are skipped"
    files = sorted(path.name for path in _list_files(folder))
    return f"has no images, only {list_names(files)}" if files else "is empty"


def _list_files(folder: Path) -> list[Path]:
    """The first files in a folder and below it, some of each folder."""
    files: list[Path] = []
    for number, (parent, folders, names) in enumerate(os.walk(folder)):
        folders[:] = sorted(name for name in folders if not is_junk(name))
        files += [Path(parent, name) for name in sorted(names)[:_MAX_FILES] if not is_junk(name)]
        if number >= _MAX_FOLDERS:
            break
    return files


def _is_detection(files: list[Path], class_folders: list[Path]) -> bool:
    names = [path.name.lower() for path in class_folders]
    return any(path.name.lower().endswith(".coco.json") for path in files) or any(
        word in name for name in names for word in _DETECTION
    )
