"""The images of a run, decoded and split once, as files that any worker maps into its memory.

`train_val` (training and validation) and `test` are separate folders. Training and model selection
open `train_val` only, the final evaluation opens `test`. `data.json` is written last and holds the
size and the hash of every array. So a preparation that was killed, or a damaged file, is detected
and made again, from the same images or not at all.
"""

import os
from pathlib import Path

import numpy as np

from phinas.experiment.artifacts.artifact import OtherVersionError
from phinas.experiment.artifacts.manifest import FileRecord
from phinas.experiment.artifacts.prepared_data import (
    RECORD_FILE,
    DatasetSummary,
    PreparationSettings,
    PreparedDataRecord,
)
from phinas.experiment.errors import InputError
from phinas.experiment.manifest import describe_file, file_sha256
from phinas.experiment.schema.config import DataSection
from phinas.training.data.dataset_splits import split_dataset
from phinas.training.data.dataset_summary import chunks, compute_fingerprint, summarize
from phinas.training.data.image_dataset import (
    DEFAULT_MAX_SIZE,
    ProgressCallback,
    load_images,
)

ARRAYS = {
    split: (f"{folder}images.npy", f"{folder}labels.npy")
    for split, folder in (
        ("train", "train_val/train_"),
        ("validation", "train_val/validation_"),
        ("test", "test/"),
    )
}


class PreparedData(DatasetSummary):
    """Prepared images in a directory, and what is known of them."""

    directory: Path

    @classmethod
    def in_directory(cls, directory: Path, summary: DatasetSummary) -> "PreparedData":
        return cls(directory=directory, **summary.model_dump())

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
    section: DataSection,
    *,
    seed: int,
    directory: Path,
    max_size: int = DEFAULT_MAX_SIZE,
    on_progress: ProgressCallback | None = None,
) -> PreparedData:
    """The prepared images in `directory`, made from the source unless they are there and intact.

    A directory that was prepared with other settings, or from images that have changed since, is
    left as it is.

    Args:
        section: The source and the splits.
        seed: The random seed of the splits.
        directory: Where the files are written.
        max_size: The largest height and width in px that networks need. Images that are in the
            directory keep their size.
        on_progress: Called with the number of images that were read, and of all.

    Raises:
        InputError: The source is wrong, or the directory holds other images.
    """
    requested = PreparationSettings.from_section(section, seed=seed)
    record = _read_record(directory)
    if record is not None:
        _require_same_settings(directory, record.settings, requested)
        if _is_intact(directory, record, verify_sha256=True):
            return PreparedData.in_directory(directory, record.data)
        # The same size again, whatever the networks need now.
        max_size = record.data.image_size
    data = load_images(section, max_size=max_size, on_progress=on_progress)
    parts = split_dataset(data, section, seed=seed)
    fingerprint = compute_fingerprint(data, parts)
    if record is not None and record.data.fingerprint != fingerprint:
        changed = f"fingerprint {record.data.fingerprint}, now {fingerprint}"
        hint = "restore the old images (and the old version of Pillow), or use a new --out"
        raise InputError(
            f"{section.source}: the images changed since this run started ({changed}); {hint}"
        )
    _remove_leftovers(directory)
    files = {}
    for name, split in parts.splits.items():
        arrays = (split.source.pixels, split.source.labels)
        for path, array in zip(ARRAYS[name], arrays, strict=True):
            files[path] = _save(directory / path, array, split.indices)
    summary = summarize(data, parts, fingerprint=fingerprint, resize_mode=section.resize_mode)
    PreparedDataRecord(data=summary, settings=requested, files=files).write(directory / RECORD_FILE)
    return PreparedData.in_directory(directory, summary)


def _require_same_settings(
    directory: Path, prepared: PreparationSettings, requested: PreparationSettings
) -> None:
    difference = prepared.first_difference(requested)
    if difference is not None:
        name, old, new = difference
        raise InputError(
            f"{directory} was prepared with {name} {old!r} and {new!r} is requested; use a new "
            "--out for other images"
        )


def read_prepared(directory: Path, *, verify_sha256: bool = True) -> PreparedData:
    """The prepared images that `prepare` wrote.

    Args:
        directory: The directory that `prepare` wrote to.
        verify_sha256: Compare the hashes of the files, and not only their sizes. A worker can trust
            its driver, which compared them.

    Raises:
        InputError: There are no prepared images, or they are damaged.
    """
    record = _read_record(directory)
    if record is None or not _is_intact(directory, record, verify_sha256=verify_sha256):
        problem = "holds no prepared images" if record is None else "the images are damaged"
        raise InputError(f"{directory}: {problem}; `phinas resume` prepares them again")
    return PreparedData.in_directory(directory, record.data)


def _read_record(directory: Path) -> PreparedDataRecord | None:
    """The metadata; None where the file is missing or damaged, so that it is made again.

    Raises:
        OtherVersionError: Another version of phinas wrote it.
    """
    try:
        return PreparedDataRecord.read(directory / RECORD_FILE)
    except OtherVersionError:
        raise
    except InputError:
        return None


def _is_intact(directory: Path, record: PreparedDataRecord, *, verify_sha256: bool) -> bool:
    for path in (path for pair in ARRAYS.values() for path in pair):
        expected, file = record.files.get(path), directory / path
        if expected is None or not file.is_file() or file.stat().st_size != expected.bytes:
            return False
        if verify_sha256 and file_sha256(file) != expected.sha256:
            return False
    return True


def _save(path: Path, array: np.ndarray, indices: np.ndarray) -> FileRecord:
    """Write `array[indices]` as .npy in chunks, to a temporary file that is synced and renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    header = np.lib.format.header_data_from_array_1_0(array[:0]) | {
        "shape": (len(indices), *array.shape[1:])
    }
    try:
        with temporary.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for chunk in chunks(array, indices):
                file.write(chunk.data)
            file.flush()
            os.fsync(file.fileno())
        record = describe_file(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return record


def _remove_leftovers(directory: Path) -> None:
    """Remove temporary files of a killed preparation. The run is locked, so none is in use."""
    for path in directory.rglob("*.tmp"):
        path.unlink(missing_ok=True)
