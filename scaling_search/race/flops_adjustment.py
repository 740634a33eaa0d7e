"""What accuracy a few percent more FLOPs would have bought anyway: members have equal FLOPs but for
a tolerance.

The correction is linear in log FLOPs. Its slope is measured where the baseline was trained with the
members' seeds; else a default is taken, in the middle of the 0.005 to 0.044 of d ln accuracy / d ln
FLOPs along the published B0..B7. At a tolerance of 3% it moves two members by at most 0.12 points
against one another, which is no less than what some of them differ by.
"""

import math
from collections.abc import Sequence

RELATIVE_SLOPE = 0.02


def default_slope(accuracy: float) -> float:
    """Accuracy per unit of log FLOPs, for members of about this accuracy (a fraction)."""
    return RELATIVE_SLOPE * accuracy


def measured_slope(
    baseline: Sequence[float], members: Sequence[Sequence[float]], ratios: Sequence[float]
) -> float:
    """From the mean of all members over the baseline, both trained with the same seeds; never below
    0.

    baseline: its accuracy by seed; members: (members, seeds); ratios: each member's FLOPs over the
    baseline's, away from 1.
    """
    if (
        not members
        or any(len(row) != len(baseline) for row in members)
        or len(ratios) != len(members)
    ):
        raise ValueError(
            "members: each needs an accuracy for every seed of the baseline, and a ratio"
        )
    gains = [sum(row) / len(row) - sum(baseline) / len(baseline) for row in members]
    logs = [math.log(ratio) for ratio in ratios]
    if min(logs) * max(logs) <= 0:
        raise ValueError("ratios: all must lie on one side of 1, or nothing can be divided by them")
    return max(0.0, sum(gains) / sum(logs))
