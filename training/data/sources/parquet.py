"""Parquet files with images as Hugging Face writes them.

The columns are `image` (a struct of bytes and path, or binary) and `label` (integers or text).
Labels are read at once, images are streamed, so that few encoded images are in memory. Class names
are read from the metadata of the schema (key `huggingface`, a ClassLabel). Without them, the labels
are the class names.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from phinas.experiment.errors import InputError
from phinas.experiment.optional_library import import_library
from phinas.training.data.decoding import CHUNK_IMAGES
from phinas.training.data.foreign_formats import describe_content
from phinas.training.data.grouped_split import groups_from_values, unknown_key_error
from phinas.training.data.labeling.columns import (
    IMAGE_COLUMNS,
    LABEL_COLUMNS,
    find_column,
    find_common,
)
from phinas.training.data.labeling.labels import (
    as_labels,
    describe_combinations,
    describe_unlabeled,
    encode_labels,
)
from phinas.training.data.labeling.split_names import SPLIT_NAMES, split_of_file
from phinas.training.data.source_dataset import (
    ImageContent,
    ReadOptions,
    SourceDataset,
    SourceSplit,
)
from phinas.training.data.sources import SOURCES, visible_matches


def list_parquet(path: Path, options: ReadOptions) -> SourceDataset:
    """Read a Parquet file, or a folder of train*, val* and test* files.

    If no file of a folder names a split, all of them are for training.

    Args:
        path: The file or folder.
        options: Names of columns.

    Raises:
        InputError: pyarrow is not installed, a file cannot be read, a column is missing, or its
            values are not of the right kind.
    """
    shards = {
        split: [_Shard(file, options) for file in files]
        for split, files in _files_by_split(path).items()
    }
    labels, notes = {}, []
    for split, files in shards.items():
        values = _join_labels(files)
        if values is not None:
            labels[split] = values
        elif split == "train":
            raise InputError(f"{files[0].path}: no image has a label; add the labels")
        else:
            count = sum(shard.count for shard in files)
            notes.append(describe_unlabeled(f"the {split} split", count))
    where = {
        split: f"{files[0].path}: {files[0].label}" + (" (all files)" if len(files) > 1 else "")
        for split, files in shards.items()
    }
    classes, codes = encode_labels(labels, names=_class_names(shards), where=where)
    splits = {split: _make_split(shards[split], codes[split]) for split in labels}
    return SourceDataset(
        classes,
        splits["train"],
        test=splits.get("test"),
        validation=splits.get("validation"),
        validation_name=shards["validation"][0].path.name if "validation" in splits else "",
        notes=(*notes, *describe_combinations(classes)),
    )


def _files_by_split(path: Path) -> dict[str, list[Path]]:
    if path.is_file():
        return {"train": [path]}
    splits: dict[str, list[Path]] = {}
    # Also files in folders of the folder (`data/train-0.parquet`, `train/0.parquet`).
    for file in sorted(visible_matches(path, SOURCES["parquet"].folder_patterns)):
        splits.setdefault(_split_of(file.relative_to(path)), []).append(file)
    if not splits.keys() - {""}:
        return {"train": splits[""]}
    if "train" not in splits:
        raise InputError(
            f"{path} has Parquet files for testing but no train*.parquet; add one, or use a "
            "single file"
        )
    return {split: splits[split] for split in SPLIT_NAMES if split in splits}


def _split_of(relative: Path) -> str:
    """The split that the first matching part of the path names. "" for none."""
    return next((split for part in relative.parts if (split := split_of_file(part))), "")


def _join_labels(shards: list["_Shard"]) -> np.ndarray | None:
    """The labels of all files. None if no image has one."""
    parts = [shard.labels for shard in shards if shard.labels is not None]
    if len(parts) < len(shards):
        if not parts:
            return None
        unlabeled = next(shard for shard in shards if shard.labels is None)
        raise InputError(
            f"{unlabeled.path}: no image has a label, but those of other files of the split have; "
            "add the labels, or remove the file"
        )
    return np.concatenate(parts)


class _Shard:
    """A Parquet file.

    Attributes:
        path: The file.
        image: The column of the images.
        label: The column of the labels.
        names: Class names. Empty if the file has none.
        count: Number of images.
        labels: int64 or text (count,). None if no image has a label.
        groups: Text (count,), the group of each image. None without `data.group_by`.
    """

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self.path = path
        self.open = _pyarrow(path).ParquetFile
        file = self._read(lambda: self.open(path))
        with file:
            schema = self._read(lambda: file.schema_arrow)
            features = _features_in(schema.metadata)
            self.image = find_column(
                schema.names,
                options.image_column
                or find_common(schema.names, IMAGE_COLUMNS)
                or _only([field.name for field in schema if _has_bytes(field.type)]),
                IMAGE_COLUMNS,
                key="image_column",
                where=str(path),
            )
            self.label = find_column(
                schema.names,
                options.label_column
                or find_common(schema.names, LABEL_COLUMNS)
                or _only([name for name in schema.names if _class_names_of(features, name)]),
                LABEL_COLUMNS,
                key="label_column",
                where=str(path),
            )
            self.names = _class_names_of(features, self.label)
            self._check_image(schema.field(self.image).type)
            group_by = options.group_by
            if group_by is not None and group_by not in schema.names:
                raise unknown_key_error(group_by, "column", str(path), schema.names)
            values = self._read_column(file, self.label)
            groups = self._read_column(file, group_by) if group_by else []
        self.count = len(values)
        self.labels = as_labels(values, where=f"{path}: {self.label}")
        self.groups = groups_from_values(f"{path}: {group_by}", groups) if group_by else None

    def _read_column(self, file: Any, name: str) -> list[object]:
        values: list[object] = self._read(lambda: file.read(columns=[name]).column(0).to_pylist())
        return values

    def _read(self, function: Callable[[], Any]) -> Any:
        """Call a function that reads from the file, and return its result.

        Raises:
            InputError: The file is damaged, or is not a Parquet file.
        """
        try:
            return function()
        except Exception as error:  # pyarrow may raise anything on damaged bytes.
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            problem, remedy = self._foreign() or (
                f"is not a valid Parquet file ({reason})",
                "copy or write it again",
            )
            raise InputError(f"{self.path} {problem}; {remedy}") from None

    def _foreign(self) -> tuple[str, str] | None:
        """What the file is if it is of another format, and the remedy."""
        try:
            with self.path.open("rb") as stream:
                return describe_content(stream.read(1000))
        except OSError:
            return None

    def _check_image(self, kind: Any) -> None:
        if not _has_bytes(kind):
            raise InputError(
                f"{self.path}: column {self.image!r} is {kind}, neither struct{{bytes, path}} nor "
                "binary; store encoded images, or for paths write a CSV file"
            )

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


def _has_bytes(kind: Any) -> bool:
    """Whether a column of this type can hold encoded images."""
    import pyarrow.types as types

    parts = [kind.field(i) for i in range(kind.num_fields)] if types.is_struct(kind) else []
    inner = next((part.type for part in parts if part.name == "bytes"), kind)
    return bool(types.is_binary(inner) or types.is_large_binary(inner))


def _only(names: list[str]) -> str | None:
    return names[0] if len(names) == 1 else None


def _pyarrow(path: Path) -> Any:
    import_library("pyarrow", attribute="Table", needed_by=f"{path}: Parquet", extra="parquet")
    import pyarrow.parquet

    return pyarrow.parquet


def _features_in(metadata: dict[bytes, bytes] | None) -> dict[str, Any]:
    """What Hugging Face says of each column. Empty where it says nothing."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return features if isinstance(features, dict) else {}


def _class_names_of(features: dict[str, Any], column: str) -> tuple[str, ...]:
    """The class names of a column. Empty where it has none."""
    feature = features.get(column)
    names = feature.get("names") if isinstance(feature, dict) else None
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _class_names(shards: dict[str, list[_Shard]]) -> tuple[str, ...]:
    """The class names that all files have.

    Raises:
        InputError: Two files have different ones.
    """
    first, *others = [shard for files in shards.values() for shard in files]
    for shard in others:
        if shard.names != first.names:
            other_folder = shard.path.parent != first.path.parent
            advice = (
                f"name one of their folders, such as {first.path.parent}, as data.source"
                if other_folder
                else "write both with the same class names"
            )
            raise InputError(f"{shard.path} has other classes than {first.path}; {advice}")
    return first.names


def _make_split(shards: list[_Shard], labels: np.ndarray) -> SourceSplit:
    def iter_images() -> Iterator[tuple[str, ImageContent]]:
        for shard in shards:
            yield from shard.stream()

    groups = [shard.groups for shard in shards if shard.groups is not None]
    return SourceSplit(labels, iter_images, np.concatenate(groups) if groups else None)
