"""NumPy arrays in an .npz file.

Nothing is guessed. Pixels are uint8 (count, height, width[, channels]), and labels are integers
from 0. For an array of another kind, the error shows the line of NumPy that converts it.
"""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from phinas.experiment.errors import InputError
from phinas.training.data.grouped_split import groups_from_values, unknown_key_error
from phinas.training.data.source_dataset import ArrayDataset, ArraySplit

KEYS = {
    "images": ("images", "x", "x_train", "train_images"),
    "labels": ("labels", "y", "y_train", "train_labels"),
    "test images": ("x_test", "test_images"),
    "test labels": ("y_test", "test_labels"),
    "classes": ("classes", "class_names"),
}


def load_npz(path: Path, *, group_by: str | None = None) -> ArrayDataset:
    """Load the arrays of an .npz file.

    Args:
        path: The file.
        group_by: The key of the groups of the training images. Those of a test split are read, if
            present, from the same key with `test` in place of `train`, or else with `_test`
            appended.

    Raises:
        InputError: The file cannot be read, a key is missing, or an array is not of the right kind.
    """
    test_group_key = group_by and (
        group_by.replace("train", "test") if "train" in group_by else f"{group_by}_test"
    )
    data = _read(path, group_keys=(group_by, test_group_key))
    train = _pair(path, data, "images", "labels")
    test = (
        _pair(path, data, "test images", "test labels")
        if _key(data, "test images") or _key(data, "test labels")
        else None
    )
    if test and test[0].shape[3] != train[0].shape[3]:
        raise InputError(
            f"{path}: the test images have {test[0].shape[3]} channels and the training images "
            f"have {train[0].shape[3]}; store both with the same number"
        )
    labels = train[1] if test is None else np.concatenate([train[1], test[1]])
    groups = None if group_by is None else _groups(path, data, group_by, count=len(train[1]))
    test_groups = None
    if test is not None and test_group_key in data:
        test_groups = _groups(path, data, str(test_group_key), count=len(test[1]))
    return ArrayDataset(_class_names(path, data, labels), train, test, (groups, test_groups))


def _groups(path: Path, data: dict[str, np.ndarray], key: str, *, count: int) -> np.ndarray:
    if key not in data:
        raise unknown_key_error(key, "key", str(path), data)
    if data[key].shape != (count,):
        raise InputError(
            f"{path}: {key}: shape {data[key].shape} is not ({count},); store one group for each "
            "image"
        )
    return groups_from_values(f"{path}: {key}", data[key].tolist())


def _read(path: Path, *, group_keys: tuple[str | None, ...]) -> dict[str, np.ndarray]:
    """The arrays of the file by key.

    Keys that are not read map to an empty array, so that messages can name them.
    """
    keys_to_read = [*group_keys, *(key for keys in KEYS.values() for key in keys)]
    try:
        with path.open("rb") as stream:  # np.load(path) does not close a file that it cannot read.
            file = np.load(stream, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise InputError(
                    f"{path}: is a single array, not an .npz file; write it with np.savez(path, "
                    "images=x, labels=y)"
                )
            return {
                name: _member(path, file, name) if name in keys_to_read else np.empty(0)
                for name in file.files
            }
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, MemoryError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: is not a valid .npz file ({reason}); write it again with np.savez(path, "
            "images=x, labels=y)"
        ) from None


def _member(path: Path, file: Any, name: str) -> np.ndarray:
    try:
        return np.asarray(file[name])
    except ValueError:
        if not _contains_objects(file, name):
            raise
        raise InputError(
            f"{path}: {name}: contains Python objects, which are not loaded for safety; store an "
            "array of numbers"
        ) from None


def _contains_objects(file: Any, name: str) -> bool:
    """Whether the dtype of an array, by its header, has Python objects."""
    formats = np.lib.format
    readers = {(1, 0): formats.read_array_header_1_0, (2, 0): formats.read_array_header_2_0}
    with file.zip.open(f"{name}.npy") as stream:
        read_header = readers.get(formats.read_magic(stream))
        return read_header is not None and read_header(stream)[2].hasobject


def _key(data: dict[str, np.ndarray], kind: str) -> str | None:
    return next((name for name in KEYS[kind] if name in data), None)


def _pair(path: Path, data: dict[str, np.ndarray], images: str, labels: str) -> ArraySplit:
    keys = []
    for kind in (images, labels):
        key = _key(data, kind)
        if key is None:
            available = ", ".join(map(str, data)) or "none"
            raise InputError(
                f"{path}: has no {kind}, only the keys {available}; store the {kind} under one of "
                f"the keys {', '.join(KEYS[kind])}"
            )
        keys.append(key)
    pixels = _pixels(f"{path}: {keys[0]}", data[keys[0]])
    classes = _labels(f"{path}: {keys[1]}", data[keys[1]])
    if len(pixels) != len(classes):
        raise InputError(
            f"{path}: has {len(pixels):,} {images} ({keys[0]}) but {len(classes):,} labels "
            f"({keys[1]}); store one label for each image"
        )
    return pixels, classes


def _pixels(where: str, array: np.ndarray) -> np.ndarray:
    """The images as uint8 (count, height, width, channels)."""
    if array.ndim == 4 and array.shape[3] not in (1, 3) and array.shape[1] in (1, 3):
        raise InputError(
            f"{where}: shape {array.shape} has the channels first; store x.transpose(0, 2, 3, 1)"
        )
    if array.ndim == 4 and array.shape[3] == 4:
        raise InputError(
            f"{where}: shape {array.shape} has four channels; store x[..., :3] if the fourth is "
            "transparency"
        )
    if (
        array.ndim not in (3, 4)
        or (array.ndim == 4 and array.shape[3] not in (1, 3))
        or 0 in array.shape[1:]
    ):
        raise InputError(
            f"{where}: shape {array.shape} is not (count, height, width) with 1 or 3 channels "
            "last; reshape it"
        )
    if array.dtype != np.uint8:
        raise InputError(f"{where}: {_dtype_hint(array)}")
    return array if array.ndim == 4 else array[..., None]


def _dtype_hint(array: np.ndarray) -> str:
    """Message and advice for an array that is not uint8."""
    if array.dtype.kind not in "fiub" or not array.size:
        return f"pixels cannot be {array.dtype}; store uint8 from 0 to 255"
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():
        return (
            f"{array.dtype} with NaN or infinite pixels; remove them, and store uint8 from 0 to 255"
        )
    range_text = f"{array.dtype} from {low:g} to {high:g} is not uint8"
    if array.dtype.kind == "b" or (array.dtype.kind == "f" and low >= 0 and high <= 1):
        return f"{range_text}; store (x * 255).round().astype(np.uint8)"
    if low >= 0 and high <= 255:
        return f"{range_text}; store x.round().astype(np.uint8)"
    if array.dtype.kind in "iu" and low >= 0 and high <= 65535:
        return f"{range_text}; store (x // 257).astype(np.uint8)"
    return f"{range_text}; store the original pixels as uint8 from 0 to 255"


def _labels(where: str, array: np.ndarray) -> np.ndarray:
    """The labels as int64 (count,)."""
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise InputError(
            f"{where}: shape {array.shape} is not (count,); store y.argmax(1) if it is one-hot"
        )
    if array.dtype.kind == "f":
        missing = int(np.isnan(array).sum())
        advice = (
            f"{missing} are NaN, so remove those images" if missing else "store y.astype(np.int64)"
        )
        raise InputError(f"{where}: labels cannot be {array.dtype}; {advice}")
    if array.dtype.kind in "US":
        raise InputError(
            f"{where}: labels cannot be text; store classes, labels = np.unique(y, "
            "return_inverse=True)"
        )
    if array.dtype.kind not in "iu":
        raise InputError(f"{where}: labels cannot be {array.dtype}; store int64 from 0 up")
    if len(array) and array.min() < 0:
        raise InputError(
            f"{where}: label {array.min()} is negative; number the classes from 0, and remove "
            "images without a label"
        )
    return array.astype(np.int64)


def _class_names(path: Path, data: dict[str, np.ndarray], labels: np.ndarray) -> tuple[str, ...]:
    key = _key(data, "classes")
    max_label = int(labels.max()) if len(labels) else -1
    if key is not None:
        names = tuple(map(str, data[key].ravel().tolist()))
        if max_label >= len(names):
            raise InputError(
                f"{path}: the largest label is {max_label}, but {key} has {len(names)} names; "
                "correct one of them"
            )
        return names
    if max_label >= len(labels):
        raise InputError(
            f"{path}: the largest label is {max_label:,} in {len(labels):,} images; number the "
            "classes from 0 with np.unique(y, return_inverse=True)[1]"
        )
    return tuple(map(str, range(max_label + 1)))
