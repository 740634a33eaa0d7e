"""Which folders hold a table of labels and its images, and which hold a single file of data.

A table beside class folders is not read: the folders say the classes.
"""

import os
from pathlib import Path

from phinas.training.data.folder_listing import has_files, is_junk, subfolders
from phinas.training.data.labeling.split_names import means_no_class, split_of_file

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl")
_METADATA = "metadata"  # the name of a table that Hugging Face puts into each split folder
_SUBMISSION = "submission"  # in the name of a table that competitions want, not of labels


def find_table_folder(folder: Path) -> Path | None:
    """The folder with the tables and the images, which may be inside folders of one folder.

    None where no table is, or where the images are in class folders.
    """
    inner = folder
    while True:
        if list_tables(inner):
            return inner if _has_flat_images(inner) else None
        folders = subfolders(inner)
        if len(folders) != 1 or has_files(inner):
            return None
        inner = folders[0]


def list_tables(folder: Path) -> list[Path]:
    """The tables in a folder, or else the metadata files in its split folders.

    Examples of a competition's submission are left out.
    """
    tables = [path for path in _tables_in(folder) if _SUBMISSION not in path.stem.lower()]
    if tables:
        return tables
    return [
        path
        for split_folder in subfolders(folder)
        if split_of_file(split_folder.name)
        for path in _tables_in(split_folder)
        if path.stem.lower() == _METADATA
    ]


def _tables_in(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        names = sorted(
            entry.name
            for entry in entries
            if not is_junk(entry.name)
            and Path(entry.name).suffix.lower() in TABLE_SUFFIXES
            and entry.is_file()
        )
    return [folder / name for name in names]


def _has_flat_images(folder: Path) -> bool:
    """Whether the images are in the folder, or in folders whose names are not those of classes."""
    folders = subfolders(folder)
    inner = [path for outer in folders for path in subfolders(outer)]
    if not all(means_no_class(path.name) for path in inner):
        return False
    if len(folders) > 1 and not all(means_no_class(path.name) for path in folders):
        return False
    return any(map(has_files, (folder, *folders, *inner)))


def find_lone_file(folder: Path, suffixes: tuple[str, ...]) -> Path | None:
    """The only file of a folder, which may be inside folders of one folder.

    None where there are several files, or where the file has none of the suffixes.
    """
    inner = folder
    while True:
        with os.scandir(inner) as entries:
            names = [entry.name for entry in entries if not is_junk(entry.name)]
        if len(names) != 1:
            return None
        path = inner / names[0]
        if path.is_file():
            return path if path.name.lower().endswith(suffixes) else None
        if not path.is_dir() or path.is_symlink():
            return None
        inner = path
