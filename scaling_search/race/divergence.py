"""Which trainings of a race diverged: their scores are far below what the others predict.

One such score would inflate the noise of all members. It tells nothing about the member's score,
so it is left out. A score counts as diverged only where another training of the member contradicts
it: a member whose trainings all are that low is a bad member.

- A full training: the member has a better one, or, while it has only one, its short training
  predicts a much better score.
- A short training: a second one is much better. The race repeats a short training that is far
  below those of all other members (`suspicious_members`).

Far means `_THRESHOLD` robust standard deviations, each of at least one image. Divergence is orders
of magnitude above noise, so the threshold is not critical.
"""

import math
from collections.abc import Sequence

import numpy as np

from phinas.scaling_search.race.race import Race, Results, TrainingRun

_THRESHOLD = 8.0
_MIN_MEMBERS = 3  # fewer do not show what is usual
_MIN_DEVIATION = 1e-3  # a score is not further from others than a tenth of a point by rounding
_MAD_TO_STD = 1.4826  # of a normal distribution


def suspicious_members(race: Race, finished: Results) -> list[int]:
    """The members whose first short training is far below those of the others."""
    scores = {
        member: score
        for member in range(race.num_members)
        if (score := finished.get(TrainingRun(member, 0, race.short_epochs))) is not None
    }
    if race.short_epochs == race.epochs:
        return []
    is_low = _far_below(list(scores.values()), min_std=race.score_step)
    return [member for member, low in zip(scores, is_low, strict=True) if low]


def diverged_runs(race: Race, finished: Results) -> frozenset[TrainingRun]:
    """The trainings whose scores are left out."""
    diverged = {
        TrainingRun(member, 0, race.short_epochs)
        for member in suspicious_members(race, finished)
        if _is_contradicted(race, finished, member)
    }
    scores: dict[int, dict[TrainingRun, float]] = {}
    for run, score in sorted(finished.items()):
        if run.epochs == race.epochs and score is not None:
            scores.setdefault(run.member, {})[run] = score
    differences = [
        max(by_run.values()) - score
        for by_run in scores.values()
        for score in sorted(by_run.values())[:-1]
    ]
    short_scores = [
        score
        for run, score in finished.items()
        if run.epochs < race.epochs and score is not None and run not in diverged
    ]
    short_std = max(_robust_std(short_scores), race.score_step)
    # neither short trainings nor enough repeated ones: nothing shows what is usual
    scale = short_std if short_scores else math.inf
    if len(differences) > _MIN_MEMBERS:
        scale = max(_MAD_TO_STD * float(np.median(differences)), _MIN_DEVIATION, race.score_step)
    for by_run in scores.values():
        limit = max(by_run.values()) - _THRESHOLD * scale
        diverged |= {run for run, score in by_run.items() if len(by_run) > 1 and score < limit}
    return frozenset(diverged | _contradicted_by_short(race, finished, scores, diverged, short_std))


def _is_contradicted(race: Race, finished: Results, member: int) -> bool:
    """Whether the second short training of a member is much better than its first one."""
    first, second = (finished.get(TrainingRun(member, seed, race.short_epochs)) for seed in (0, 1))
    if first is None or second is None:
        return False
    others = [
        score
        for run, score in finished.items()
        if run.epochs < race.epochs and run.member != member and score is not None
    ]
    # nearer to the others than to its own first score
    return float(np.median(others)) - second < second - first


def _contradicted_by_short(
    race: Race,
    finished: Results,
    scores: dict[int, dict[TrainingRun, float]],
    diverged: set[TrainingRun],
    short_std: float,
) -> set[TrainingRun]:
    """Single full trainings that gain far less over the short training than those of others."""
    gains: dict[TrainingRun, float] = {}
    for member, by_run in scores.items():
        short = TrainingRun(member, 0, race.short_epochs)
        short_score = finished.get(short)
        if race.short_epochs < race.epochs and short_score is not None and short not in diverged:
            gains |= {run: score - short_score for run, score in by_run.items()}
    is_low = _far_below(list(gains.values()), min_std=short_std)
    return {
        run for run, low in zip(gains, is_low, strict=True) if low and len(scores[run.member]) == 1
    }


def _far_below(values: Sequence[float], *, min_std: float = 0.0) -> list[bool]:
    """Which values are far below the median of all."""
    if len(values) < _MIN_MEMBERS:
        return [False] * len(values)
    limit = float(np.median(values)) - _THRESHOLD * max(min_std, _robust_std(values))
    return [value < limit for value in values]


def _robust_std(values: Sequence[float]) -> float:
    """The standard deviation of normal values, from the median absolute deviation."""
    if not len(values):
        return _MIN_DEVIATION
    deviations = np.abs(np.array(values) - np.median(values))
    return max(_MAD_TO_STD * float(np.median(deviations)), _MIN_DEVIATION)
