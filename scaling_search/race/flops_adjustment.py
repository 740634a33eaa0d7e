"""Adjustment of scores for a few percent difference in FLOPs.

It is linear in log FLOPs. Its slope is measured where the baseline was trained with the members'
seeds. Otherwise a default is used, in the middle of the 0.005 to 0.044 of d ln accuracy / d ln
FLOPs along the published B0..B7. At a tolerance of 3% it changes the difference of two members by
at most 0.12 points, which is as much as some of them differ by.
"""

import math
from collections.abc import Sequence

RELATIVE_SLOPE = 0.02


def default_slope(score: float) -> float:
    """Score per unit of log FLOPs, for members of about this score (0 to 1)."""
    return RELATIVE_SLOPE * score


def measured_slope(
    baseline: Sequence[float], members: Sequence[Sequence[float]], ratios: Sequence[float]
) -> float:
    """Score per unit of log FLOPs, from the baseline to the mean of all members; at least 0.

    Args:
        baseline: Its scores by seed.
        members: Scores, of shape (members, seeds), with the same seeds.
        ratios: FLOPs of each member over the baseline's, all above 1 or all below.

    Raises:
        ValueError: The shapes differ, or the ratios are on both sides of 1.
    """
    if (
        not members
        or any(len(row) != len(baseline) for row in members)
        or len(ratios) != len(members)
    ):
        raise ValueError("members: each needs a score for every seed of the baseline, and a ratio")
    gains = [sum(row) / len(row) - sum(baseline) / len(baseline) for row in members]
    logs = [math.log(ratio) for ratio in ratios]
    if min(logs) * max(logs) <= 0:
        raise ValueError("ratios: must all be above 1 or all below 1")
    return max(0.0, sum(gains) / sum(logs))
