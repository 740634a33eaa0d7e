"""What a plan needs to know of images: how many there are, their size and their classes.

Images are decoded as a run decodes them, which is quick where they are in the cache. Where it takes
longer than a few seconds, only labels and the headers of some images are read. The numbers of
images may then differ slightly from those of the run, which keeps equal images in one split.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from phinas.experiment.schema.config import DataSection
from phinas.terminal.progress import ProgressCallback

if TYPE_CHECKING:
    from phinas.training.data.source_dataset import SourceSplit

MAX_DECODING_SECONDS = 7.0
UNDECODED_NOTE = (
    "the images were not decoded, so images that cannot be read and copies in several splits are "
    "not known yet; `phinas audit` finds them"
)


@dataclass(frozen=True)
class PlannedImages:
    """The images of a run that is planned.

    Attributes:
        train: Number of training images.
        validation: Number of validation images.
        test: Number of test images.
        skipped: Number of images that cannot be read; None where the images were not decoded.
        classes: Class names, or their numbers where the images were not decoded.
        channels: Channels of an image.
        image_size: Height and width at which the images are stored, in px.
        native_size: Median size of the images before that, in px.
    """

    train: int
    validation: int
    test: int
    skipped: int | None
    classes: Sequence[str]
    channels: int
    image_size: int
    native_size: int


class _DecodingLimitError(Exception):
    """Decoding takes too long for a plan."""


class _SplitsFoundError(Exception):
    """The splits of a source are known, so no image needs to be decoded."""

    def __init__(self, splits: "dict[str, SourceSplit]") -> None:
        self.splits = splits


def read_planned_images(
    section: DataSection,
    *,
    seed: int,
    max_size: int,
    on_progress: ProgressCallback | None = None,
    max_seconds: float = MAX_DECODING_SECONDS,
) -> PlannedImages:
    """Read the numbers, sizes and classes of images. No file is written, except in the cache.

    Args:
        section: The source and the splits.
        seed: The random seed of the splits.
        max_size: The largest height and width in px that networks need.
        on_progress: Called with (done, total, text) while images are decoded.
        max_seconds: Limit of the decoding.

    Raises:
        InputError: The source is wrong.
    """
    from phinas.training.data.dataset_splits import split_dataset
    from phinas.training.data.image_dataset import load_images

    deadline = time.monotonic() + max_seconds

    def report(done: int, total: int) -> None:
        if time.monotonic() > deadline and done < total:
            raise _DecodingLimitError
        if on_progress is not None:
            on_progress(done, total, "")

    try:
        data = load_images(section, max_size=max_size, on_progress=report)
    except _DecodingLimitError:
        return _read_outline(section, seed=seed, max_size=max_size)
    sizes = {
        name: len(part) for name, part in split_dataset(data, section, seed=seed).splits.items()
    }
    return PlannedImages(
        **sizes,
        skipped=len(data.skipped_images),
        classes=data.classes,
        channels=data.train.pixels.shape[3],
        image_size=data.train.pixels.shape[1],
        native_size=data.native_size,
    )


def _read_outline(section: DataSection, *, seed: int, max_size: int) -> PlannedImages:
    """The images of a source of encoded images, without a pixel of them."""
    from phinas.training.data.decoding import median_image_size
    from phinas.training.data.image_dataset import load_images

    def stop(splits: "dict[str, SourceSplit]") -> None:
        raise _SplitsFoundError(splits)

    try:
        load_images(section, max_size=max_size, inspect=stop)
    except _SplitsFoundError as result:
        splits = result.splits
        native_size = median_image_size(splits["train"], resize_mode=section.resize_mode)
    num_classes = 1 + max(int(split.labels.max()) for split in splits.values())
    return PlannedImages(
        **_split_sizes(splits, section, seed=seed, num_classes=num_classes),
        skipped=None,
        classes=[str(index) for index in range(num_classes)],
        channels=3,  # encoded images are converted to RGB
        image_size=section.image_size or min(native_size, max_size),
        native_size=native_size,
    )


def _split_sizes(
    splits: "dict[str, SourceSplit]", section: DataSection, *, seed: int, num_classes: int
) -> dict[str, int]:
    """The number of images of each split, as if no two images were equal."""
    from phinas.training.data.splits import limit_images, split_indices

    train = splits["train"]
    if "validation" in splits:
        names = {"train": "data.max_train_images", "validation": "data.max_validation_images"}
        limits = (section.max_train_images, section.max_validation_images)
        sizes = {
            name: len(
                limit_images(splits[name].labels, key, limit, num_classes=num_classes, seed=seed)
            )
            for (name, key), limit in zip(names.items(), limits, strict=True)
        }
        return sizes | {"test": len(splits["test"]) if "test" in splits else 0}
    parts = split_indices(
        train.labels,
        classes=[str(index) for index in range(num_classes)],
        seed=seed,
        groups=train.groups,
        validation_fraction=section.validation_fraction,
        test_fraction=0.0 if "test" in splits else section.test_fraction,
        max_train_images=section.max_train_images,
        max_validation_images=section.max_validation_images,
    )
    test = len(splits["test"]) if "test" in splits else len(parts.test)
    return {"train": len(parts.train), "validation": len(parts.validation), "test": test}
