"""Parquet files with images as Hugging Face writes them.

The columns are `image` (a struct of bytes and path, or binary) and `label` (integers). Labels are
read at once, images are streamed, so that few encoded images are in memory. Class names are read
from the metadata of the schema (key `huggingface`, a ClassLabel). Without them, the labels are the
class names.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from phinas.experiment.errors import InputError
from phinas.training.data.decoding import CHUNK_IMAGES
from phinas.training.data.grouped_split import groups_from_values, unknown_key_error
from phinas.training.data.source_dataset import (
    ImageContent,
    SourceDataset,
    SourceSplit,
    check_label_range,
)
from phinas.training.data.sources import SOURCES, visible_matches

IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "labels")
SPLIT_PREFIXES = {"train": "train", "test": "test", "val": "validation"}


def _list_files(folder: Path) -> list[Path]:
    """The files in a folder and in its folders (`data/train-0.parquet`, `train/0.parquet`)."""
    return sorted(visible_matches(folder, SOURCES["parquet"].folder_patterns))


def list_parquet(path: Path, *, group_by: str | None = None) -> SourceDataset:
    """Read a Parquet file, or a folder of train*, test* (or val*) files.

    If no file of a folder names a split, all of them are for training.

    Args:
        path: The file or folder.
        group_by: The column of the groups.

    Raises:
        InputError: pyarrow is not installed, a file cannot be read, a column is missing, or its
            values are not of the right kind.
    """
    splits: dict[str, list[Path]] = {}
    for file in [path] if path.is_file() else _list_files(path):
        splits.setdefault(
            "train" if path.is_file() else _split_of(file.relative_to(path)), []
        ).append(file)
    files = splits.get("train", [])
    test_files = splits.get("test") or splits.get("validation") or []
    if not files and not test_files:
        files = splits[""]
    if not files:
        raise InputError(
            f"{path}: has Parquet files for testing but no train*.parquet; add one, or use a "
            "single file"
        )
    train_shards = [_Shard(file, group_by) for file in files]
    test_shards = [_Shard(file, group_by) for file in test_files]
    classes = _class_names([*train_shards, *test_shards])
    return SourceDataset(
        classes,
        _make_split(train_shards, classes),
        _make_split(test_shards, classes) if test_shards else None,
    )


def _split_of(relative: Path) -> str:
    """The split that the first matching part of the path names. "" for none."""
    for part in relative.parts:
        for prefix, split in SPLIT_PREFIXES.items():
            if part.lower().startswith(prefix):
                return split
    return ""


class _Shard:
    """A Parquet file.

    Attributes:
        path: The file.
        image: The column of the images.
        names: Class names. Empty if the file has none.
        labels: int64 (count,), class indices.
        groups: Text (count,), the group of each image. None without `data.group_by`.
    """

    def __init__(self, path: Path, group_by: str | None) -> None:
        self.path = path
        self.open = _pyarrow(path).ParquetFile
        file = self._read(lambda: self.open(path))
        with file:
            schema = file.schema_arrow
            self.image = self._column(schema, IMAGE_COLUMNS)
            label = self._column(schema, LABEL_COLUMNS)
            self.names = _names_in(schema.metadata, label)
            self._check_image(schema.field(self.image).type)
            if group_by is not None and group_by not in schema.names:
                raise unknown_key_error(group_by, "column", str(path), schema.names)
            column = self._read(lambda: file.read(columns=[label])).column(0)
            values = (
                self._read(lambda: file.read(columns=[group_by])).column(0).to_pylist()
                if group_by
                else []
            )
        self.labels = self._check_labels(label, column)
        self.groups = groups_from_values(f"{path}: {group_by}", values) if group_by else None

    def _read(self, function: Callable[[], Any]) -> Any:
        """Call a function that reads from the file, and return its result.

        Raises:
            InputError: The file is damaged, or is not a Parquet file.
        """
        import pyarrow

        try:
            return function()
        except (pyarrow.ArrowException, OSError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise InputError(
                f"{self.path}: is not a valid Parquet file ({reason}); copy or write it again"
            ) from None

    def _column(self, schema: Any, candidates: tuple[str, ...]) -> str:
        for name in candidates:
            if name in schema.names:
                return name
        raise InputError(
            f"{self.path}: has no column {candidates[0]!r}, only "
            f"{', '.join(schema.names) or 'none'}; rename one"
        )

    def _check_image(self, kind: Any) -> None:
        import pyarrow.types as types

        parts = [kind.field(i) for i in range(kind.num_fields)] if types.is_struct(kind) else []
        inner = next((part.type for part in parts if part.name == "bytes"), kind)
        if not (types.is_binary(inner) or types.is_large_binary(inner)):
            raise InputError(
                f"{self.path}: column {self.image!r} is {kind}, neither struct{{bytes, path}} nor "
                "binary; store encoded images"
            )

    def _check_labels(self, name: str, column: Any) -> np.ndarray:
        import pyarrow.types as types

        if not types.is_integer(column.type):
            raise InputError(
                f"{self.path}: column {name!r} is {column.type}, not integer; store int64 class "
                "indices"
            )
        if column.null_count:
            row = column.is_null().to_pylist().index(True)
            raise InputError(
                f"{self.path}: {name}: row {row} has no label ({column.null_count} in total); add "
                "the labels, or remove the rows"
            )
        return np.asarray(column.to_numpy(), dtype=np.int64)

    def stream(self) -> Iterator[tuple[str, ImageContent]]:
        """The name and the encoded bytes of each image, read in batches."""
        with self._read(lambda: self.open(self.path)) as file:
            batches = file.iter_batches(CHUNK_IMAGES, columns=[self.image])
            row = 0
            while (batch := self._read(lambda: next(batches, None))) is not None:
                column = batch.column(0)
                encoded = column.field("bytes") if hasattr(column, "field") else column
                for content in encoded.to_pylist():
                    yield f"{self.path.name} row {row}", content
                    row += 1


def _pyarrow(path: Path) -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise InputError(
            f"{path}: Parquet files need pyarrow, which is not installed; pip install "
            "'phinas[parquet]'"
        ) from None
    return pyarrow.parquet


def _names_in(metadata: dict[bytes, bytes] | None, label: str) -> tuple[str, ...]:
    try:
        names = json.loads((metadata or {})[b"huggingface"])["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError):
        return ()
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _class_names(shards: list[_Shard]) -> tuple[str, ...]:
    first = shards[0]
    for shard in shards[1:]:
        if shard.names != first.names:
            raise InputError(
                f"{shard.path}: has other classes than {first.path.name}; write both with the "
                "same class names"
            )
    if first.names:
        return first.names
    values = np.concatenate([shard.labels for shard in shards])
    num_classes = int(values.max()) + 1 if len(values) else 0
    if num_classes > len(values):
        raise InputError(
            f"{first.path}: the largest label is {num_classes - 1:,} in {len(values):,} images; "
            "number the classes from 0"
        )
    return tuple(map(str, range(num_classes)))


def _make_split(shards: list[_Shard], classes: tuple[str, ...]) -> SourceSplit:
    for shard in shards:
        check_label_range(shard.labels, classes, where=f"{shard.path}: label")

    def iter_images() -> Iterator[tuple[str, ImageContent]]:
        for shard in shards:
            yield from shard.stream()

    groups = [shard.groups for shard in shards if shard.groups is not None]
    return SourceSplit(
        np.concatenate([shard.labels for shard in shards]),
        iter_images,
        np.concatenate(groups) if groups else None,
    )
