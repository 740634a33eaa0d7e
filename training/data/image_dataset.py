"""Images from a data source, decoded into memory.

Every source becomes one uint8 array (images, size, size, channels) with integer labels. Every image
is checked while it is decoded. A bad one is an error that names it, or is skipped if the user asked
for that. Images are turned upright (EXIF), converted to RGB, resized by their shorter edge and
cropped to the center square.
"""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from phinas.experiment.errors import InputError
from phinas.experiment.executors.interface import import_function
from phinas.experiment.schema.config import DataSection
from phinas.training.data.cache import decode_cached
from phinas.training.data.decoding import MAX_IMAGE_SIZE, check_memory, median_image_size
from phinas.training.data.source_dataset import ArrayDataset, SourceDataset, printable
from phinas.training.data.sources import (
    SOURCES,
    SourceEntry,
    find_named_source,
    find_path_source,
    source_usages,
)

ProgressCallback = Callable[[int, int], None]
MAX_LISTED = 5  # bad images and empty classes that a message names


@dataclass(frozen=True)
class LabeledImages:
    """The images of a split.

    Attributes:
        pixels: uint8 (count, size, size, channels).
        labels: int64 (count,), class indices.
        groups: Text (count,), the group of each image. None without `data.group_by`.
    """

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
    """A data set in memory.

    Attributes:
        name: A short name for reports.
        train: The training images, or all images if the source has no official test split.
        test: The official test split.
        classes: Class names, in the order of the class indices.
        allow_flip: Whether an image keeps its class when it is mirrored from left to right.
        skipped_images: The bad images that were skipped, each with its reason.
    """

    name: str
    train: LabeledImages
    test: LabeledImages | None
    classes: tuple[str, ...]
    allow_flip: bool
    skipped_images: tuple[str, ...]


def load_images(
    section: DataSection, *, on_progress: ProgressCallback | None = None
) -> ImageDataset:
    """Load, check and decode the images of a data source.

    Args:
        section: The configuration section `data`.
        on_progress: Called with the number of decoded images and of all images.

    Raises:
        InputError: The source does not exist or cannot be read, or its images or labels cannot be
            used.
    """
    report = on_progress or (lambda _done, _total: None)
    entry = find_named_source(section.source)
    if entry is not None:
        name = section.source.removeprefix(entry.prefix).partition(":")[0]
        return _load(entry, section.source, section, path=Path(name), on_progress=report)
    try:
        path = _resolve_path(section.source)
        entry = find_path_source(path)
        if entry is None:
            raise InputError(
                f"data.source: {path} is a file of unknown type {path.suffix!r}; unpack it if it "
                f"is an archive, or use one of {source_usages()}"
            )
        return _load(entry, path, section, path=path, on_progress=report)
    except OSError as error:
        raise InputError(
            f"{error.filename or section.source}: cannot be read: {error.strerror or error}"
        ) from None


def _load(
    entry: SourceEntry,
    argument: str | Path,
    section: DataSection,
    *,
    path: Path,
    on_progress: ProgressCallback,
) -> ImageDataset:
    """Load a source. `path` names it in messages, and its last part names the data set."""
    read_source = import_function(entry.path)
    dataset: SourceDataset | ArrayDataset = read_source(argument, group_by=section.group_by)
    if isinstance(dataset, ArrayDataset):
        return _convert_arrays(dataset, section, path=path)
    return _decode_source(dataset, section, path=path, on_progress=on_progress)


def _resolve_path(source: str) -> Path:
    try:
        path = Path(source).expanduser()
    except RuntimeError:
        path = Path(source)  # `~name` of an unknown user
    if path.exists():
        return path.resolve()
    siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    names = [entry.name for entry in SOURCES.values() if entry.name]
    suggestions = get_close_matches(source, names, n=1) or [
        str(path.parent / name) for name in get_close_matches(path.name, siblings, n=1)
    ]
    advice = f"did you mean {suggestions[0]!r}?" if suggestions else f"use one of {source_usages()}"
    raise InputError(f"data.source: {printable(source)!r} does not exist; {advice}")


def _decode_source(
    dataset: SourceDataset, section: DataSection, *, path: Path, on_progress: ProgressCallback
) -> ImageDataset:
    """Decode all splits. An error lists the bad images of all of them."""
    source_splits = [dataset.train, *([dataset.test] if dataset.test else [])]
    total = sum(len(split.labels) for split in source_splits)
    _check_classes(path, dataset.classes, [split.labels for split in source_splits])
    image_size = section.image_size or median_image_size(dataset.train)
    check_memory(total, image_size=image_size)
    splits: list[LabeledImages] = []
    skipped_images: list[str] = []
    done = 0
    for source_split in source_splits:
        pixels, bad_images = decode_cached(
            source_split,
            image_size=image_size,
            on_progress=partial(_report, on_progress, done, total),
        )
        images = LabeledImages(pixels, source_split.labels, source_split.groups)
        if bad_images:
            good = np.setdiff1d(np.arange(len(images)), list(bad_images))
            # If bad images are an error, none of the pixels is needed.
            images = images.take(good if section.skip_bad_images else good[:0])
            skipped_images += bad_images.values()
        splits.append(images)
        done += len(source_split.labels)
    if skipped_images and not section.skip_bad_images:
        raise InputError(f"{path}: {_describe_bad_images(skipped_images, total)}")
    _check_classes(path, dataset.classes, [split.labels for split in splits])
    return ImageDataset(
        path.name,
        splits[0],
        splits[1] if dataset.test else None,
        dataset.classes,
        dataset.allow_flip,
        tuple(skipped_images),
    )


def _report(on_progress: ProgressCallback, num_before: int, total: int, count: int) -> None:
    on_progress(num_before + count, total)


def _describe_bad_images(bad_images: list[str], total: int) -> str:
    num_more = len(bad_images) - MAX_LISTED
    more = f"; and {num_more:,} more" if num_more > 0 else ""
    return (
        f"{len(bad_images):,} of {total:,} images cannot be used: "
        f"{'; '.join(bad_images[:MAX_LISTED])}{more}. Repair or remove them, or skip them with "
        "--skip-bad-images (data.skip_bad_images: true)"
    )


def _convert_arrays(arrays: ArrayDataset, section: DataSection, *, path: Path) -> ImageDataset:
    splits = [arrays.train, *([arrays.test] if arrays.test else [])]
    _check_classes(path, arrays.classes, [labels for _, labels in splits])
    image_size = section.image_size or min(*arrays.train[0].shape[1:3], MAX_IMAGE_SIZE)
    check_memory(
        sum(len(labels) for _, labels in splits),
        image_size=image_size,
        channels=arrays.train[0].shape[3],
    )
    images = [
        LabeledImages(_resize_arrays(pixels, image_size=image_size), labels, groups)
        for (pixels, labels), groups in zip(splits, arrays.groups, strict=False)
    ]
    return ImageDataset(
        path.stem,
        images[0],
        images[1] if arrays.test else None,
        arrays.classes,
        arrays.allow_flip,
        (),
    )


def _resize_arrays(pixels: np.ndarray, *, image_size: int) -> np.ndarray:
    """Crop and resize images like decoded ones. Returns `pixels` if they have the size."""
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
    """Check that there are two classes, and images of every class in every split.

    Raises:
        InputError: There are no images or only one class, or a split has no image of a class.
    """
    if not len(splits[0]):
        raise InputError(f"{path}: has no training images; add some")
    if len(classes) < 2:
        raise InputError(
            f"{path}: has only one class ({printable(classes[0])}); add images of another class"
        )
    for split, labels in zip(("train", "test"), splits, strict=False):
        counts = np.bincount(labels, minlength=len(classes))
        empty = [repr(printable(classes[index])) for index in np.flatnonzero(counts == 0)]
        if empty:
            more = f" and {len(empty) - MAX_LISTED:,} more" if len(empty) > MAX_LISTED else ""
            raise InputError(
                f"{path}: the {split} split has no image of class "
                f"{', '.join(empty[:MAX_LISTED])}{more}; add images, or remove the class"
            )
