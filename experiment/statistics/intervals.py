"""Confidence intervals and half widths, on plain numbers and arrays."""

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Interval = tuple[float, float]
Z_95 = 1.96  # of a two-sided 95% interval of the normal distribution


def wilson_interval(fraction: float, count: int, *, z: float = Z_95) -> Interval:
    """The score interval of a fraction of `count` independent yes/no results (Wilson, 1927); (0, 1)
    for a count of 0.
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


def wilson_standard_error(fraction: float, count: int) -> float:
    """The standard error that Wilson's interval implies; above 0 for fractions of 0 and 1 too."""
    low, high = wilson_interval(fraction, count)
    return (high - low) / 2 / Z_95


def newcombe_interval(first: float, first_count: int, second: float, second_count: int) -> Interval:
    """The 95% interval of `second` less `first`, fractions of independent yes/no results.

    Newcombe, "Interval estimation for the difference between independent proportions", 1998,
    method 10.
    """
    first_low, first_high = wilson_interval(first, first_count)
    second_low, second_high = wilson_interval(second, second_count)
    below = ((second - second_low) ** 2 + (first_high - first) ** 2) ** 0.5
    above = ((second_high - second) ** 2 + (first - first_low) ** 2) ** 0.5
    return second - first - below, second - first + above


def min_detectable_difference(fraction: float, count: int) -> float:
    """The smallest difference of two fractions near `fraction` that `count` results each show
    (95%, independent results).
    """
    low, high = wilson_interval(fraction, count)
    return math.sqrt(2) * (high - low) / 2


def percentile_interval(samples: "NDArray[np.floating[Any]]") -> Interval:
    """The central 95% of samples."""
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
    """Half of a 95% interval for an estimate with two independent standard errors.

    The half widths of both parts are added in squares (Zou and Donner, "Construction of confidence
    limits about effect measures", Statistics in Medicine, 2008).

    Args:
        training_error: from an estimated deviation with so many `degrees_of_freedom` (Student's t).
        sampling_error: known (normal).
        comparisons: how many intervals have to hold together (Bonferroni).
    """
    from scipy.stats import norm, t

    probability = 1 - 0.025 / comparisons
    return math.hypot(
        float(t.ppf(probability, degrees_of_freedom)) * training_error,
        float(norm.ppf(probability)) * sampling_error,
    )
