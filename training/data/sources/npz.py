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
from phinas.training.data.grouped_split import groups_of_values, no_such

KEYS = {
    "images": ("images", "x", "x_train", "train_images"),
    "labels": ("labels", "y", "y_train", "train_labels"),
    "test images": ("x_test", "test_images"),
    "test labels": ("y_test", "test_labels"),
    "classes": ("classes", "class_names"),
}
Pair = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Arrays:
    """Pixels (count, height, width, channels) of uint8 with int64 labels; `test` is the official
    test split; groups: of the images of each, as text, where they are known."""

    classes: tuple[str, ...]
    train: Pair
    test: Pair | None
    groups: tuple[np.ndarray | None, np.ndarray | None] = (None, None)


def load_digits() -> Arrays:
    """scikit-learn's 1,797 handwritten digits of 8 x 8 pixels in one channel; their 0..16 becomes
    0..255.
    """
    from sklearn import datasets

    data = datasets.load_digits()
    pixels = np.rint(data.images * (255 / 16)).astype(np.uint8)[..., None]
    return Arrays(tuple(map(str, range(10))), (pixels, data.target.astype(np.int64)), None)


def load_npz(path: Path, *, group_by: str | None = None) -> Arrays:
    """The arrays of an .npz. Raises InputError naming file, key, value and remedy.

    group_by: the key of the training images' groups; those of a test split are under the same key
    with `_test` (or `test` for `train` in it), if they are known."""
    held_out = group_by and (
        group_by.replace("train", "test") if "train" in group_by else f"{group_by}_test"
    )
    data = _read(path, others=(group_by, held_out))
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
    known = test is not None and held_out in data
    return Arrays(
        _class_names(path, data, labels),
        train,
        test,
        (
            groups,
            _groups(path, data, str(held_out), count=len(test[1]))
            if test is not None and known
            else None,
        ),
    )


def _groups(path: Path, data: dict[str, np.ndarray], key: str, *, count: int) -> np.ndarray:
    if key not in data:
        raise no_such(key, "key", str(path), data)
    if data[key].shape != (count,):
        raise InputError(
            f"{path}: {key}: shape {data[key].shape} is not ({count},), a group for each image; "
            "match them"
        )
    return groups_of_values(f"{path}: {key}", data[key].tolist())


def _read(path: Path, *, others: tuple[str | None, ...]) -> dict[str, np.ndarray]:
    """The arrays under the keys we know, and these; of others the key alone, to be named in an
    error.
    """
    wanted = [*others, *(key for keys in KEYS.values() for key in keys)]
    try:
        with path.open("rb") as stream:  # numpy leaves a file open that proves to be torn
            file = np.load(stream, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise InputError(
                    f"{path}: is one array, not an .npz; write it with np.savez(path, images=x, "
                    "labels=y)"
                )
            return {
                name: _member(path, file, name) if name in wanted else np.empty(0)
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


def _key(data: dict[str, np.ndarray], what: str) -> str | None:
    return next((name for name in KEYS[what] if name in data), None)


def _pair(path: Path, data: dict[str, np.ndarray], images: str, labels: str) -> Pair:
    found = []
    for what in (images, labels):
        key = _key(data, what)
        if key is None:
            present = ", ".join(map(str, data)) or "nothing"
            raise InputError(
                f"{path}: no {what}: wanted one of {', '.join(KEYS[what])}, found {present}; "
                "rename one"
            )
        found.append(key)
    pixels = _pixels(f"{path}: {found[0]}", data[found[0]])
    classes = _labels(f"{path}: {found[1]}", data[found[1]])
    if len(pixels) != len(classes):
        raise InputError(
            f"{path}: {len(pixels):,} {images} ({found[0]}) but {len(classes):,} labels "
            f"({found[1]}); match them"
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
        raise InputError(f"{where}: {_dtype_remedy(array)}")
    return array if array.ndim == 4 else array[..., None]


def _dtype_remedy(array: np.ndarray) -> str:
    """What to write instead of an array that is not uint8."""
    if array.dtype.kind not in "fiub" or not array.size:
        return f"{array.dtype} is not a kind of pixel; store uint8 from 0 to 255"
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():
        return (
            f"{array.dtype} with NaN or infinite pixels; remove them and store uint8 from 0 to 255"
        )
    seen = f"{array.dtype} from {low:g} to {high:g} is not uint8"
    if array.dtype.kind == "b" or (array.dtype.kind == "f" and low >= 0 and high <= 1):
        return f"{seen}; store (x * 255).round().astype(np.uint8)"
    if low >= 0 and high <= 255:
        return f"{seen}; store x.round().astype(np.uint8)"
    if array.dtype.kind in "iu" and low >= 0 and high <= 65535:
        return f"{seen}; store (x // 257).astype(np.uint8)"
    return f"{seen}; store the original pixels, scaled to 0..255, as uint8"


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
        remedy = (
            f"{missing} are NaN: remove those images" if missing else "store y.astype(np.int64)"
        )
        raise InputError(f"{where}: {array.dtype} is not a kind of label; {remedy}")
    if array.dtype.kind in "US":
        raise InputError(
            f"{where}: holds text; store classes, labels = np.unique(y, return_inverse=True)"
        )
    if array.dtype.kind not in "iu":
        raise InputError(f"{where}: {array.dtype} is not a kind of label; store int64 from 0 up")
    if len(array) and array.min() < 0:
        raise InputError(
            f"{where}: {array.min()} is negative; number the classes 0, 1, 2 on, and remove "
            "unlabelled images"
        )
    return array.astype(np.int64)


def _class_names(path: Path, data: dict[str, np.ndarray], labels: np.ndarray) -> tuple[str, ...]:
    key = _key(data, "classes")
    most = int(labels.max()) if len(labels) else -1
    if key is not None:
        names = tuple(map(str, data[key].ravel().tolist()))
        if most >= len(names):
            raise InputError(
                f"{path}: labels run to {most}, but {key} has {len(names)} names; correct one of "
                "them"
            )
        return names
    if most >= len(labels):
        remedy = "number the classes 0, 1, 2 on: np.unique(y, return_inverse=True)[1]"
        raise InputError(f"{path}: labels run to {most:,} in {len(labels):,} images; {remedy}")
    return tuple(map(str, range(most + 1)))
