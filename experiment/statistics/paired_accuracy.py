"""The accuracy of trained networks on the same test images, and the test-set sampling error of
differences between them.

Where it is recorded which images each training classifies correctly, the error of a difference is
that of the mean over images of d = the fraction of the seeds in which one network is correct, less
that of the other. Images on which both agree say nothing of it, and most are. Its variance is that
of Agresti and Min ("Simple improved confidence intervals for comparing matched proportions",
Statistics in Medicine, 2005: 0.5 is added to each of the four cells, as if there were two images
more, and on half of one each network alone were correct), so it is not 0 where the networks agree
on every image. The difference itself is left as measured. With a single seed d is -1, 0 or 1 and
the error is theirs; with several seeds |d| is mostly less, and the two images weigh more.

The spread of d over images also holds the training noise of single images, over the number of
seeds: another training gets other images right. That is in the difference, so it belongs there, but
it is in the deviation of training over seeds as well: counted twice, so intervals are too wide
rather than too narrow. What shifts all images of a training alike is in the latter only.

Where it is not recorded of one of them, they are treated as independent binomial samples, which is
a bound for networks that err on the same images more often than chance would have it.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from phinas.experiment.statistics.intervals import wilson_standard_error


@dataclass(frozen=True, slots=True)
class NetworkAccuracy:
    """The test accuracy of one network over seeds.

    Args:
        flops: multiply-adds.
        accuracy_by_seed: a fraction for each seed, at least one.
        num_images: of the test split.
        correct_by_seed: which test images are classified correctly, where that is recorded.
    """

    flops: int
    accuracy_by_seed: Mapping[int, float]
    num_images: int
    correct_by_seed: Mapping[int, NDArray[np.bool_]] = field(default_factory=dict, compare=False)

    @property
    def accuracy(self) -> float:
        """The mean over seeds."""
        return sum(self.accuracy_by_seed.values()) / len(self.accuracy_by_seed)

    @property
    def sampling_error(self) -> float:
        """The standard error that the finite test split leaves, however many seeds there are."""
        return wilson_standard_error(self.accuracy, self.num_images)

    def fraction_correct(self, seeds: Collection[int]) -> NDArray[np.float64] | None:
        """Of each image the fraction of `seeds` with which it is classified correctly; None where
        that is not recorded.
        """
        if not all(seed in self.correct_by_seed for seed in seeds):
            return None
        correct = [self.correct_by_seed[seed] for seed in sorted(seeds)]
        return np.mean(correct, axis=0, dtype=np.float64)


def difference_standard_error(
    networks: Sequence[NetworkAccuracy], reference: NetworkAccuracy, seeds: Collection[int]
) -> float:
    """The test-set sampling error of the mean accuracy of `networks` less that of `reference`, over
    `seeds`.
    """
    fractions = [
        fraction
        for network in networks
        if (fraction := network.fraction_correct(seeds)) is not None
    ]
    reference_fraction = reference.fraction_correct(seeds)
    if reference_fraction is None or len(fractions) < len(networks):
        largest = max(network.sampling_error for network in networks)
        return math.hypot(largest, reference.sampling_error)
    return paired_standard_error(np.mean(fractions, axis=0) - reference_fraction)


def paired_standard_error(differences: NDArray[np.float64]) -> float:
    """The standard error of the mean of differences from -1 to 1, one of each image (Agresti and
    Min).
    """
    count = len(differences) + 2
    variance = (float((differences**2).sum()) + 1) / count - (float(differences.sum()) / count) ** 2
    return math.sqrt(variance / count)
