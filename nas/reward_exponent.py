"""The exponent w of the soft reward, estimated from the first trials of a search.

Networks of equal soft reward lie on ACC ~ COST^-w. If the best networks of a data set lie on ACC ~
COST^s, then w = -s gives them nearly equal rewards, and the search prefers neither the smallest
network nor the largest one. MnasNet's -0.07 is the value for ImageNet. On easier data s is smaller
(0.005 to 0.06 were measured), and -0.07 selects a small, poor network.

The slope s is that of ln ACC over ln COST at the 0.9 expectile (Newey & Powell, Econometrica 1987):
least squares in which a point above the line has nine times the weight of a point below it. The
line follows the upper edge of the points and uses all of them. The Pareto front has few points,
which are selected partly by training noise, so a line through it is too steep. Measured on 24
random networks of Accel-NASBench (200 samples): 0.090 +- 0.026 with the expectile, 0.142 +- 0.045
through the front, 0.0895 from all 5,138 networks.
"""

from collections.abc import Sequence

import numpy as np

from phinas.experiment.artifacts.baseline_file import ExponentCase, ExponentEstimate
from phinas.experiment.statistics.intervals import percentile_interval
from phinas.nas.reward import FloatArray

MIN_EXPONENT, MAX_EXPONENT = -0.3, -0.005
# The middle of the slopes measured on other data, 0.005 to 0.07, on a log scale.
FALLBACK_EXPONENT = -0.02
MIN_NETWORKS = 8
_EXPECTILE = 0.9
_NUM_RESAMPLES = 400
_MAX_ITERATIONS = 25


def estimate_reward_exponent(
    scores: Sequence[float], costs: Sequence[float], *, seed: int
) -> ExponentEstimate:
    """Estimate w from measured networks.

    If the score does not rise significantly with the cost, w is FALLBACK_EXPONENT, or minus the
    upper end of the interval of the slope if that is closer to 0. w is at most MAX_EXPONENT.

    Args:
        scores: Score of each network, 0 to 1. Networks with a score of 0 are left out.
        costs: Cost of each network, in any unit.
        seed: Seed of the bootstrap.
    """
    log_points = [
        (np.log(cost), np.log(score))
        for score, cost in zip(scores, costs, strict=True)
        if score > 0
    ]
    num_networks = len(log_points)
    if num_networks < MIN_NETWORKS:
        return _unfitted("too_few_networks", num_networks)
    points: FloatArray = np.array(log_points)
    if np.ptp(points[:, 0]) < 0.01:
        return _unfitted("equal_costs", num_networks)
    resamples = points[
        np.random.default_rng(seed).integers(0, num_networks, (_NUM_RESAMPLES, num_networks))
    ]
    slope = float(_upper_slopes(points[None])[0])
    low, high = percentile_interval(_upper_slopes(resamples))
    exponent, case = _exponent_from_slope(slope, low, high)
    return ExponentEstimate(
        value=round(exponent, 4),
        case=case,
        num_networks=num_networks,
        slope=slope,
        interval=(low, high),
    )


def _unfitted(case: ExponentCase, num_networks: int) -> ExponentEstimate:
    return ExponentEstimate(
        value=FALLBACK_EXPONENT, case=case, num_networks=num_networks, slope=None, interval=None
    )


def _exponent_from_slope(slope: float, low: float, high: float) -> tuple[float, ExponentCase]:
    """The exponent of a slope and its interval, and how it follows from them."""
    if low <= 0:
        return min(MAX_EXPONENT, max(FALLBACK_EXPONENT, -high)), "not_significant"
    if not MIN_EXPONENT <= -slope <= MAX_EXPONENT:
        return min(MAX_EXPONENT, max(MIN_EXPONENT, -slope)), "clipped"
    return -slope, "estimated"


def _upper_slopes(samples: FloatArray) -> FloatArray:
    """The slope of the expectile line of each sample.

    Least squares is repeated with new weights until no point changes the side of the line.

    Args:
        samples: ln COST and ln ACC of the points, (samples, points, 2).

    Returns:
        Shape (samples,).
    """
    log_costs, log_scores = samples[..., 0], samples[..., 1]
    weights = np.ones_like(log_costs)
    for _ in range(_MAX_ITERATIONS):
        total = weights.sum(1, keepdims=True)
        centered_costs = log_costs - (weights * log_costs).sum(1, keepdims=True) / total
        centered_scores = log_scores - (weights * log_scores).sum(1, keepdims=True) / total
        cost_variance = (weights * centered_costs**2).sum(1, keepdims=True)
        slopes = (weights * centered_costs * centered_scores).sum(1, keepdims=True) / np.maximum(
            cost_variance, 1e-12
        )
        is_above = centered_scores > slopes * centered_costs
        new_weights = np.where(is_above, _EXPECTILE, 1 - _EXPECTILE)
        if np.array_equal(new_weights, weights):
            break
        weights = new_weights
    return slopes[:, 0]
