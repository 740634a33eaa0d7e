"""Images from a data source, decoded.

Every source becomes one uint8 array (images, size, size, channels) with integer labels. Every image
is checked while it is decoded. A bad one is an error that names it, or is skipped if the user asked
for that. Images are turned upright (EXIF), converted to RGB, and made square as `data.resize_mode`
says.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import DataSection
from phinas.experiment.schema.run import ResizeMode
from phinas.training.data.cache import decode_cached
from phinas.training.data.decoding import (
    BadImage,
    median_image_size,
    native_size_of,
    resize_to_square,
)
from phinas.training.data.labeling.official_splits import (
    check_classes,
    describe_missing_classes,
    drop_small_classes,
    use_validation_for_testing,
)
from phinas.training.data.pixel_array import new_pixels
from phinas.training.data.source_dataset import (
    MAX_NAMED,
    ArrayDataset,
    LabeledDataset,
    LabeledImages,
    SourceDataset,
    SourceSplit,
    SplitT,
    UnusableImage,
)
from phinas.training.data.source_reading import read_source

ProgressCallback = Callable[[int, int], None]
# Called with the encoded images of each split before they are decoded.
Inspection = Callable[[dict[str, SourceSplit]], None]
# px, of stored images where nothing says which resolutions networks have
DEFAULT_MAX_SIZE = 224


@dataclass(frozen=True)
class ImageDataset:
    """A decoded data set.

    Attributes:
        name: A short name for reports.
        train: The training images, or all images if the source has no official test split.
        validation: The official validation split.
        test: The official test split.
        classes: Class names, in the order of the class indices.
        allow_flip: Whether an image keeps its class when it is mirrored from left to right.
        native_size: Median size of the images before they were resized, in px: of the shorter edge,
            or of the longer edge for letterbox.
        skipped_images: The bad images that were skipped, each with its reason.
        notes: What the user should know of how the source was read, one line each.
    """

    name: str
    train: LabeledImages
    validation: LabeledImages | None
    test: LabeledImages | None
    classes: tuple[str, ...]
    allow_flip: bool
    native_size: int
    skipped_images: tuple[UnusableImage, ...]
    notes: tuple[str, ...]


def load_images(
    section: DataSection,
    *,
    max_size: int = DEFAULT_MAX_SIZE,
    on_progress: ProgressCallback | None = None,
    inspect: Inspection | None = None,
) -> ImageDataset:
    """Load, check and decode the images of a data source.

    Args:
        section: The configuration section `data`.
        max_size: The largest height and width in px that networks need. Images are stored at it, or
            at their median size where that is smaller. `data.image_size` overrides it.
        on_progress: Called with the number of decoded images and of all images.
        inspect: Called with the splits of a source of encoded images before they are decoded.

    Raises:
        InputError: The source does not exist or cannot be read, or its images or labels cannot be
            used.
    """
    report = on_progress or (lambda _done, _total: None)
    with ExitStack() as resources:
        try:
            name, where, source = read_source(section, resources)
        except OSError as error:
            raise InputError(
                f"{error.filename or section.source} cannot be read: {error.strerror or error}"
            ) from None
        if isinstance(source.train, LabeledImages):
            arrays = _select(source, section, where=where)
            return _resize(arrays, section, name=name, where=where, max_size=max_size)
        dataset = _select(source, section, where=where)
        if inspect is not None:
            inspect(dataset.splits)
        return _decode(
            dataset, section, name=name, where=where, max_size=max_size, on_progress=report
        )


def _select(
    dataset: LabeledDataset[SplitT], section: DataSection, *, where: object
) -> LabeledDataset[SplitT]:
    """The official splits that are used, and the classes that have enough images."""
    dataset = use_validation_for_testing(dataset)
    dataset = drop_small_classes(dataset, section.min_images_per_class)
    labels = {name: split.labels for name, split in dataset.splits.items()}
    check_classes(dataset.classes, labels, where=where)
    return dataset


def _decode(
    dataset: SourceDataset,
    section: DataSection,
    *,
    name: str,
    where: object,
    max_size: int,
    on_progress: ProgressCallback,
) -> ImageDataset:
    """Decode all splits. An error lists the bad images of all of them."""
    total = sum(len(split) for split in dataset.splits.values())
    native_size = median_image_size(dataset.train, resize_mode=section.resize_mode)
    image_size = section.image_size or min(native_size, max_size)
    splits: dict[str, LabeledImages] = {}
    skipped_images: list[UnusableImage] = []
    done = 0
    for split_name, source_split in dataset.splits.items():
        pixels, bad_images = decode_cached(
            source_split,
            image_size=image_size,
            resize_mode=section.resize_mode,
            on_progress=partial(_report, on_progress, done, total),
        )
        images = LabeledImages(pixels, source_split.labels, source_split.groups)
        if bad_images:
            good = np.setdiff1d(np.arange(len(images)), list(bad_images))
            # If bad images are an error, none of the pixels is needed.
            images = images.take(good if section.skip_bad_images else good[:0])
            skipped_images += bad_images.values()
        splits[split_name] = images
        done += len(source_split)
    if skipped_images and not section.skip_bad_images:
        raise InputError(f"{where}: {_describe_bad_images(skipped_images, total)}")
    return _make_dataset(
        dataset,
        section,
        splits,
        name=name,
        where=where,
        native_size=native_size,
        skipped_images=tuple(skipped_images),
    )


def _resize(
    dataset: ArrayDataset, section: DataSection, *, name: str, where: object, max_size: int
) -> ImageDataset:
    height, width = dataset.train.pixels.shape[1:3]
    native_size = native_size_of((width, height), resize_mode=section.resize_mode)
    image_size = section.image_size or min(native_size, max_size)
    splits = {
        split_name: LabeledImages(
            _resize_arrays(split.pixels, image_size=image_size, resize_mode=section.resize_mode),
            split.labels,
            split.groups,
        )
        for split_name, split in dataset.splits.items()
    }
    return _make_dataset(dataset, section, splits, name=name, where=where, native_size=native_size)


def _make_dataset(
    dataset: SourceDataset | ArrayDataset,
    section: DataSection,
    splits: dict[str, LabeledImages],
    *,
    name: str,
    where: object,
    native_size: int,
    skipped_images: tuple[UnusableImage, ...] = (),
) -> ImageDataset:
    """Check the decoded splits, and describe what the user should know of them."""
    labels = {split_name: split.labels for split_name, split in splits.items()}
    check_classes(dataset.classes, labels, where=where)
    size_note = _describe_size(splits["train"].pixels.shape[1], native_size, section)
    return ImageDataset(
        name=name,
        train=splits["train"],
        validation=splits.get("validation"),
        test=splits.get("test"),
        classes=dataset.classes,
        allow_flip=dataset.allow_flip,
        native_size=native_size,
        skipped_images=skipped_images,
        notes=(
            *dataset.notes,
            *describe_missing_classes(dataset.classes, labels),
            *size_note,
        ),
    )


def _describe_size(image_size: int, native_size: int, section: DataSection) -> tuple[str, ...]:
    """A line if images are stored smaller than they are though the user did not ask for it."""
    if section.image_size is not None or image_size >= native_size:
        return ()
    edge = "longer" if section.resize_mode == "letterbox" else "shorter"
    return (
        f"the images (median of the {edge} edges: {native_size} px) are stored at {image_size} px; "
        "data.image_size stores them at another size",
    )


def _report(on_progress: ProgressCallback, num_before: int, total: int, count: int) -> None:
    on_progress(num_before + count, total)


def _describe_bad_images(bad_images: list[UnusableImage], total: int) -> str:
    num_more = len(bad_images) - MAX_NAMED
    more = f"; and {num_more:,} more" if num_more > 0 else ""
    return (
        f"{len(bad_images):,} of {total:,} images cannot be used: "
        f"{'; '.join(map(str, bad_images[:MAX_NAMED]))}{more}. Repair or remove them, or set "
        "data.skip_bad_images: true to skip them; then `phinas audit --csv FILE` lists all of them"
    )


def _resize_arrays(pixels: np.ndarray, *, image_size: int, resize_mode: ResizeMode) -> np.ndarray:
    """Resize images like decoded ones. Returns `pixels` if they have the size."""
    count, height, width, channels = pixels.shape
    if (height, width) == (image_size, image_size):
        return pixels
    resized = new_pixels((count, image_size, image_size, channels))
    for index, image in enumerate(pixels):
        full_image = Image.fromarray(image[..., 0] if channels == 1 else image)
        try:
            square = resize_to_square(full_image, image_size, resize_mode=resize_mode)
        except BadImage as reason:
            raise InputError(f"image {index} {reason}") from None
        resized[index] = np.asarray(square).reshape(image_size, image_size, channels)
    return resized
