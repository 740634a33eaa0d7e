"""The rows of a table of images: which columns hold the paths, the labels and the splits.

The labels are in one column, or one-hot in one column for each class.
"""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from phinas.experiment.errors import InputError
from phinas.training.data.foreign_formats import describe_content, describe_file
from phinas.training.data.grouped_split import unknown_key_error
from phinas.training.data.labeling.columns import (
    IMAGE_COLUMNS,
    LABEL_COLUMNS,
    find_column,
    find_common,
)
from phinas.training.data.labeling.labels import select_marked
from phinas.training.data.labeling.split_names import split_of_name
from phinas.training.data.source_dataset import ReadOptions, list_names

PATH_COLUMNS = (
    *IMAGE_COLUMNS,
    *("path", "file", "filename", "filepath", "image_path", "img_path", "paths", "files"),
    *("filenames", "filepaths", "image_file", "image_filename", "img_file", "fname"),
    *("image_name", "img_name", "image_index", "image_id", "img_id", "photo", "id", "name"),
)
_SPLIT_COLUMN = "split"
# Columns that hold the splits if all their values are names of splits.
_OTHER_SPLIT_COLUMNS = ("data_set", "dataset", "subset", "set", "usage", "partition", "phase")
_SNIFFED_CHARACTERS = 4096
_DELIMITERS = ",;\t|"
_MARKS = {"0", "1", "0.0", "1.0"}  # of one-hot columns
_MIN_MARKED_COLUMNS = 2


@dataclass(frozen=True)
class TableColumns:
    """The names of the columns of a table that are read.

    Attributes:
        image: The column of the images.
        labels: The column of the labels, or a one-hot column for each class. Empty for none.
        split: The column that assigns rows to splits. None for none.
    """

    image: str
    labels: tuple[str, ...]
    split: str | None


def read_rows(file: Path) -> Any:
    """The rows of a file as a pandas table of text.

    Raises:
        InputError: The file is not a table in UTF-8, has no header, or holds pixels.
    """
    import pandas as pd

    try:
        rows = _read_json_lines(file) if file.suffix.lower() == ".jsonl" else _read_csv(file)
    except (ValueError, pd.errors.ParserError, csv.Error) as error:
        with file.open("rb") as stream:
            foreign = describe_content(stream.read(1000))
        if foreign is not None:
            raise InputError(f"{file} {foreign[0]}; {foreign[1]}") from None
        reason = " ".join(str(error).split())[:200]
        advice = (
            "save it in UTF-8"
            if isinstance(error, UnicodeDecodeError)
            else "write a header and a row for each image, such as image,label"
        )
        raise InputError(f"{file} is not a CSV table in UTF-8 ({reason}); {advice}") from None
    rows = rows.fillna("")  # A row with fewer cells than columns.
    if not isinstance(rows.index, pd.RangeIndex):
        raise InputError(
            f"{file}: a row has more cells than the header; write a name for each column"
        )
    rows.columns = [str(column).strip() for column in rows.columns]
    _check_header(file, list(rows.columns))
    return rows


def _read_csv(file: Path) -> Any:
    import pandas as pd

    with file.open(encoding="utf-8-sig", newline="") as stream:
        delimiter = _find_delimiter(stream.read(_SNIFFED_CHARACTERS))
    return pd.read_csv(
        file,
        sep=delimiter,
        dtype=str,
        keep_default_na=False,
        encoding="utf-8-sig",
        skipinitialspace=True,
    )


def _read_json_lines(file: Path) -> Any:
    """The objects of a file with one in each line. Values that are not text are written as JSON."""
    import pandas as pd

    rows = []
    for line in file.read_text(encoding="utf-8-sig").splitlines():
        if not line.strip():
            continue
        row = json.loads(line)
        if not isinstance(row, dict):
            raise ValueError(f"a line is {line[:30]!r}, not an object")
        rows.append(
            {
                key: value if isinstance(value, str) else json.dumps(value)
                for key, value in row.items()
                if value is not None
            }
        )
    if not rows:
        raise ValueError("it has no lines")
    return pd.DataFrame(rows, dtype=str)


def _find_delimiter(start: str) -> str:
    """The delimiter that is most frequent in the header. A comma where none is present."""
    header = start.partition("\n")[0]
    return max(_DELIMITERS, key=lambda delimiter: (header.count(delimiter), delimiter == ","))


def _check_header(file: Path, columns: list[str]) -> None:
    if any(_is_image_name(column) for column in columns):
        raise InputError(
            f"{file}: its first row ({list_names(columns)}) is not a header; write one, such as "
            "image,label"
        )
    if any(column.lower().startswith("pixel") for column in columns):
        raise InputError(
            f"{file} has pixels in its columns and no image files; write the pixels with "
            "np.savez(path, images=x, labels=y) and name that file"
        )


def _is_image_name(text: str) -> bool:
    kind = describe_file(text.strip())
    return kind is not None and kind[0] == "a single image"


def choose_columns(file: Path, rows: Any, options: ReadOptions) -> TableColumns:
    """Choose the columns of the images, the labels and the splits.

    Raises:
        InputError: One that the user named is missing, there is no column of images or of labels,
            or an image has several labels.
    """
    columns = list(rows.columns)
    image = options.image_column or find_common(columns, PATH_COLUMNS) or _find_names(rows)
    image = find_column(columns, image, PATH_COLUMNS, key="image_column", where=str(file))
    split = _find_split_column(rows)
    if options.group_by is not None and options.group_by not in columns:
        raise unknown_key_error(options.group_by, "column", str(file), columns)
    labels = _find_labels(file, rows, options, {image, split, options.group_by, ""})
    return TableColumns(image, labels, split)


def _find_names(rows: Any) -> str | None:
    """The only column whose first cell is the name of an image file."""
    if not len(rows):
        return None
    names = [column for column in rows.columns if _is_image_name(rows[column].iloc[0])]
    return names[0] if len(names) == 1 else None


def _find_split_column(rows: Any) -> str | None:
    named = find_common(list(rows.columns), (_SPLIT_COLUMN,))
    if named is not None:
        return named
    other = find_common(list(rows.columns), _OTHER_SPLIT_COLUMNS)
    if other is None or not all(split_of_name(value.strip()) for value in rows[other].unique()):
        return None
    return other


def _find_labels(
    file: Path, rows: Any, options: ReadOptions, others: set[str | None]
) -> tuple[str, ...]:
    columns = list(rows.columns)
    label = options.label_column or find_common(
        [column for column in columns if column not in others], LABEL_COLUMNS
    )
    if label is not None:
        where = str(file)
        return (find_column(columns, label, LABEL_COLUMNS, key="label_column", where=where),)
    free = [
        column
        for column in columns
        if column not in others and not column.lower().startswith("unnamed:")
    ]
    marked = [column for column in free if set(rows[column].unique()) <= _MARKS]
    if len(rows) and len(marked) >= _MIN_MARKED_COLUMNS:
        sums = (_read_marks(rows, tuple(marked)) == 1).sum(axis=1)
        if (sums == 1).all() or len(marked) == len(free):
            return tuple(marked)
    if len(free) == 1:
        return (free[0],)
    return ()


def _read_marks(rows: Any, columns: tuple[str, ...]) -> np.ndarray:
    return np.asarray(rows[list(columns)].to_numpy().astype(np.float64))


def read_labels(file: Path, rows: Any, columns: tuple[str, ...]) -> list[str] | None:
    """The label of each row as text. None if the table has none.

    Raises:
        InputError: An image has several labels.
    """
    if not columns or not set(columns) <= set(rows.columns):
        return None
    if len(columns) > 1:
        marked = select_marked(_read_marks(rows, columns), where=f"{file}: {list_names(columns)}")
        return [columns[index] for index in marked.tolist()]
    texts: list[str] = rows[columns[0]].str.strip().tolist()
    for row, text in enumerate(texts):
        if text.startswith(("[", "{")):
            raise InputError(
                f"{file}: {columns[0]}: row {row} is {text[:40]}, a list or an object, and each "
                "image needs exactly one label; write one whole number or text"
            )
    return texts
