"""NumPy arrays in an .npz file.

Nothing is guessed. Pixels are uint8 (count, height, width[, channels]), and labels are whole
numbers, text or one-hot. For an array of another kind, the error shows the line of NumPy that
converts it.
"""

import math
from pathlib import Path

import numpy as np

from phinas.experiment.errors import InputError
from phinas.training.data.grouped_split import groups_from_values, unknown_key_error
from phinas.training.data.labeling.labels import (
    as_labels,
    describe_unlabeled,
    encode_labels,
    select_marked,
)
from phinas.training.data.labeling.split_names import SPLIT_NAMES
from phinas.training.data.npz_file import NpzFile
from phinas.training.data.source_dataset import ArrayDataset, LabeledImages, ReadOptions

_IMAGE_KEYS = ("images", "x", "x_train", "train_images", "train_x", "data", "train_data")
_LABEL_KEYS = ("labels", "y", "y_train", "train_labels", "train_y", "target", "targets")
_STEMS: dict[tuple[str, ...], tuple[str, ...]] = {
    _IMAGE_KEYS: ("images", "x", "data"),
    _LABEL_KEYS: ("labels", "y", "target", "targets"),
}
_CLASS_KEYS = ("classes", "class_names")
Arrays = dict[str, np.ndarray]


def load_npz(path: Path, options: ReadOptions) -> ArrayDataset:
    """Load the arrays of an .npz file.

    Args:
        path: The file.
        options: `group_by`, `image_column` and `label_column` are keys of the training images.
            Those of other splits have `test` or `val` in place of `train`, or else appended.

    Raises:
        InputError: The file cannot be read, a key is missing, or an array is not of the right kind.
    """
    with NpzFile(path) as file:
        image_keys = _keys_of("data.image_column", options.image_column, _IMAGE_KEYS, file)
        label_keys = _keys_of("data.label_column", options.label_column, _LABEL_KEYS, file)
        splits: dict[str, LabeledImages] = {}
        labels: Arrays = {}
        notes = []
        for split in SPLIT_NAMES:
            keys = [file.find(candidates[split]) for candidates in (image_keys, label_keys)]
            if split != "train" and keys[0] is None and keys[1] is None:
                continue
            image_key = file.require(keys[0], "images", split, image_keys[split])
            where = f"{path}: {image_key}"
            pixels = _pixels(where, file.read(image_key))
            values = None
            if split == "train" or keys[1] is not None:
                label_key = file.require(keys[1], "labels", split, label_keys[split])
                values = _labels(f"{path}: {label_key}", file.read(label_key))
            if values is None and split != "train":
                notes.append(describe_unlabeled(image_key, len(pixels)))
                continue
            if values is None:
                raise InputError(f"{path}: {keys[1]}: no image has a label; add the labels")
            if len(pixels) != len(values):
                raise InputError(
                    f"{path} has {len(pixels):,} images ({image_key}) but {len(values):,} labels "
                    f"({keys[1]}); store one label for each image"
                )
            labels[split] = values
            groups = _groups(file, options.group_by, split, count=len(values))
            splits[split] = LabeledImages(pixels, values, groups)
        class_key = file.find(_CLASS_KEYS)
        names = [] if class_key is None else list(map(str, file.read(class_key).ravel().tolist()))
    _check_channels(path, splits)
    where_labels = dict.fromkeys(labels, f"{path}: labels")
    classes, codes = encode_labels(labels, names=names, where=where_labels)
    made = {
        split: LabeledImages(images.pixels, codes[split], images.groups)
        for split, images in splits.items()
    }
    return ArrayDataset(
        classes,
        made["train"],
        test=made.get("test"),
        validation=made.get("validation"),
        notes=tuple(notes),
    )


def _keys_of(
    field: str, key: str | None, common: tuple[str, ...], file: "NpzFile"
) -> dict[str, tuple[str, ...]]:
    """For each split the keys that an array may have, the first one preferred.

    Raises:
        InputError: The file does not have the key that the user named.
    """
    if key is not None and key not in file.keys:
        available = ", ".join(file.keys) or "none"
        raise InputError(f"{field}: {file.path} has no key {key!r}; use one of: {available}")
    keys = {"train": common if key is None else (key,)}
    for split in ("validation", "test"):
        stems = _STEMS[common] if key is None else (key,)
        keys[split] = tuple(name for stem in stems for name in _split_keys(stem, split))
    return keys


def _split_keys(key: str, split: str) -> list[str]:
    """The keys that belong to the key of the training images."""
    names = []
    for word in SPLIT_NAMES[split]:
        if "train" in key:
            names.append(key.replace("train", word))
        else:
            names += [f"{key}_{word}", f"{word}_{key}"]
    return names


def _groups(file: "NpzFile", group_by: str | None, split: str, *, count: int) -> np.ndarray | None:
    if group_by is None:
        return None
    key = file.find([group_by] if split == "train" else _split_keys(group_by, split))
    if key is None:
        if split == "train":
            raise unknown_key_error(group_by, "key", str(file.path), file.keys)
        return None
    values = file.read(key)
    if values.shape != (count,):
        raise InputError(
            f"{file.path}: {key}: shape {values.shape} is not ({count},); store one group for each "
            "image"
        )
    return groups_from_values(f"{file.path}: {key}", values.tolist())


def _check_channels(path: Path, splits: dict[str, LabeledImages]) -> None:
    expected = splits["train"].pixels.shape[3]
    for split, images in splits.items():
        channels = images.pixels.shape[3]
        if channels != expected:
            raise InputError(
                f"{path}: the {split} images have {channels} channels and the training images "
                f"have {expected}; store both with the same number"
            )


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
    if array.ndim == 2:
        raise InputError(
            f"{where}: shape {array.shape} has the pixels of an image in one row; store "
            f"{_reshape_advice(array.shape[1])}"
        )
    if array.ndim == 4 and array.shape[2] in (1, 3) and array.shape[3] not in (1, 3):
        raise InputError(
            f"{where}: shape {array.shape} has the images last; store x.transpose(3, 0, 1, 2)"
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


def _reshape_advice(size: int) -> str:
    """The line of NumPy that makes square images of rows of so many values."""
    edge = math.isqrt(size)
    if edge * edge == size:
        return f"x.reshape(-1, {edge}, {edge})"
    edge = math.isqrt(size // 3)
    if edge * edge * 3 == size:
        return (
            f"x.reshape(-1, {edge}, {edge}, 3), or where the channels come first "
            f"x.reshape(-1, 3, {edge}, {edge}).transpose(0, 2, 3, 1)"
        )
    return "x.reshape(-1, height, width)"


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


def _labels(where: str, array: np.ndarray) -> np.ndarray | None:
    """The labels as int64 or text (count,). None if no image has one."""
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2 and array.dtype.kind in "fiub":
        return select_marked(array, where=where)
    if array.ndim != 1:
        raise InputError(f"{where}: shape {array.shape} is not (count,); store one label per image")
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "replace")
    if array.dtype.kind not in "iuUfb":
        raise InputError(f"{where}: labels cannot be {array.dtype}; store integers or text")
    return as_labels(array.tolist(), where=where)
