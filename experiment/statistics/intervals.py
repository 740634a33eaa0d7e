"""Confidence intervals of scores and differences, on plain numbers and arrays."""

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Interval = tuple[float, float]
Z_95 = 1.96  # normal quantile of a two-sided 95% interval


def wilson_interval(fraction: float, count: float, *, z: float = Z_95) -> Interval:
    """Return the score interval of a fraction (Wilson, 1927).

    Args:
        fraction: fraction of successes.
        count: number of independent trials, or an effective number, which may be fractional. The
            interval is (0, 1) for 0.
        z: normal quantile; the default gives a 95% interval.
    """
    if count <= 0:
        return (0.0, 1.0)
    center = (fraction + z * z / (2 * count)) / (1 + z * z / count)
    half_width = (
        z
        / (1 + z * z / count)
        * math.sqrt(fraction * (1 - fraction) / count + z * z / (4 * count * count))
    )
    return (max(0.0, center - half_width), min(1.0, center + half_width))


def normal_interval(estimate: float, standard_error: float) -> Interval:
    """Return the normal 95% interval of a score from 0 to 1, clipped to that range."""
    half_width = Z_95 * standard_error
    return max(0.0, estimate - half_width), min(1.0, estimate + half_width)


def bootstrap_interval(score: float, replicates: "NDArray[np.floating[Any]]") -> Interval:
    """Return the 95% interval of a score from 0 to 1 from its bootstrap replicates.

    It is Wilson's interval for the effective number of images, at which an accuracy has the
    variance of the replicates. Percentile intervals have too low a coverage near 1 (measured in
    `phinas.experiment.statistics.classification_metrics`).
    """
    center, variance = float(replicates.mean()), float(replicates.var(ddof=1))
    if variance == 0:
        return score, score
    return wilson_interval(score, center * (1 - center) / variance)


def wilson_standard_error(fraction: float, count: float) -> float:
    """Return the standard error that Wilson's interval implies; positive also for 0 and 1."""
    low, high = wilson_interval(fraction, count)
    return (high - low) / 2 / Z_95


def newcombe_interval(first: float, first_count: int, second: float, second_count: int) -> Interval:
    """Return the 95% interval of `second` minus `first`, two fractions of independent trials.

    Newcombe, "Interval estimation for the difference between independent proportions", 1998,
    method 10.
    """
    return difference_interval(
        first,
        wilson_interval(first, first_count),
        second,
        wilson_interval(second, second_count),
    )


def difference_interval(
    first: float, first_interval: Interval, second: float, second_interval: Interval
) -> Interval:
    """Return the 95% interval of `second` minus `first`, independent estimates with 95% intervals.

    Zou and Donner, "Construction of confidence limits about effect measures", Statistics in
    Medicine, 2008.
    """
    below = math.hypot(second - second_interval[0], first_interval[1] - first)
    above = math.hypot(second_interval[1] - second, first - first_interval[0])
    return second - first - below, second - first + above


def min_detectable_difference(fraction: float, count: int) -> float:
    """Return the smallest significant difference (95%) of two fractions near `fraction`, which are
    independent and of `count` trials each.
    """
    return min_detectable_difference_of(wilson_standard_error(fraction, count))


def min_detectable_difference_of(standard_error: float) -> float:
    """Return the smallest significant difference (95%) of two independent scores, each with this
    standard error.
    """
    return math.sqrt(2) * Z_95 * standard_error


def percentile_interval(samples: "NDArray[np.floating[Any]]") -> Interval:
    """Return the interval that holds the central 95% of the samples."""
    import numpy as np

    low, high = np.quantile(samples, [0.025, 0.975])
    return float(low), float(high)


def combined_half_width(
    training_error: float,
    degrees_of_freedom: int,
    sampling_error: float,
    *,
    comparisons: int = 1,
) -> float:
    """Return half the width of the 95% interval of an estimate with two independent errors.

    It is the square root of the sum of both squared half widths (Zou and Donner, "Construction of
    confidence limits about effect measures", Statistics in Medicine, 2008).

    Args:
        training_error: standard error from training noise, whose deviation is estimated.
        degrees_of_freedom: degrees of freedom of that deviation (Student's t).
        sampling_error: standard error from the sampling of test images, which is known (normal).
        comparisons: number of intervals that are to be valid simultaneously (Bonferroni).
    """
    from scipy.stats import norm, t

    probability = 1 - 0.025 / comparisons
    return math.hypot(
        float(t.ppf(probability, degrees_of_freedom)) * training_error,
        float(norm.ppf(probability)) * sampling_error,
    )
