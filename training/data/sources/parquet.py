"""Parquet as Hugging Face writes images: `image` (struct of bytes and path, or plain binary) and
`label` (integer).

The one decision to know: the labels are read at once, the images are streamed, so encoded bytes are
never held in number. Class names are those of the schema's metadata (key `huggingface`, a
ClassLabel), else the labels themselves.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from phinas.experiment.errors import InputError
from phinas.training.data.decoding import CHUNK_IMAGES, ImageContent, SourceDataset, SourceSplit
from phinas.training.data.grouped_split import groups_from_values, unknown_key_error

IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "labels")
SPLIT_PREFIXES = {"train": "train", "test": "test", "val": "validation"}


def parquet_files(folder: Path) -> list[Path]:
    """Those in a folder and in the folders in it (`data/train-0.parquet`, `train/0.parquet`)."""
    paths = [*folder.glob("*.parquet"), *folder.glob("*/*.parquet")]
    return sorted(
        path
        for path in paths
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def list_parquet(path: Path, *, group_by: str | None = None) -> SourceDataset:
    """One file, or a folder of train*, test* (or val*) files; files of a folder that names no split
    are all for training.

    group_by: the column that holds each image's group."""
    splits: dict[str, list[Path]] = {}
    for file in [path] if path.is_file() else parquet_files(path):
        splits.setdefault(
            "train" if path.is_file() else _split_of(file.relative_to(path)), []
        ).append(file)
    files = splits.get("train", [])
    test_files = splits.get("test") or splits.get("validation") or []
    if not files and not test_files:
        files = splits[""]
    if not files:
        raise InputError(
            f"{path}: has Parquet files to test with but no train*.parquet; add it, or name one "
            "file"
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
    """By the first part of a path that names one; "" for none."""
    for part in relative.parts:
        for prefix, split in SPLIT_PREFIXES.items():
            if part.lower().startswith(prefix):
                return split
    return ""


class _Shard:
    """One file: its labels, its class names and groups if it has any, and a stream of its
    images.
    """

    def __init__(self, path: Path, group_by: str | None) -> None:
        self.path = path
        self.open = _pyarrow(path).ParquetFile
        file = self._checking_errors(lambda: self.open(path))
        with file:
            schema = file.schema_arrow
            self.image = self._column(schema, IMAGE_COLUMNS)
            label = self._column(schema, LABEL_COLUMNS)
            self.names = _names_in(schema.metadata, label)
            self._check_image(schema.field(self.image).type)
            if group_by is not None and group_by not in schema.names:
                raise unknown_key_error(group_by, "column", str(path), schema.names)
            column = self._checking_errors(lambda: file.read(columns=[label])).column(0)
            values = (
                self._checking_errors(lambda: file.read(columns=[group_by])).column(0).to_pylist()
                if group_by
                else []
            )
        self.labels = self._checked_labels(label, column)
        self.groups = groups_from_values(f"{path}: {group_by}", values) if group_by else None

    def _checking_errors(self, function: Callable[[], Any]) -> Any:
        """Raises InputError for a broken footer, a torn page, a file that is something else."""
        import pyarrow

        try:
            return function()
        except (pyarrow.ArrowException, OSError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise InputError(
                f"{self.path}: is not a sound Parquet file ({reason}); copy or write it again"
            ) from None

    def _column(self, schema: Any, candidates: tuple[str, ...]) -> str:
        for name in candidates:
            if name in schema.names:
                return name
        raise InputError(
            f"{self.path}: has no column {candidates[0]!r}, only "
            f"{', '.join(schema.names) or 'none'}; "
            "rename one"
        )

    def _check_image(self, kind: Any) -> None:
        import pyarrow.types as types

        parts = [kind.field(i) for i in range(kind.num_fields)] if types.is_struct(kind) else []
        inner = next((part.type for part in parts if part.name == "bytes"), kind)
        if not (types.is_binary(inner) or types.is_large_binary(inner)):
            raise InputError(
                f"{self.path}: {self.image} is {kind}, neither struct{{bytes, path}} nor binary; "
                "store encoded images"
            )

    def _checked_labels(self, name: str, column: Any) -> np.ndarray:
        import pyarrow.types as types

        if not types.is_integer(column.type):
            raise InputError(
                f"{self.path}: {name} is {column.type}, not a whole number; store int64 class "
                "indices"
            )
        if column.null_count:
            row = column.is_null().to_pylist().index(True)
            raise InputError(
                f"{self.path}: {name}: row {row} has none ({column.null_count} in all); remove or "
                "label them"
            )
        return np.asarray(column.to_numpy(), dtype=np.int64)

    def stream(self) -> Iterator[tuple[str, ImageContent]]:
        with self._checking_errors(lambda: self.open(self.path)) as file:
            batches = file.iter_batches(CHUNK_IMAGES, columns=[self.image])
            row = 0
            while (batch := self._checking_errors(lambda: next(batches, None))) is not None:
                column = batch.column(0)
                encoded = column.field("bytes") if hasattr(column, "field") else column
                for content in encoded.to_pylist():
                    yield f"{self.path.name} row {row}", content
                    row += 1


def check_range(labels: np.ndarray, classes: tuple[str, ...], *, where: str) -> None:
    """Raises InputError for a label that is none of the classes."""
    invalid = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if len(invalid):
        value = f"row {invalid[0]} is {labels[invalid[0]]}"
        hint = (
            "-1 marks a split without labels: leave it out"
            if labels[invalid[0]] == -1
            else "correct it"
        )
        raise InputError(f"{where}: {value}, outside 0 to {len(classes) - 1}; {hint}")


def _pyarrow(path: Path) -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise InputError(
            f"{path}: reading Parquet needs pyarrow: pip install 'phinas[parquet]'"
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
                f"{shard.path}: its classes differ from those of {first.path.name}; write both "
                "with the same"
            )
    if first.names:
        return first.names
    values = np.concatenate([shard.labels for shard in shards])
    num_classes = int(values.max()) + 1 if len(values) else 0
    if num_classes > len(values):
        raise InputError(
            f"{first.path}: label: runs to {num_classes - 1:,} in {len(values):,} images; number "
            "the "
            "classes 0, 1, 2 on"
        )
    return tuple(map(str, range(num_classes)))


def _make_split(shards: list[_Shard], classes: tuple[str, ...]) -> SourceSplit:
    for shard in shards:
        check_range(shard.labels, classes, where=f"{shard.path}: label")

    def iter_images() -> Iterator[tuple[str, ImageContent]]:
        for shard in shards:
            yield from shard.stream()

    groups = [shard.groups for shard in shards if shard.groups is not None]
    return SourceSplit(
        np.concatenate([shard.labels for shard in shards]),
        iter_images,
        np.concatenate(groups) if groups else None,
    )
