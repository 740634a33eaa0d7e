"""The exponent w of the soft reward from the data: what accuracy gains by cost along the upper edge
of the first trials.

Networks of equal soft reward lie on ACC ~ COST^-w. Where the best networks of a data set lie on ACC
~ COST^s, w = -s makes them about equal, and the search is drawn neither to the smallest network nor
to the largest. MnasNet's -0.07 is the s of ImageNet; on easier data s is smaller (0.005 to 0.06
were measured), and with -0.07 a small, poor network wins.

s is the slope of ln ACC over ln COST at the 0.9 expectile (Newey & Powell, Econometrica 1987):
least squares in which a point above the line weighs nine times one below, so the line runs along
the upper edge and yet uses every point. The front
itself has few points, chosen for their luck: a line through it is steeper than the truth. Measured
on 24 random networks of Accel-NASBench (200 draws): 0.090 +- 0.026 so, 0.142 +- 0.045 through the
front; all 5,138 networks say 0.0895.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from phinas.experiment.statistics.intervals import percentile_interval
from phinas.nas.reward import FloatArray

MIN_EXPONENT, MAX_EXPONENT = -0.3, -0.005
# the middle of the slopes measured on other data, 0.005 to 0.07, on a log scale
FALLBACK_EXPONENT = -0.02
MIN_NETWORKS = 8
_EXPECTILE = 0.9
_NUM_RESAMPLES = 400
_MAX_ITERATIONS = 25


@dataclass(frozen=True, slots=True)
class ExponentEstimate:
    """An exponent and, in words, where it comes from."""

    value: float
    explanation: str


def estimate_reward_exponent(
    accuracies: Sequence[float], costs: Sequence[float], *, seed: int
) -> ExponentEstimate:
    """w from measured networks; where they can't tell whether accuracy rises with cost,
    FALLBACK_EXPONENT at most, and the reason.
    """
    log_points = [
        (np.log(cost), np.log(accuracy))
        for accuracy, cost in zip(accuracies, costs, strict=True)
        if accuracy > 0
    ]
    if len(log_points) < MIN_NETWORKS:
        return _fallback(
            f"only {len(log_points)} networks gave an accuracy above 0, and {MIN_NETWORKS} are "
            "needed"
        )
    points: FloatArray = np.array(log_points)
    if np.ptp(points[:, 0]) < 0.01:
        return _fallback("the networks measured all cost the same")
    resamples = points[
        np.random.default_rng(seed).integers(0, len(points), (_NUM_RESAMPLES, len(points)))
    ]
    slope = float(_upper_slopes(points[None])[0])
    low, high = percentile_interval(_upper_slopes(resamples))
    description = (
        f"accuracy grew as cost^{slope:.3f} (95%: {low:.3f} to {high:.3f}) along the "
        f"upper edge of {len(log_points)} networks"
    )
    if low <= 0:
        return _fallback(
            f"{description}, which does not tell that it grew at all", max_slope=float(high)
        )
    exponent = round(float(np.clip(-slope, MIN_EXPONENT, MAX_EXPONENT)), 4)
    clip_note = (
        f", cut to the range {MIN_EXPONENT:g} to {MAX_EXPONENT:g}"
        if not MIN_EXPONENT <= -slope <= MAX_EXPONENT
        else ""
    )
    return ExponentEstimate(exponent, f"w = {exponent:g} was estimated: {description}{clip_note}")


def _fallback(reason: str, *, max_slope: float = np.inf) -> ExponentEstimate:
    """FALLBACK_EXPONENT, or the steepest that the data leave where that is flatter."""
    exponent = round(min(MAX_EXPONENT, max(FALLBACK_EXPONENT, -max_slope)), 4)
    return ExponentEstimate(
        exponent,
        f"w = {exponent:g} was taken, no steeper than on middling data, since these can't tell: "
        f"{reason}",
    )


def _upper_slopes(samples: FloatArray) -> FloatArray:
    """The expectile slope of each sample, (samples, points, 2), by reweighting until no point
    changes sides.
    """
    log_costs, log_accuracies = samples[..., 0], samples[..., 1]
    weights = np.ones_like(log_costs)
    for _ in range(_MAX_ITERATIONS):
        total = weights.sum(1, keepdims=True)
        centered_costs = log_costs - (weights * log_costs).sum(1, keepdims=True) / total
        centered_accuracies = (
            log_accuracies - (weights * log_accuracies).sum(1, keepdims=True) / total
        )
        cost_variance = (weights * centered_costs**2).sum(1, keepdims=True)
        slopes = (weights * centered_costs * centered_accuracies).sum(
            1, keepdims=True
        ) / np.maximum(cost_variance, 1e-12)
        is_above = centered_accuracies > slopes * centered_costs
        new_weights = np.where(is_above, _EXPECTILE, 1 - _EXPECTILE)
        if np.array_equal(new_weights, weights):
            break
        weights = new_weights
    return slopes[:, 0]
