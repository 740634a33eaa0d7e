"""Images that are arrays already: scikit-learn's digits, and an .npz.

The one decision to know: nothing is guessed. Pixels are uint8 in (count, height, width[, channels])
and labels are whole numbers from 0; an array of another kind is refused with the line of numpy that
mends it.
"""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from phinas.experiment.errors import InputError
from phinas.training.data.grouped_split import groups_from_values, unknown_key_error

KEYS = {
    "images": ("images", "x", "x_train", "train_images"),
    "labels": ("labels", "y", "y_train", "train_labels"),
    "test images": ("x_test", "test_images"),
    "test labels": ("y_test", "test_labels"),
    "classes": ("classes", "class_names"),
}
ArraySplit = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class ArrayDataset:
    """Pixels (count, height, width, channels) of uint8 with int64 labels; `test` is the official
    test split; groups: of the images of each, as text, where they are known."""

    classes: tuple[str, ...]
    train: ArraySplit
    test: ArraySplit | None
    groups: tuple[np.ndarray | None, np.ndarray | None] = (None, None)


def load_digits() -> ArrayDataset:
    """scikit-learn's 1,797 handwritten digits of 8 x 8 pixels in one channel; their 0..16 becomes
    0..255.
    """
    from sklearn import datasets

    data = datasets.load_digits()
    pixels = np.rint(data.images * (255 / 16)).astype(np.uint8)[..., None]
    return ArrayDataset(tuple(map(str, range(10))), (pixels, data.target.astype(np.int64)), None)


def load_npz(path: Path, *, group_by: str | None = None) -> ArrayDataset:
    """The arrays of an .npz. Raises InputError naming file, key, value and remedy.

    group_by: the key of the training images' groups; those of a test split are under the same key
    with `_test` (or `test` for `train` in it), if they are known."""
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
        channels = (
            f"{test[0].shape[3]} channels in the test images and {train[0].shape[3]} in the others"
        )
        raise InputError(f"{path}: {channels}; give both the same")
    labels = train[1] if test is None else np.concatenate([train[1], test[1]])
    groups = None if group_by is None else _groups(path, data, group_by, count=len(train[1]))
    has_test_groups = test is not None and test_group_key in data
    return ArrayDataset(
        _class_names(path, data, labels),
        train,
        test,
        (
            groups,
            _groups(path, data, str(test_group_key), count=len(test[1]))
            if test is not None and has_test_groups
            else None,
        ),
    )


def _groups(path: Path, data: dict[str, np.ndarray], key: str, *, count: int) -> np.ndarray:
    if key not in data:
        raise unknown_key_error(key, "key", str(path), data)
    if data[key].shape != (count,):
        raise InputError(
            f"{path}: {key}: shape {data[key].shape} is not ({count},), a group for each image; "
            "match them"
        )
    return groups_from_values(f"{path}: {key}", data[key].tolist())


def _read(path: Path, *, group_keys: tuple[str | None, ...]) -> dict[str, np.ndarray]:
    """The arrays under the keys we know, and these; of others the key alone, to be named in an
    error.
    """
    keys_to_read = [*group_keys, *(key for keys in KEYS.values() for key in keys)]
    try:
        with path.open("rb") as stream:  # numpy leaves a file open that proves to be torn
            file = np.load(stream, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise InputError(
                    f"{path}: is one array, not an .npz; write it with np.savez(path, images=x, "
                    "labels=y)"
                )
            return {
                name: _member(path, file, name) if name in keys_to_read else np.empty(0)
                for name in file.files
            }
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, MemoryError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: is not a sound .npz ({reason}); write it with np.savez(path, images=x, "
            "labels=y)"
        ) from None


def _member(path: Path, file: Any, name: str) -> np.ndarray:
    try:
        return np.asarray(file[name])
    except ValueError as error:
        if "pickle" not in str(error).lower():
            raise
        raise InputError(
            f"{path}: {name}: holds Python objects, which are not loaded; save a plain array "
            "instead"
        ) from None


def _key(data: dict[str, np.ndarray], kind: str) -> str | None:
    return next((name for name in KEYS[kind] if name in data), None)


def _pair(path: Path, data: dict[str, np.ndarray], images: str, labels: str) -> ArraySplit:
    keys = []
    for what in (images, labels):
        key = _key(data, what)
        if key is None:
            available = ", ".join(map(str, data)) or "nothing"
            raise InputError(
                f"{path}: no {what}: wanted one of {', '.join(KEYS[what])}, found {available}; "
                "rename one"
            )
        keys.append(key)
    pixels = _pixels(f"{path}: {keys[0]}", data[keys[0]])
    classes = _labels(f"{path}: {keys[1]}", data[keys[1]])
    if len(pixels) != len(classes):
        raise InputError(
            f"{path}: {len(pixels):,} {images} ({keys[0]}) but {len(classes):,} labels "
            f"({keys[1]}); match them"
        )
    return pixels, classes


def _pixels(where: str, array: np.ndarray) -> np.ndarray:
    """uint8 of (count, height, width, channels)."""
    if array.ndim == 4 and array.shape[3] not in (1, 3) and array.shape[1] in (1, 3):
        raise InputError(
            f"{where}: shape {array.shape} is channels first; store x.transpose(0, 2, 3, 1)"
        )
    if array.ndim == 4 and array.shape[3] == 4:
        raise InputError(
            f"{where}: shape {array.shape} has a fourth channel; store x[..., :3] if it is "
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
    """What to write instead of an array that is not uint8."""
    if array.dtype.kind not in "fiub" or not array.size:
        return f"{array.dtype} is not a kind of pixel; store uint8 from 0 to 255"
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():
        return (
            f"{array.dtype} with NaN or infinite pixels; remove them and store uint8 from 0 to 255"
        )
    range_text = f"{array.dtype} from {low:g} to {high:g} is not uint8"
    if array.dtype.kind == "b" or (array.dtype.kind == "f" and low >= 0 and high <= 1):
        return f"{range_text}; store (x * 255).round().astype(np.uint8)"
    if low >= 0 and high <= 255:
        return f"{range_text}; store x.round().astype(np.uint8)"
    if array.dtype.kind in "iu" and low >= 0 and high <= 65535:
        return f"{range_text}; store (x // 257).astype(np.uint8)"
    return f"{range_text}; store the original pixels, scaled to 0..255, as uint8"


def _labels(where: str, array: np.ndarray) -> np.ndarray:
    """int64 of (count,)."""
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise InputError(
            f"{where}: shape {array.shape} is not (count,); store y.argmax(1) if it is one-hot"
        )
    if array.dtype.kind == "f":
        missing = int(np.isnan(array).sum())
        hint = f"{missing} are NaN: remove those images" if missing else "store y.astype(np.int64)"
        raise InputError(f"{where}: {array.dtype} is not a kind of label; {hint}")
    if array.dtype.kind in "US":
        raise InputError(
            f"{where}: holds text; store classes, labels = np.unique(y, return_inverse=True)"
        )
    if array.dtype.kind not in "iu":
        raise InputError(f"{where}: {array.dtype} is not a kind of label; store int64 from 0 up")
    if len(array) and array.min() < 0:
        raise InputError(
            f"{where}: {array.min()} is negative; number the classes 0, 1, 2 on, and remove "
            "unlabeled images"
        )
    return array.astype(np.int64)


def _class_names(path: Path, data: dict[str, np.ndarray], labels: np.ndarray) -> tuple[str, ...]:
    key = _key(data, "classes")
    max_label = int(labels.max()) if len(labels) else -1
    if key is not None:
        names = tuple(map(str, data[key].ravel().tolist()))
        if max_label >= len(names):
            raise InputError(
                f"{path}: labels run to {max_label}, but {key} has {len(names)} names; correct "
                "one of "
                "them"
            )
        return names
    if max_label >= len(labels):
        hint = "number the classes 0, 1, 2 on: np.unique(y, return_inverse=True)[1]"
        raise InputError(f"{path}: labels run to {max_label:,} in {len(labels):,} images; {hint}")
    return tuple(map(str, range(max_label + 1)))
