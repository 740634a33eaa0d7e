"""A CSV file with the path and the label of each image.

Paths are relative to the folder of the file, or to a folder of images in it. A path may lack its
folder or its suffix where one image alone has that name. A column `split` assigns rows to train,
validation and test. So do the names of several files (train.csv, val.csv, test.csv).
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from phinas.experiment.errors import InputError
from phinas.training.data.folder_listing import SkippedFiles, walk
from phinas.training.data.grouped_split import groups_from_values, unknown_key_error
from phinas.training.data.labeling.columns import IMAGE_COLUMNS, LABEL_COLUMNS, find_column
from phinas.training.data.labeling.labels import as_labels, describe_unlabeled, encode_labels
from phinas.training.data.labeling.split_names import split_of_file, split_of_name
from phinas.training.data.source_dataset import (
    ImageContent,
    ReadOptions,
    SourceDataset,
    SourceSplit,
    list_names,
    printable,
)
from phinas.training.data.sources import SOURCES, visible_matches

PATH_COLUMNS = (
    *IMAGE_COLUMNS,
    *("path", "file", "filename", "file_name", "filepath", "file_path", "image_path", "img_path"),
    *("image_name", "img_name", "image_id", "id", "name"),
)
SPLIT_COLUMN = "split"
_SNIFFED_CHARACTERS = 4096
_DELIMITERS = ",;\t|"


@dataclass(frozen=True)
class _Table:
    """The rows of one or more files that belong to one split.

    Attributes:
        file: The first file, for messages.
        paths: The text in the column of the images.
        labels: The text in the column of the labels. None if the file has none.
        groups: The text in the column of the groups. None without `data.group_by`.
    """

    file: Path
    paths: list[str]
    labels: list[str] | None
    groups: list[str] | None


def list_csv(path: Path, options: ReadOptions) -> SourceDataset:
    """Read a CSV file, or a folder with one or with one for each split.

    Args:
        path: The file or folder.
        options: Names of columns.

    Raises:
        InputError: A file cannot be read, a column is missing, an image is not found or found
            twice, or its label is missing.
    """
    root = path.parent if path.is_file() else path
    tables = _read_tables(path, options)
    skipped, notes = SkippedFiles(), []
    index = _ImageIndex(root, skipped)
    for file in {table.file for table in tables.values()}:
        skipped.remove(file)
    labels: dict[str, np.ndarray] = {}
    files: dict[str, list[Path]] = {}
    used: set[Path] = set()
    for split, table in tables.items():
        where = f"{table.file}: label"
        values = None if table.labels is None else as_labels(table.labels, where=where)
        if values is not None:
            labels[split], files[split] = values, index.find_all(table)
            used.update(files[split])
        elif split == "train":
            raise InputError(f"{table.file}: no image has a label; add a column of labels")
        else:
            used.update(file for text in table.paths for file in index.find(text))
            notes.append(describe_unlabeled(table.file.name, len(table.paths)))
    num_unused = sum(1 for file in index.files if file not in used)
    if num_unused:
        notes.append(f"{num_unused:,} image files are not in the table, so they have no label")
    classes, codes = encode_labels(
        labels, where={split: f"{tables[split].file}: label" for split in labels}
    )
    made = {
        split: _make_split(root, files[split], codes[split], tables[split], options.group_by)
        for split in labels
    }
    return SourceDataset(
        classes,
        made["train"],
        test=made.get("test"),
        validation=made.get("validation"),
        validation_name=tables["validation"].file.name if "validation" in made else "",
        notes=(*notes, *skipped.describe()),
    )


def _read_tables(path: Path, options: ReadOptions) -> dict[str, _Table]:
    """The tables by split."""
    if path.is_file():
        return _split_rows(path, options)
    files = sorted(visible_matches(path, SOURCES["csv"].folder_patterns))
    if len(files) == 1:
        return _split_rows(files[0], options)
    by_split = {split_of_file(file.name): file for file in files}
    by_split.pop(None, None)
    if "train" not in by_split:
        raise InputError(
            f"{path}: has several CSV files ({list_names(file.name for file in files)}) and no "
            "train.csv; name one of them as data.source"
        )
    return {
        str(split): _make_table(file, *_read_csv(file), options, has_labels=split == "train")
        for split, file in by_split.items()
    }


def _split_rows(file: Path, options: ReadOptions) -> dict[str, _Table]:
    """The rows of a file by the column `split`, or all of them for training."""
    columns, rows = _read_csv(file)
    names = {column.lower(): column for column in columns}
    if SPLIT_COLUMN not in names:
        return {"train": _make_table(file, columns, rows, options)}
    values = rows[names[SPLIT_COLUMN]]
    splits = {value: split_of_name(str(value).strip()) for value in values.unique()}
    unknown = [value for value, split in splits.items() if split is None]
    if unknown:
        raise InputError(
            f"{file}: {names[SPLIT_COLUMN]}: {unknown[0]!r} is not a split; use train, val or test"
        )
    of_row = values.map(splits)
    if "train" not in of_row.to_numpy():
        raise InputError(
            f"{file}: {names[SPLIT_COLUMN]}: no row is of the train split; add training images"
        )
    return {
        str(split): _make_table(file, columns, rows[of_row == split], options)
        for split in of_row.unique()
    }


def _read_csv(file: Path) -> tuple[list[str], Any]:
    """The columns of a file, and its rows as a pandas table of text.

    Raises:
        InputError: The file is not a table in UTF-8.
    """
    import pandas as pd

    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            start = stream.read(_SNIFFED_CHARACTERS)
        delimiter = _find_delimiter(start)
        rows = pd.read_csv(
            file,
            sep=delimiter,
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
            skipinitialspace=True,
        )
    except (ValueError, pd.errors.ParserError, csv.Error) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{file}: is not a CSV table in UTF-8 ({reason}); write a header and a row for each "
            "image, such as image,label"
        ) from None
    rows = rows.fillna("")  # A row with fewer cells than columns.
    if not isinstance(rows.index, pd.RangeIndex):
        raise InputError(
            f"{file}: a row has more cells than the header; write a name for each column"
        )
    rows.columns = [str(column).strip() for column in rows.columns]
    return list(rows.columns), rows


def _find_delimiter(start: str) -> str:
    """The delimiter that is most frequent in the header. A comma where none is present."""
    header = start.partition("\n")[0]
    return max(_DELIMITERS, key=lambda delimiter: (header.count(delimiter), delimiter == ","))


def _make_table(
    file: Path, columns: list[str], rows: Any, options: ReadOptions, *, has_labels: bool = True
) -> _Table:
    image = find_column(
        columns, options.image_column, PATH_COLUMNS, key="image_column", where=str(file)
    )
    label = None
    try:
        label = find_column(
            columns,
            options.label_column,
            LABEL_COLUMNS,
            key="label_column",
            where=str(file),
        )
    except InputError:
        if has_labels:
            raise
    group_by = options.group_by
    if group_by is not None and group_by not in columns:
        raise unknown_key_error(group_by, "column", str(file), columns)
    return _Table(
        file,
        rows[image].str.strip().tolist(),
        None if label is None else rows[label].str.strip().tolist(),
        None if group_by is None else rows[group_by].tolist(),
    )


class _ImageIndex:
    """Finds the image files of a folder by their whole path, their name or their stem.

    Attributes:
        files: The image files, sorted.
    """

    def __init__(self, root: Path, skipped: SkippedFiles) -> None:
        self._root = root
        self.files = list(walk(root, set(), skipped))
        self._by_name: dict[str, list[Path]] = {}
        for file in self.files:
            relative = PurePosixPath(file.relative_to(root).as_posix())
            parts = relative.parts
            # images/cat/1.jpg is also named cat/1.jpg and 1.jpg, with or without its suffix.
            for start in range(len(parts)):
                name = "/".join(parts[start:])
                for key in {name, name.removesuffix(relative.suffix)}:
                    self._by_name.setdefault(key, []).append(file)

    def find_all(self, table: _Table) -> list[Path]:
        """The file of each row of a table.

        Raises:
            InputError: A file is not found, or several have the name.
        """
        files, missing, ambiguous = [], [], []
        for text in table.paths:
            matches = self.find(text)
            if len(matches) == 1:
                files.append(matches[0])
            elif matches:
                ambiguous.append(text)
            else:
                missing.append(text)
        for names, problem, advice in (
            (missing, "are not found", "correct the paths, or copy the images into this folder"),
            (ambiguous, "mean several files", "write the paths with their folders and suffixes"),
        ):
            if names:
                raise InputError(
                    f"{table.file}: {len(names):,} of {len(table.paths):,} images {problem} in "
                    f"{self._root}: {list_names(names)}; {advice}"
                )
        return files

    def find(self, text: str) -> list[Path]:
        """The files that a text of the table may mean."""
        if not text:
            return []
        name = text.replace("\\", "/")
        path = Path(name)
        if path.is_absolute():
            return [path] if path.is_file() else self._by_name.get(path.name, [])
        exact = self._root / name
        matches = self._by_name.get(name.removeprefix("./"), [])
        if exact in matches:
            return [exact]
        if ".." in path.parts and exact.is_file():
            return [exact]
        return matches


def _make_split(
    root: Path, files: list[Path], labels: np.ndarray, table: _Table, group_by: str | None
) -> SourceSplit:
    def iter_images() -> Iterator[tuple[str, ImageContent]]:
        for file in files:
            inside = file.is_relative_to(root)
            yield printable(str(file.relative_to(root) if inside else file)), file

    groups = None
    if table.groups is not None:
        groups = groups_from_values(f"{table.file}: {group_by}", table.groups)
    return SourceSplit(labels, iter_images, groups)
