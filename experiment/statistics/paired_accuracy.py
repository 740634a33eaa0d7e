"""A trained network, and what the finite test images leave open of its accuracy and of
differences between networks.

The test images are the same for all networks. Where it is recorded which of them each training gets right, the error of a
difference is that of the mean over images of d = the share of the seeds in which one network is right, less that of the other.
Images on which both are alike say nothing of it, and most are. Its variance is that of Agresti and Min ("Simple improved
confidence intervals for comparing matched proportions", Statistics in Medicine, 2005: 0.5 is added to each of the four cells,
as if there were two images more, and on half of one each network alone were right), so it is not 0 where no images tell them
apart. The difference itself is left as measured. With a single seed d is -1, 0 or 1 and the error is theirs; with several seeds
|d| is mostly less, and the two images weigh more.

The spread of d over images holds also what of the luck of training falls on single images, over
the
number of seeds: another training gets other images right. That is in the difference, so it
belongs there, but it is in the deviation of training over
seeds as well: counted twice, so intervals are too wide rather than too narrow. What shifts all
images of a training alike is in the latter only.

Where it is not recorded of one of them, they are taken as independent binomial draws, which is
a bound for networks that err on the same images more often than chance would have it.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from phinas.experiment.measurement import Measurement, wilson_interval

_Z = 1.96


@dataclass(frozen=True, slots=True)
class Trained:
    """A network and its accuracy by seed (at least one); images: of the test split; right: of
    those, by seed, which it gets right, as far as that is recorded."""

    flops: int
    accuracies: Mapping[int, float]
    images: int
    right: Mapping[int, NDArray[np.bool_]] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, flops: int, measurements: Sequence[Measurement]) -> "Trained":
        right = {measured.seed: measured.right for measured in measurements}
        return cls(
            flops,
            {measured.seed: measured.accuracy for measured in measurements},
            measurements[0].images,
            {seed: found for seed, found in right.items() if found is not None},
        )

    @property
    def accuracy(self) -> float:
        return sum(self.accuracies.values()) / len(self.accuracies)

    @property
    def sampling_error(self) -> float:
        """The standard error that the finite test split leaves, however many seeds there are; of
        Wilson's interval, so it is not 0 where every image is classified rightly."""
        low, high = wilson_interval(self.accuracy, self.images, z=_Z)
        return (high - low) / 2 / _Z

    def share_right(self, seeds: Collection[int]) -> NDArray[np.float64] | None:
        """Of each image in how many of `seeds`, as a fraction, it is classified rightly; None where
        that is not recorded.
        """
        if not all(seed in self.right for seed in seeds):
            return None
        return np.mean([self.right[seed] for seed in sorted(seeds)], axis=0, dtype=np.float64)


def difference_error(first: Sequence[Trained], second: Trained, seeds: Collection[int]) -> float:
    """The standard error that the test images leave of the mean of `first` less `second`, over
    `seeds`.
    """
    shares = [found for one in first if (found := one.share_right(seeds)) is not None]
    other = second.share_right(seeds)
    if other is None or len(shares) < len(first):
        return math.hypot(max(one.sampling_error for one in first), second.sampling_error)
    return paired_error(np.mean(shares, axis=0) - other)


def paired_error(differences: NDArray[np.float64]) -> float:
    """The standard error of the mean of differences from -1 to 1, one of each image (Agresti and
    Min).
    """
    count = len(differences) + 2
    variance = (float((differences**2).sum()) + 1) / count - (float(differences.sum()) / count) ** 2
    return math.sqrt(variance / count)
