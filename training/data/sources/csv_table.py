"""A table (.csv, .tsv or .jsonl) with the path and the label of each image.

Paths are relative to the folder of the file, or to a folder of images in it. A path may lack its
folder or its suffix where one image alone has that name. A column `split` assigns rows to train,
validation and test. So do the names of several files (train.csv, val.csv, test.csv), or the names
of the folders of metadata files (train/metadata.csv), as Hugging Face writes them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from phinas.experiment.errors import InputError
from phinas.training.data.folder_listing import SkippedFiles
from phinas.training.data.grouped_split import groups_from_values
from phinas.training.data.labeling.columns import LABEL_COLUMNS, find_column
from phinas.training.data.labeling.labels import (
    as_labels,
    describe_combinations,
    describe_unlabeled,
    encode_labels,
)
from phinas.training.data.labeling.split_names import split_of_file, split_of_name
from phinas.training.data.source_dataset import (
    ImageContent,
    ReadOptions,
    SourceDataset,
    SourceSplit,
    list_names,
    printable,
)
from phinas.training.data.tables.image_index import ImageIndex
from phinas.training.data.tables.table_folder import find_table_folder, list_tables
from phinas.training.data.tables.table_rows import (
    TableColumns,
    choose_columns,
    read_labels,
    read_rows,
)


@dataclass(frozen=True)
class _Table:
    """The rows of a file that belong to one split.

    Attributes:
        file: The file, for messages. Paths are relative to its folder.
        paths: The text in the column of the images.
        labels: The label of each row as text. None if the file has none.
        groups: The text in the column of the groups. None without `data.group_by`.
    """

    file: Path
    paths: list[str]
    labels: list[str] | None
    groups: list[str] | None


class _Files:
    """The image files beside tables, which are listed once for each folder of a table."""

    def __init__(self) -> None:
        self.skipped = SkippedFiles()
        self._indexes: dict[Path, ImageIndex] = {}

    def of(self, table: Path) -> ImageIndex:
        """The image files in the folder of a table and below it."""
        root = table.parent
        if root not in self._indexes:
            self._indexes[root] = ImageIndex(root, self.skipped)
        return self._indexes[root]

    def count_unused(self, used: set[Path]) -> int:
        """The number of image files that no table names."""
        files = {file for index in self._indexes.values() for file in index.files}
        return len(files - used)


def list_csv(path: Path, options: ReadOptions) -> SourceDataset:
    """Read a table, or a folder with one or with one for each split.

    Args:
        path: The file or folder.
        options: Names of columns.

    Raises:
        InputError: A file cannot be read, a column is missing, an image is not found or found
            twice, or its label is missing.
    """
    root = path.parent if path.is_file() else find_table_folder(path) or path
    images = _Files()
    notes: list[str] = []
    tables = _read_tables(path if path.is_file() else root, options, images, notes)
    labels: dict[str, np.ndarray] = {}
    files: dict[str, list[Path]] = {}
    used: set[Path] = set()
    for split, table in tables.items():
        index, where = images.of(table.file), f"{table.file}: label"
        values = None if table.labels is None else as_labels(table.labels, where=where)
        if values is not None:
            labels[split] = values
            files[split] = index.find_all(table.paths, table=table.file)
            used.update(files[split])
        elif split == "train":
            raise InputError(f"{table.file}: no image has a label; add a column of labels")
        else:
            used.update(file for text in table.paths for file in index.find(text))
            notes.append(describe_unlabeled(table.file.name, len(table.paths)))
    for file in {table.file for table in tables.values()}:
        images.skipped.remove(file)
    num_unused = images.count_unused(used)
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
        validation_name=_name_of(tables["validation"].file, root) if "validation" in made else "",
        notes=(*notes, *describe_combinations(classes), *images.skipped.describe()),
    )


def _name_of(file: Path, root: Path) -> str:
    return printable(str(file.relative_to(root)))


def _read_tables(
    path: Path, options: ReadOptions, images: _Files, notes: list[str]
) -> dict[str, _Table]:
    """The tables by split."""
    if path.is_file():
        return _split_rows(path, options)
    files = list_tables(path)
    if len(files) > 1:
        by_split = {_split_of(file, path): file for file in files}
        by_split.pop(None, None)
        if "train" in by_split:
            return _read_splits({str(split): file for split, file in by_split.items()}, options)
        candidates = [file for file in files if _names_images(file, options, images)]
        if len(candidates) != 1:
            raise InputError(
                f"{path} has several tables ({list_names(_name_of(file, path) for file in files)}) "
                "and no train.csv; name one of them as data.source"
            )
        notes.append(f"the labels are read from {candidates[0].name}")
        files = candidates
    return _split_rows(files[0], options)


def _split_of(file: Path, root: Path) -> str | None:
    """The split that the name of a table, or of its folder, means."""
    return split_of_file(file.name if file.parent == root else file.parent.name)


def _names_images(file: Path, options: ReadOptions, images: _Files) -> bool:
    """Whether a table has labels, and its first image exists."""
    try:
        rows = read_rows(file)
        columns = choose_columns(file, rows, options)
    except InputError:
        return False
    return bool(columns.labels and len(rows)) and bool(
        images.of(file).find(rows[columns.image].iloc[0].strip())
    )


def _read_splits(files: dict[str, Path], options: ReadOptions) -> dict[str, _Table]:
    """The tables of a file for each split. The training table says which column the labels are."""
    rows = read_rows(files["train"])
    train = _choose_labeled(files["train"], rows, options)
    tables = {"train": _make_table(files["train"], rows, train, options)}
    for split, file in files.items():
        if split != "train":
            rows = read_rows(file)
            columns = choose_columns(file, rows, ReadOptions(options.group_by, train.image))
            columns = TableColumns(columns.image, train.labels, None)
            tables[split] = _make_table(file, rows, columns, options)
    return tables


def _split_rows(file: Path, options: ReadOptions) -> dict[str, _Table]:
    """The rows of a file by its column of splits, or all of them for training."""
    rows = read_rows(file)
    columns = _choose_labeled(file, rows, options)
    if columns.split is None:
        return {"train": _make_table(file, rows, columns, options)}
    values = rows[columns.split]
    splits = {value: split_of_name(str(value).strip()) for value in values.unique()}
    unknown = [value for value, split in splits.items() if split is None]
    if unknown:
        raise InputError(
            f"{file}: {columns.split}: {unknown[0]!r} is not a split; use train, val or test"
        )
    of_row = values.map(splits)
    if "train" not in of_row.to_numpy():
        raise InputError(
            f"{file}: {columns.split}: no row is of the train split; add training images"
        )
    return {
        str(split): _make_table(file, rows[of_row == split], columns, options)
        for split in of_row.unique()
    }


def _choose_labeled(file: Path, rows: Any, options: ReadOptions) -> TableColumns:
    """The columns of a table, which must have labels."""
    columns = choose_columns(file, rows, options)
    if not columns.labels:
        find_column(
            list(rows.columns),
            options.label_column,
            LABEL_COLUMNS,
            key="label_column",
            where=str(file),
        )
    return columns


def _make_table(file: Path, rows: Any, columns: TableColumns, options: ReadOptions) -> _Table:
    group_by = options.group_by
    return _Table(
        file,
        rows[columns.image].str.strip().tolist(),
        read_labels(file, rows, columns.labels),
        None if group_by is None else rows[group_by].tolist(),
    )


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
