"""Scores of trained networks on the same test images, and the test-set sampling error of their
differences.

The sampling error of a difference of two networks is computed in one of three ways.

1. Accuracies, if it is recorded which images each training classifies correctly: the difference is
   the mean over images of d, the fraction of seeds with which the first network is correct minus
   that of the second. Most images have d = 0, so the error is smaller than that of independent
   samples. The variance is that of Agresti and Min ("Simple improved confidence intervals for
   comparing matched proportions", Statistics in Medicine, 2005). They add 0.5 to each of the four
   cells of the 2x2 table, which is two images in total, so the variance is positive also if the
   networks agree on every image. The estimate of the difference is not changed. With a single seed
   d is -1, 0 or 1, and the error is exactly theirs. With several seeds |d| is mostly smaller, so
   the two images have more weight.
2. Other scores, if bootstrap replicates are recorded: the replicates of both networks are of the
   same resamples. The error is the standard deviation of the differences of the mean replicates.
3. Otherwise the two scores are treated as independent. This overestimates the error of networks
   that tend to misclassify the same images.

In the first case the variance over images includes training noise of single images, divided by the
number of seeds, since another training classifies other images correctly. This noise is also part
of the standard deviation over seeds, so it is counted twice and intervals are rather too wide than
too narrow. A common effect of a training on all images is part of the standard deviation over seeds
only.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phinas.experiment.statistics.intervals import wilson_standard_error


@dataclass(frozen=True, slots=True)
class NetworkScore:
    """The test scores of one network, one for each seed.

    Args:
        flops: multiply-adds.
        score_by_seed: score from 0 to 1 for each seed; at least one.
        num_images: number of test images.
        correct_by_seed: (num_images,) for each seed: which test images are classified correctly.
            Only for accuracies; seeds may be missing.
        resamples_by_seed: bootstrap replicates of the score for each seed. Only for other scores;
            seeds may be missing.
        standard_error: test-set sampling error of one score. None for an accuracy, for which it
            follows from the number of images.
    """

    flops: int
    score_by_seed: Mapping[int, float]
    num_images: int
    correct_by_seed: Mapping[int, NDArray[np.bool_]] = field(default_factory=dict, compare=False)
    resamples_by_seed: Mapping[int, NDArray[np.floating[Any]]] = field(
        default_factory=dict, compare=False
    )
    standard_error: float | None = None

    @property
    def score(self) -> float:
        """Mean score over seeds."""
        return sum(self.score_by_seed.values()) / len(self.score_by_seed)

    @property
    def sampling_error(self) -> float:
        """Test-set sampling error of the mean score. More seeds do not reduce it."""
        resamples = self.mean_resamples(self.score_by_seed)
        if resamples is not None:
            return float(resamples.std(ddof=1))
        if self.standard_error is not None:
            return self.standard_error
        return wilson_standard_error(self.score, self.num_images)

    def fraction_correct(self, seeds: Collection[int]) -> NDArray[np.float64] | None:
        """Return the fraction of `seeds` with which each image is classified correctly.

        The shape is (num_images,). None if it is not recorded for all of these seeds.
        """
        return _mean_over_seeds(self.correct_by_seed, seeds)

    def mean_resamples(self, seeds: Collection[int]) -> NDArray[np.float64] | None:
        """Return the bootstrap replicates of the mean score over `seeds`.

        None if they are not recorded for all of these seeds.
        """
        return _mean_over_seeds(self.resamples_by_seed, seeds)


def _mean_over_seeds(
    rows: Mapping[int, NDArray[Any]], seeds: Collection[int]
) -> NDArray[np.float64] | None:
    if not all(seed in rows for seed in seeds):
        return None
    return np.mean([rows[seed] for seed in sorted(seeds)], axis=0, dtype=np.float64)


def difference_standard_error(
    networks: Sequence[NetworkScore], reference: NetworkScore, seeds: Collection[int]
) -> float:
    """Return the test-set sampling error of a difference of scores.

    Args:
        networks: the difference is the mean score of these networks minus that of the reference.
        reference: the reference network.
        seeds: seeds over which the scores are averaged.
    """
    differences = _paired_differences(
        [network.fraction_correct(seeds) for network in networks],
        reference.fraction_correct(seeds),
    )
    if differences is not None:
        return paired_standard_error(differences)
    differences = _paired_differences(
        [network.mean_resamples(seeds) for network in networks], reference.mean_resamples(seeds)
    )
    # replicates are paired only for the same number of images
    same_images = all(network.num_images == reference.num_images for network in networks)
    if differences is not None and same_images:
        return float(differences.std(ddof=1))
    largest = max(network.sampling_error for network in networks)
    return math.hypot(largest, reference.sampling_error)


def _paired_differences(
    rows: Sequence[NDArray[np.float64] | None], reference: NDArray[np.float64] | None
) -> NDArray[np.float64] | None:
    """Return the mean of the rows minus the reference; None if a row or the reference is None."""
    present = [row for row in rows if row is not None]
    if reference is None or len(present) < len(rows):
        return None
    return np.mean(present, axis=0) - reference


def paired_standard_error(differences: NDArray[np.float64]) -> float:
    """Return the standard error of the mean of differences (Agresti and Min).

    Args:
        differences: (images,), from -1 to 1.
    """
    count = len(differences) + 2
    variance = (float((differences**2).sum()) + 1) / count - (float(differences.sum()) / count) ** 2
    return math.sqrt(variance / count)
