"""Sizes and shapes of image files that deserve a warning: thumbnails, and images that lose much.

A center crop of an image that is 4 times as wide as high removes 75% of it.
"""

import numpy as np
from pydantic import Field

from phinas.experiment.artifacts.artifact import Record
from phinas.experiment.artifacts.manifest import Count
from phinas.experiment.schema.run import ResizeMode

# An image is much smaller than the others if its shorter edge is below this fraction of the median.
SMALL_FRACTION = 1 / 3
# Fraction of an image that the crop removes, from which it is listed. 3:2 photos lose a third.
MIN_CROP_LOSS = 0.4
# If so many images are below a quarter of the 90th percentile, the small ones are the majority.
_MIN_SMALL_SHARE = 0.3
_LARGE_PERCENTILE = 90
_SMALL_MAJORITY_FRACTION = 1 / 4


class SizeSummary(Record):
    """The shorter edges of the image files, in px."""

    smallest: Count = Field(description="Shorter edge of the smallest image in px")
    median: Count = Field(description="Median of the shorter edges in px")
    largest: Count = Field(description="Shorter edge of the largest image in px")
    files: Count = Field(description="Number of files whose size is known")
    much_smaller: Count = Field(description="Images that are much smaller than the others")
    typical: Count = Field(description="Shorter edge in px that they were compared with")
    much_cropped: Count = Field(description="Images of which the center crop removes 40% or more")
    median_crop_loss: float = Field(description="Median fraction that it removes of them")


def summarize_sizes(sizes: np.ndarray, *, resize_mode: ResizeMode) -> SizeSummary | None:
    """Summarize the sizes of image files. None where no size is known.

    Args:
        sizes: Width and height in px, (count, 2). 0 where unknown.
        resize_mode: How images become square. Only `crop` removes something.
    """
    edges = sizes.min(axis=1)
    known = edges[edges > 0]
    if not len(known):
        return None
    losses = _crop_losses(sizes)[find_much_cropped(sizes, resize_mode=resize_mode)]
    return SizeSummary(
        smallest=int(known.min()),
        median=_median(known),
        largest=int(known.max()),
        files=len(known),
        much_smaller=int(find_much_smaller(sizes).sum()),
        typical=_typical_edge(known)[0],
        much_cropped=len(losses),
        median_crop_loss=float(np.median(losses)) if len(losses) else 0.0,
    )


def find_much_smaller(sizes: np.ndarray) -> np.ndarray:
    """For each image whether it is much smaller than the others."""
    edges = sizes.min(axis=1)
    known = edges[edges > 0]
    if not len(known):
        return np.zeros(len(edges), bool)
    typical, fraction = _typical_edge(known)
    flags: np.ndarray = (edges > 0) & (edges < fraction * typical)
    return flags


def find_much_cropped(sizes: np.ndarray, *, resize_mode: ResizeMode) -> np.ndarray:
    """For each image whether the center crop removes much of it."""
    flags: np.ndarray = (_crop_losses(sizes) >= MIN_CROP_LOSS) & (resize_mode == "crop")
    return flags


def _typical_edge(known: np.ndarray) -> tuple[int, float]:
    """The edge of a typical image, and the fraction of it below which an image is small."""
    large = int(np.percentile(known, _LARGE_PERCENTILE, method="lower"))
    if (known < _SMALL_MAJORITY_FRACTION * large).mean() >= _MIN_SMALL_SHARE:
        return large, _SMALL_MAJORITY_FRACTION
    return _median(known), SMALL_FRACTION


def _median(values: np.ndarray) -> int:
    return int(np.percentile(values, 50, method="lower"))


def _crop_losses(sizes: np.ndarray) -> np.ndarray:
    """The fraction of each image outside its centered square; 0 where the size is unknown."""
    longer = np.maximum(sizes.max(axis=1), 1)
    losses: np.ndarray = np.where(sizes.min(axis=1) > 0, 1 - sizes.min(axis=1) / longer, 0.0)
    return losses
