"""The weight w of the soft reward from the data: what accuracy gains by cost along the upper edge
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

from phinas.nas.reward import Floats

STEEPEST, FLATTEST = -0.3, -0.005
FALLBACK = -0.02  # the middle of the slopes measured on other data, 0.005 to 0.07, on a log scale
LEAST = 8
_EXPECTILE = 0.9
_RESAMPLES = 400
_STEPS = 25


@dataclass(frozen=True, slots=True)
class Weight:
    """A weight and, in words, why."""

    value: float
    why: str


def estimate_weight(accuracies: Sequence[float], costs: Sequence[float], *, seed: int) -> Weight:
    """w from measured networks; where they can't tell whether accuracy rises with cost, FALLBACK at
    most, and the reason.
    """
    kept = [
        (np.log(cost), np.log(accuracy))
        for accuracy, cost in zip(accuracies, costs, strict=True)
        if accuracy > 0
    ]
    if len(kept) < LEAST:
        return _fallback(
            f"only {len(kept)} networks gave an accuracy above 0, and {LEAST} are needed"
        )
    points: Floats = np.array(kept)
    if np.ptp(points[:, 0]) < 0.01:
        return _fallback("the networks measured all cost the same")
    drawn = points[np.random.default_rng(seed).integers(0, len(points), (_RESAMPLES, len(points)))]
    slope = float(_upper_slopes(points[None])[0])
    low, high = np.quantile(_upper_slopes(drawn), [0.025, 0.975])
    found = (
        f"accuracy grew as cost^{slope:.3f} (95%: {low:.3f} to {high:.3f}) along the "
        f"upper edge of {len(kept)} networks"
    )
    if low <= 0:
        return _fallback(f"{found}, which does not tell that it grew at all", most=float(high))
    weight = round(float(np.clip(-slope, STEEPEST, FLATTEST)), 4)
    cut = (
        f", cut to the range {STEEPEST:g} to {FLATTEST:g}"
        if not STEEPEST <= -slope <= FLATTEST
        else ""
    )
    return Weight(weight, f"w = {weight:g} was estimated: {found}{cut}")


def _fallback(reason: str, *, most: float = np.inf) -> Weight:
    """FALLBACK, or the steepest that the data leave where that is flatter."""
    weight = round(min(FLATTEST, max(FALLBACK, -most)), 4)
    return Weight(
        weight,
        f"w = {weight:g} was taken, no steeper than on middling data, since these can't tell: "
        f"{reason}",
    )


def _upper_slopes(samples: Floats) -> Floats:
    """The expectile slope of each sample, (samples, points, 2), by reweighting until no point
    changes sides.
    """
    across, up = samples[..., 0], samples[..., 1]
    weights = np.ones_like(across)
    for _ in range(_STEPS):
        total = weights.sum(1, keepdims=True)
        right = across - (weights * across).sum(1, keepdims=True) / total
        rise = up - (weights * up).sum(1, keepdims=True) / total
        spread = (weights * right**2).sum(1, keepdims=True)
        slopes = (weights * right * rise).sum(1, keepdims=True) / np.maximum(spread, 1e-12)
        above = rise > slopes * right
        changed = np.where(above, _EXPECTILE, 1 - _EXPECTILE)
        if np.array_equal(changed, weights):
            break
        weights = changed
    return slopes[:, 0]
