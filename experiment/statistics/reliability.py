"""How reliably one training of each network ranks networks, given the noise of trainings.

The model is normal: a score is the sum of the mean of its network over many seeds, an effect of the
seed that all networks share, and training noise. The reliability (intraclass correlation, ICC) is
the variance between the means of networks (the signal), divided by signal plus noise variance. The
common effect of a seed does not change a ranking, so it is a free parameter.

Trainings that are repeated with another seed show the noise, and all networks together show signal
plus noise. Three pairs have two degrees of freedom, so the ratio of both variances may be wrong by
a factor of ten. The interval is exact for any number of pairs: a ratio of sums of squares that
depends on the true reliability has an F distribution (Wald, "A note on the analysis of variance
with unequal class frequencies", Annals of Mathematical Statistics, 1940). The estimate is the value
for which this ratio is the median of that distribution, so it is too high as often as too low.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phinas.experiment.statistics.intervals import Interval

Floats = npt.NDArray[np.float64]
MIN_NETWORKS = 3
MIN_PAIRS = 2  # with one pair, the effect of the seed cannot be separated from the noise
_MAX_RELIABILITY = 1 - 1e-9  # without noise, the reliability is exactly 1 and is not estimated
_ROUNDING_TOLERANCE = 1e-9  # scores that differ by less are equal


@dataclass(frozen=True, slots=True)
class Estimate:
    """A median-unbiased estimate, and its exact 95% interval."""

    value: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class Reliability:
    """How reliably one training of each network ranks the networks.

    Attributes:
        spread_std: Standard deviation between networks that were trained once each: the root of
            signal plus noise variance.
        noise_std: Standard deviation between trainings of one network, without the common effect of
            a seed.
        degrees_of_freedom: Degrees of freedom of `noise_std`.
        reliability: Signal variance divided by signal plus noise variance, 0 to 1.
        true_rank_correlation: Expected Kendall's tau between the ranking by one training of each
            network and the ranking by the means over many seeds.
        repeated_rank_correlation: Expected Kendall's tau between the rankings of two seeds.
    """

    spread_std: float
    noise_std: float
    degrees_of_freedom: int
    reliability: Estimate
    true_rank_correlation: Estimate
    repeated_rank_correlation: Estimate


def expected_kendall_tau(correlation: float) -> float:
    """Expected Kendall's tau of two normal variables with this linear correlation."""
    return 2 / math.pi * math.asin(correlation)


def estimate_reliability(
    scores: Sequence[float], repeated_scores: Sequence[tuple[int, float]]
) -> Reliability:
    """Estimate the reliability from one training of each network, and from repeated trainings.

    Args:
        scores: (networks,), scores of trainings with one seed. At least MIN_NETWORKS.
        repeated_scores: (network, score) of the networks that were trained again, all with the same
            second seed, each once. At least MIN_PAIRS. Which ones are repeated should not depend on
            their scores, or should be balanced over the ranks.

    Raises:
        ValueError: There are too few networks or pairs.
    """
    if len(scores) < MIN_NETWORKS or len(repeated_scores) < MIN_PAIRS:
        raise ValueError(
            f"{len(scores)} networks and {len(repeated_scores)} pairs are too few; "
            f"{MIN_NETWORKS} and {MIN_PAIRS} are needed"
        )
    first_scores = np.asarray(scores, dtype=np.float64)
    networks = [network for network, _ in repeated_scores]
    differences = np.array([score for _, score in repeated_scores]) - first_scores[networks]
    residuals = differences - differences.mean()
    degrees_of_freedom = len(networks) - 1
    # a difference has twice the variance of one training
    noise_variance = float(residuals @ residuals) / 2 / degrees_of_freedom
    spread_std = float(first_scores.std(ddof=1))
    if math.sqrt(noise_variance) < _ROUNDING_TOLERANCE:
        value = float(spread_std > _ROUNDING_TOLERANCE)
        low, median, high = value, value, value
    else:
        # the means over both seeds, without the effect of the second one
        means = first_scores.copy()
        means[networks] += residuals / 2
        statistic = _VarianceRatio(means, networks, noise_variance)
        low, median, high = (statistic.find_reliability(level) for level in (0.975, 0.5, 0.025))
    reliabilities = np.array([low, median, high])
    return Reliability(
        spread_std,
        math.sqrt(noise_variance),
        degrees_of_freedom,
        _make_estimate(reliabilities),
        _make_estimate([expected_kendall_tau(math.sqrt(value)) for value in reliabilities]),
        _make_estimate([expected_kendall_tau(value) for value in reliabilities]),
    )


def _make_estimate(values: Sequence[float] | Floats) -> Estimate:
    low, median, high = (float(value) for value in values)
    return Estimate(median, (low, high))


class _VarianceRatio:
    """The ratio of the variance between networks to the noise variance, for a true reliability.

    In units of the noise variance, the means of networks have the covariance c * I + D, where c is
    the signal variance. D has 1 for a network that was trained once. Those that were trained twice
    have 1/2, and share the error of the effect of the second seed.

    Args:
        means: (networks,), without the effect of the second seed.
        repeated: The networks that were trained twice.
        noise_variance: Their noise variance, which is above 0.
    """

    def __init__(self, means: Floats, repeated: list[int], noise_variance: float) -> None:
        num_pairs = len(repeated)
        noise_covariance = np.eye(len(means))
        noise_covariance[np.ix_(repeated, repeated)] = np.eye(num_pairs) / 2 + 1 / (2 * num_pairs)
        self._eigenvalues, eigenvectors = np.linalg.eigh(noise_covariance)
        self._means, self._ones = means @ eigenvectors, np.ones(len(means)) @ eigenvectors
        self._noise_variance = noise_variance
        self._degrees_of_freedom = (len(means) - 1, num_pairs - 1)

    def __call__(self, reliability: float) -> float:
        """The ratio. It falls with the reliability, and has an F distribution for the true one."""
        variances = reliability / (1 - reliability) + self._eigenvalues
        level = (self._ones * self._means / variances).sum() / (self._ones**2 / variances).sum()
        sum_of_squares = ((self._means - level * self._ones) ** 2 / variances).sum()
        return float(sum_of_squares / self._degrees_of_freedom[0] / self._noise_variance)

    def find_reliability(self, probability: float) -> float:
        """The reliability for which the ratio is this quantile of its distribution, 0 to 1."""
        from scipy.optimize import brentq
        from scipy.stats import f

        quantile = float(f.ppf(probability, *self._degrees_of_freedom))
        if self(0.0) <= quantile:
            return 0.0
        if self(_MAX_RELIABILITY) >= quantile:
            return 1.0
        return float(brentq(lambda value: self(value) - quantile, 0.0, _MAX_RELIABILITY))
