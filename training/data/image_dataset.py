"""Images from where people have them: a name, class folders, Hugging Face Parquet or its hub,
torchvision, an .npz.

The one decision to know: every source becomes one uint8 array (images, side, side, channels) with
integer labels, decoded once. Every image is checked while it is read; a bad one is named, and is
left out only where the caller asked for that. Images are turned upright (EXIF), made RGB, and
brought to the stored side by their shorter edge and a center crop.
"""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import DataSection
from phinas.training.data.cache import decode_cached
from phinas.training.data.decoding import (
    MAX_IMAGE_SIZE,
    SourceDataset,
    check_memory,
    median_image_size,
)
from phinas.training.data.sources import hf_hub, torchvision_datasets
from phinas.training.data.sources.image_folder import list_class_folders, printable
from phinas.training.data.sources.npz import ArrayDataset, load_digits, load_npz
from phinas.training.data.sources.parquet import list_parquet, parquet_files

ProgressCallback = Callable[[int, int], None]
DIGITS = "digits"
NAMED_SOURCES = {
    hf_hub.PREFIX: hf_hub.list_hf_dataset,
    torchvision_datasets.PREFIX: torchvision_datasets.list_torchvision,
}


@dataclass(frozen=True)
class LabeledImages:
    """pixels: uint8 of (count, side, side, channels); labels: int64 of (count,), indices of
    classes; groups: text of (count,), if data.group_by is given."""

    pixels: np.ndarray
    labels: np.ndarray
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> "LabeledImages":
        return LabeledImages(
            self.pixels[indices],
            self.labels[indices],
            None if self.groups is None else self.groups[indices],
        )


@dataclass(frozen=True)
class ImageDataset:
    """A data set in memory. test: the source's official test split; allow_flip: left-right flips
    keep the class; skipped_images: bad images that were left out, each with its reason."""

    name: str
    train: LabeledImages
    test: LabeledImages | None
    classes: tuple[str, ...]
    allow_flip: bool
    skipped_images: tuple[str, ...]


def load_images(
    section: DataSection, *, on_progress: ProgressCallback | None = None
) -> ImageDataset:
    """The images of a source; `on_progress` hears (done, total) as they are decoded. Raises
    InputError.
    """
    if section.source == DIGITS:
        if section.group_by is not None:
            raise InputError(
                f"data.group_by: {section.group_by!r}, and {DIGITS} have no groups; leave it out"
            )
        return _convert_arrays(load_digits(), section, name=DIGITS, allow_flip=False)
    on_progress = on_progress or (lambda _done, _total: None)
    for prefix, list_named in NAMED_SOURCES.items():
        if section.source.startswith(prefix):
            source_dataset = list_named(section.source, group_by=section.group_by)
            name = section.source.removeprefix(prefix).partition(":")[0]
            return _decode_source(source_dataset, section, path=Path(name), on_progress=on_progress)
    try:
        path = _resolve_path(section.source)
        if path.suffix.lower() == ".npz" and path.is_file():
            return _convert_arrays(
                load_npz(path, group_by=section.group_by), section, name=path.stem, allow_flip=True
            )
        return _decode_source(
            _list_source(path, section.group_by), section, path=path, on_progress=on_progress
        )
    except OSError as error:
        raise InputError(
            f"{error.filename or section.source}: cannot be read: {error.strerror or error}"
        ) from None


def _resolve_path(source: str) -> Path:
    try:
        path = Path(source).expanduser()
    except RuntimeError:
        path = Path(source)  # `~somebody`, who is not here
    if path.exists():
        return path.resolve()
    siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    suggestions = get_close_matches(source, [DIGITS], n=1) or [
        str(path.parent / name) for name in get_close_matches(path.name, siblings, n=1)
    ]
    hint = (
        f"did you mean {suggestions[0]!r}?"
        if suggestions
        else "give `digits`, or a folder, a .parquet or an .npz file"
    )
    raise InputError(f"data.source: {printable(source)!r} does not exist; {hint}")


def _list_source(path: Path, group_by: str | None) -> SourceDataset:
    if path.is_dir() and not parquet_files(path):
        return list_class_folders(path, group_by=group_by)
    if path.is_dir() or path.suffix.lower() == ".parquet":
        return list_parquet(path, group_by=group_by)
    kinds = "a folder of class folders, a .parquet or an .npz"
    raise InputError(
        f"data.source: {path} is a file of unknown kind {path.suffix!r}; give {kinds} (archives "
        "unpacked)"
    )


def _decode_source(
    source_dataset: SourceDataset,
    section: DataSection,
    *,
    path: Path,
    on_progress: ProgressCallback,
) -> ImageDataset:
    """Decodes both splits, and judges the bad images of both together."""
    parts = [source_dataset.train, *([source_dataset.test] if source_dataset.test else [])]
    total = sum(len(source_split.labels) for source_split in parts)
    _check_classes(path, source_dataset.classes, [source_split.labels for source_split in parts])
    image_size = section.image_size or median_image_size(source_dataset.train)
    check_memory(total, image_size=image_size)
    splits: list[LabeledImages] = []
    skipped_images: list[str] = []
    done = 0
    for source_split in parts:
        pixels, bad_images = decode_cached(
            source_split,
            image_size=image_size,
            on_progress=partial(_report, on_progress, done, total),
        )
        images = LabeledImages(pixels, source_split.labels, source_split.groups)
        if bad_images:
            good = np.setdiff1d(np.arange(len(images)), list(bad_images))
            images = images.take(good if section.skip_bad_images else good[:0])
            skipped_images += bad_images.values()
        splits.append(images)
        done += len(source_split.labels)
    if skipped_images and not section.skip_bad_images:
        raise InputError(f"{path}: {_describe_bad_images(skipped_images, total)}")
    _check_classes(path, source_dataset.classes, [split.labels for split in splits])
    return ImageDataset(
        path.name,
        splits[0],
        splits[1] if source_dataset.test else None,
        source_dataset.classes,
        True,
        tuple(skipped_images),
    )


def _report(on_progress: ProgressCallback, num_before: int, total: int, count: int) -> None:
    on_progress(num_before + count, total)


def _describe_bad_images(bad_images: list[str], total: int) -> str:
    remainder = f"; and {len(bad_images) - 5:,} more" if len(bad_images) > 5 else ""
    hint = (
        "mend them, or leave them out and count them with --skip-bad-images "
        "(data.skip_bad_images: true)"
    )
    return (
        f"{len(bad_images):,} of {total:,} images cannot be used: "
        f"{'; '.join(bad_images[:5])}{remainder}. {hint}"
    )


def _convert_arrays(
    arrays: ArrayDataset, section: DataSection, *, name: str, allow_flip: bool
) -> ImageDataset:
    where = Path(section.source)
    pairs = [arrays.train, *([arrays.test] if arrays.test else [])]
    _check_classes(where, arrays.classes, [labels for _, labels in pairs])
    image_size = section.image_size or min(*arrays.train[0].shape[1:3], MAX_IMAGE_SIZE)
    check_memory(
        sum(len(labels) for _, labels in pairs),
        image_size=image_size,
        channels=arrays.train[0].shape[3],
    )
    splits = [
        LabeledImages(_resize_arrays(pixels, image_size=image_size), labels, groups)
        for (pixels, labels), groups in zip(pairs, arrays.groups, strict=False)
    ]
    return ImageDataset(
        name, splits[0], splits[1] if arrays.test else None, arrays.classes, allow_flip, ()
    )


def _resize_arrays(pixels: np.ndarray, *, image_size: int) -> np.ndarray:
    """Arrays of another size go the way of decoded images: a centered square, resized."""
    count, height, width, channels = pixels.shape
    if (height, width) == (image_size, image_size):
        return pixels
    resized = np.empty((count, image_size, image_size, channels), np.uint8)
    for index, image in enumerate(pixels):
        pil_image = Image.fromarray(image[..., 0] if channels == 1 else image)
        square = ImageOps.fit(pil_image, (image_size, image_size), method=Image.Resampling.BICUBIC)
        resized[index] = np.asarray(square).reshape(image_size, image_size, channels)
    return resized


def _check_classes(path: Path, classes: tuple[str, ...], splits: list[np.ndarray]) -> None:
    """Raises InputError unless there are two classes, and images of every class in every split."""
    if not len(splits[0]):
        raise InputError(f"{path}: holds no images to train with; add some")
    if len(classes) < 2:
        raise InputError(
            f"{path}: holds one class ({printable(classes[0])}); a classifier needs at least two"
        )
    for split, labels in zip(("train", "test"), splits, strict=False):
        counts = np.bincount(labels, minlength=len(classes))
        empty = [repr(printable(classes[index])) for index in np.flatnonzero(counts == 0)[:5]]
        if empty:
            raise InputError(
                f"{path}: no image of class {', '.join(empty)} in {split}; add some, or remove "
                "the class"
            )
