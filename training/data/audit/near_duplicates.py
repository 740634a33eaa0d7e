"""How many images look like another one with other pixels, and in which splits those are."""

import numpy as np
from pydantic import Field

from phinas.experiment.artifacts.artifact import Record
from phinas.experiment.artifacts.manifest import Count
from phinas.training.data.audit.audited_images import AuditedImages
from phinas.training.data.audit.image_quality import ImageQuality, join_pairs
from phinas.training.data.dataset_splits import SPLITS


class NearDuplicateCounts(Record):
    """Images that look like another one. Copies with equal pixels are not counted."""

    images: Count = Field(description="Images that look like another one")
    sets: Count = Field(description="Sets of images that look alike")
    test_like_train: Count = Field(description="Test images that look like a training image")
    validation_like_train: Count = Field(
        description="Validation images that look like a training image"
    )


def near_duplicate_sets(images: AuditedImages, quality: ImageQuality) -> np.ndarray:
    """The number of the set of each image that looks like an image with other pixels, or -1."""
    sets = join_pairs(quality.pairs, len(images.names))
    pairs = np.unique(np.stack([sets, images.pixel_ids]), axis=1)
    numbers, counts = np.unique(pairs[0], return_counts=True)
    # A set of copies only is reported as such.
    return np.where(np.isin(sets, numbers[counts > 1]), sets, -1)


def count_near_duplicates(images: AuditedImages, quality: ImageQuality) -> NearDuplicateCounts:
    """Count the images that look like another one."""
    sets = near_duplicate_sets(images, quality)
    return NearDuplicateCounts(
        images=int((sets >= 0).sum()),
        sets=len(np.unique(sets[sets >= 0])),
        test_like_train=_count_like_train(images, sets, "test"),
        validation_like_train=_count_like_train(images, sets, "validation"),
    )


def _count_like_train(images: AuditedImages, sets: np.ndarray, split: str) -> int:
    """Images of a split that look like a training image, but are not a copy of one."""
    in_train = images.split_of == SPLITS.index("train")
    is_like = (
        (images.split_of == SPLITS.index(split))
        & (sets >= 0)
        & np.isin(sets, sets[in_train & (sets >= 0)])
        & ~np.isin(images.pixel_ids, images.pixel_ids[in_train])
    )
    return int(is_like.sum())
