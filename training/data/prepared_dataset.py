"""The data of a run, decoded and split once, as files that any worker maps into its memory.

The one decision to know: `train_val` (train and validation) and `test` lie apart. Whatever steers a
search opens `train_val` alone; only the final evaluation opens `test`. `data.json` is written last
and holds the size and sha256 of every array, so a preparation that was killed, or files that were
damaged, are noticed and made again, from the same data or not at all.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from phinas.experiment.errors import InputError
from phinas.experiment.manifest import file_sha256
from phinas.experiment.run_dir import write_json
from phinas.experiment.schema.config import DataSection
from phinas.training.data.image_dataset import ImageDataset, ProgressCallback, load_images
from phinas.training.data.splits import Split, split_indices

FORMAT = 1
CHUNK_IMAGES = 1024  # images copied at a time
DATA_SETTINGS = (
    "source",
    "image_size",
    "validation_fraction",
    "test_fraction",
    "max_train_images",
    "max_validation_images",
    "skip_bad_images",
    "group_by",
)
ARRAYS = {
    split: (f"{folder}images.npy", f"{folder}labels.npy")
    for split, folder in (
        ("train", "train_val/train_"),
        ("validation", "train_val/validation_"),
        ("test", "test/"),
    )
}
# split to all pixels, all labels, and the indices that are its own
SplitArrays = dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class PreparedData:
    """train, validation, test: images in each; counts: training images of each class; mean, std: of
    each channel of the training pixels over 255, std at least one gray level; fingerprint: of
    pixels, labels, classes and split; duplicates: distinct images that occur, pixel by pixel, in
    more than one split; groups: how many are in train, validation and test, if data.group_by is
    given (0: unknown, of an official test split); shared_groups: those that the official test split
    has in common with the others."""

    directory: Path
    name: str
    classes: tuple[str, ...]
    channels: int
    image_size: int
    allow_flip: bool
    fingerprint: str
    train: int
    validation: int
    test: int
    counts: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    skipped_images: tuple[str, ...]
    duplicates: int
    groups: tuple[int, ...]
    shared_groups: tuple[str, ...]

    def train_val_arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Train images and labels, validation images and labels: read-only maps of the files."""
        return *self._split("train"), *self._split("validation")

    def test_arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Test images and labels, for the final evaluation and nothing before it."""
        return self._split("test")

    def _split(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        images, labels = (
            np.load(self.directory / path, mmap_mode="r", allow_pickle=False)
            for path in ARRAYS[name]
        )
        return images, labels


def prepare(
    section: DataSection, *, seed: int, directory: Path, on_progress: ProgressCallback | None = None
) -> PreparedData:
    """The data in `directory`, made from the source unless they are there, whole. Raises
    InputError.

    A directory that was prepared from other settings, or from data that have changed since, is left
    as it is.
    """
    requested = {"seed": seed} | {name: getattr(section, name) for name in DATA_SETTINGS}
    record = _read_record(directory)
    if record is not None:
        for key, value in requested.items():
            if record["settings"].get(key) != value:
                difference = (
                    f"was prepared with {key} {record['settings'].get(key)!r} and is now "
                    f"asked for {value!r}"
                )
                raise InputError(f"{directory}: {difference}; use a new --out for other data")
        if _is_intact(directory, record, verify_sha256=True):
            return _from_record(directory, record)
    data = load_images(section, on_progress=on_progress)
    splits = _split_arrays(data, section, seed=seed)
    fingerprint = _fingerprint(data, splits)
    if record is not None and record["data"]["fingerprint"] != fingerprint:
        changed = f"fingerprint {record['data']['fingerprint']}, now {fingerprint}"
        hint = "put the old data (and version of Pillow) back, or use a new --out"
        raise InputError(
            f"{section.source}: the data changed since this run began ({changed}); {hint}"
        )
    _remove_leftovers(directory)
    files = {}
    for split, (pixels, labels, indices) in splits.items():
        for path, array in zip(ARRAYS[split], (pixels, labels), strict=True):
            files[path] = _save(directory / path, array, indices)
    prepared = _describe(directory, data, splits, fingerprint=fingerprint)
    fields_to_write = {
        name: value for name, value in asdict(prepared).items() if name != "directory"
    }
    write_json(
        directory / "data.json",
        {"format": FORMAT, "data": fields_to_write, "settings": requested, "files": files},
    )
    return prepared


def read_prepared(directory: Path, *, verify_sha256: bool = True) -> PreparedData:
    """What `prepare` left. verify_sha256: compare sha256 too, not only sizes (a worker may trust
    its driver, which did).

    Raises InputError where nothing whole is there."""
    record = _read_record(directory)
    if record is None or not _is_intact(directory, record, verify_sha256=verify_sha256):
        problem = (
            "holds no prepared data" if record is None else "holds prepared data that are damaged"
        )
        raise InputError(f"{directory}: {problem}; `phinas resume` prepares them again")
    return _from_record(directory, record)


def _read_record(directory: Path) -> dict[str, Any] | None:
    """data.json, or None where it is missing or torn."""
    path = directory / "data.json"
    try:
        record = json.loads(path.read_bytes())
        if int(record["format"]) > FORMAT:
            raise InputError(
                f"{path}: format {record['format']} is newer than this phinas reads ({FORMAT}); "
                "upgrade phinas"
            )
        _from_record(directory, record)
        record["settings"].keys(), record["files"].items()
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return dict(record)


def _from_record(directory: Path, record: dict[str, Any]) -> PreparedData:
    values = {
        field.name: record["data"][field.name]
        for field in fields(PreparedData)
        if field.name != "directory"
    }
    tuples = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    return PreparedData(directory=directory, **values | tuples)


def _is_intact(directory: Path, record: dict[str, Any], *, verify_sha256: bool) -> bool:
    for path in (path for pair in ARRAYS.values() for path in pair):
        expected, file = record["files"].get(path), directory / path
        if expected is None or not file.is_file() or file.stat().st_size != expected["bytes"]:
            return False
        if verify_sha256 and file_sha256(file) != expected["sha256"]:
            return False
    return True


def _split_arrays(data: ImageDataset, section: DataSection, *, seed: int) -> SplitArrays:
    """An official test split is taken whole; all else comes of the training images."""
    split: Split = split_indices(
        data.train.labels,
        classes=data.classes,
        seed=seed,
        groups=data.train.groups,
        validation_fraction=section.validation_fraction,
        test_fraction=0.0 if data.test is not None else section.test_fraction,
        max_train_images=section.max_train_images,
        max_validation_images=section.max_validation_images,
    )
    pixels, labels = data.train.pixels, data.train.labels
    test_images = data.test
    test = (
        (test_images.pixels, test_images.labels, np.arange(len(test_images)))
        if test_images is not None
        else (pixels, labels, split.test)
    )
    return {
        "train": (pixels, labels, split.train),
        "validation": (pixels, labels, split.validation),
        "test": test,
    }


def _chunks(array: np.ndarray, indices: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(indices), CHUNK_IMAGES):
        yield np.ascontiguousarray(array[indices[start : start + CHUNK_IMAGES]])


def _fingerprint(data: ImageDataset, splits: SplitArrays) -> str:
    """Sixteen hexadecimal digits of what the three splits hold, in their order."""
    shapes = {
        split: [len(indices), *pixels.shape[1:]] for split, (pixels, _, indices) in splits.items()
    }
    digest = hashlib.sha256(json.dumps([data.classes, shapes]).encode())
    for pixels, labels, indices in splits.values():
        for array in (pixels, labels.astype("<i8")):
            for chunk in _chunks(array, indices):
                digest.update(chunk.data)
    return digest.hexdigest()[:16]


def _save(path: Path, array: np.ndarray, indices: np.ndarray) -> dict[str, Any]:
    """`array[indices]` as .npy, a chunk at a time, written aside, synced and renamed; its size and
    sha256.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    header = np.lib.format.header_data_from_array_1_0(array[:0]) | {
        "shape": (len(indices), *array.shape[1:])
    }
    try:
        with temporary.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for chunk in _chunks(array, indices):
                file.write(chunk.data)
            file.flush()
            os.fsync(file.fileno())
        record = {"bytes": temporary.stat().st_size, "sha256": file_sha256(temporary)}
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return record


def _remove_leftovers(directory: Path) -> None:
    """Of a preparation that was killed (the run is locked: no other is at work)."""
    for path in directory.rglob("*.tmp"):
        path.unlink(missing_ok=True)


def _describe(
    directory: Path, data: ImageDataset, splits: SplitArrays, *, fingerprint: str
) -> PreparedData:
    mean, std = _moments(data.train.pixels, splits["train"][2])
    groups = _groups(data, splits)
    return PreparedData(
        directory=directory,
        name=data.name,
        classes=data.classes,
        channels=data.train.pixels.shape[3],
        image_size=data.train.pixels.shape[1],
        allow_flip=data.allow_flip,
        fingerprint=fingerprint,
        train=len(splits["train"][2]),
        validation=len(splits["validation"][2]),
        test=len(splits["test"][2]),
        counts=tuple(
            np.bincount(data.train.labels[splits["train"][2]], minlength=len(data.classes)).tolist()
        ),
        mean=mean,
        std=std,
        skipped_images=data.skipped_images,
        duplicates=_count_duplicates(splits),
        groups=tuple(len(groups[split]) for split in splits)
        if data.train.groups is not None
        else (),
        shared_groups=tuple(sorted((groups["train"] | groups["validation"]) & groups["test"])),
    )


def _groups(data: ImageDataset, splits: SplitArrays) -> dict[str, set[str]]:
    """The groups that each split holds, as far as they are known."""
    groups_of: dict[str, set[str]] = {}
    for split, (_, _, indices) in splits.items():
        source = data.test if split == "test" and data.test is not None else data.train
        groups_of[split] = set() if source.groups is None else set(source.groups[indices].tolist())
    return groups_of


def _moments(
    pixels: np.ndarray, indices: np.ndarray
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over 255, from exact counts of the 256 levels."""
    channels = pixels.shape[3]
    counts = np.zeros((channels, 256), np.int64)
    for chunk in _chunks(pixels, indices):
        for channel in range(channels):
            counts[channel] += np.bincount(chunk[..., channel].ravel(), minlength=256)
    levels = np.arange(256) / 255
    weights = counts / counts.sum(axis=1, keepdims=True)
    means = weights @ levels
    deviations = [
        math.sqrt(float(row @ (levels - mean) ** 2))
        for row, mean in zip(weights, means, strict=True)
    ]
    return tuple(means.tolist()), tuple(max(deviation, 1 / 255) for deviation in deviations)


def _count_duplicates(splits: SplitArrays) -> int:
    """Distinct images that are in two splits or three."""
    digests = []
    for pixels, _, indices in splits.values():
        digests.append(
            {hashlib.blake2b(pixels[index].tobytes(), digest_size=16).digest() for index in indices}
        )
    train, validation, test = digests
    return len((train & validation) | (train & test) | (validation & test))
