"""What the score after a part of a training says about the score at its end.

The scores of a training at some epochs are modeled as jointly normal over trainings. Trainings that
were paused or pruned have no later scores, and which ones these are depends on their earlier
scores. Mean and covariance are therefore estimated from all trainings by expectation maximization
(Dempster, Laird and Rubin, 1977), which such a selection does not bias. The regression of the final
scores of the trainings that went on would take the pruned ones for trainings that would have
recovered.

A few trainings do not determine a covariance. Its prior, inverse Wishart, has the same variance at
all epochs, the correlation (e / f) ** _PRIOR_POWER between epochs e < f, and none with covariates.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag

from phinas.nas.surrogate.gaussian_process import FloatArray

_PRIOR_POWER = 0.36  # of 18 networks on CIFAR-10 (benchmarks/synthetic_curves.py)
_PRIOR_TRAININGS = 4.0  # the weight of the prior, in trainings
_MAX_LEVELS = 16
_MAX_ITERATIONS = 50
_TOLERANCE = 1e-3  # relative change of the variance of the final score
_MIN_VARIANCE = 1e-12
_MIN_GAIN = 0.05  # an early score that says less about the final one is noise


@dataclass(frozen=True)
class FinalScores:
    """Measurements of the final scores of trainings.

    Attributes:
        values: (trainings,). The final score where there is one.
        variances: Variance of each value around the final score, (trainings,). 0 where there is a
            final score.
    """

    values: FloatArray
    variances: FloatArray


def measure_final_scores(scores: FloatArray, covariates: FloatArray | None = None) -> FinalScores:
    """Convert the last score of each training to a measurement of its final score.

    A measurement is unbiased given the final score. A prediction would be shrunk towards the mean,
    and a model that combines it with a prior would shrink it again.

    Args:
        scores: (trainings, epochs), NaN where a score is not known. Each training has at least one
            score.
        covariates: What may explain why early scores of some networks are lower than those of
            others with the same final score, such as their costs, (trainings, covariates).
    """
    num_epochs = scores.shape[1]
    last_epochs = _last_epochs(scores)
    values, variances = scores[np.arange(len(scores)), last_epochs - 1], np.zeros(len(scores))
    if np.all(last_epochs == num_epochs):
        return FinalScores(values, variances)
    levels = _choose_levels(last_epochs, num_epochs)
    last_levels = np.searchsorted(levels, last_epochs, side="right") - 1
    level_scores = _scores_at_levels(scores, levels, last_levels)
    if covariates is None:
        covariates = np.empty((len(scores), 0))
    mean, covariance = _estimate_moments(level_scores, levels, covariates)
    num_levels = len(levels)
    causes = np.arange(num_levels - 1, len(mean))  # the final score and the covariates
    for level in np.unique(last_levels[last_epochs < num_epochs]):
        members = last_levels == level
        slopes, gain, variances[members] = _regress(covariance, level, causes)
        explained = (covariates[members] - mean[num_levels:]) @ slopes
        deviations = level_scores[members, level] - mean[level] - explained
        values[members] = mean[num_levels - 1] + deviations / gain
    return FinalScores(values, variances)


def error_variances(
    scores: FloatArray, epochs: Sequence[int], covariates: FloatArray
) -> dict[int, float]:
    """The variance of `measure_final_scores` after some epochs.

    Args:
        scores: (trainings, epochs), NaN where a score is not known.
        epochs: From 1 to the last epoch, for which the variance is 0.
        covariates: (trainings, covariates).
    """
    num_epochs = scores.shape[1]
    levels = np.union1d(np.array(epochs, dtype=np.intp), [num_epochs])
    last_epochs = _last_epochs(scores)
    last_levels = np.maximum(np.searchsorted(levels, last_epochs, side="right") - 1, 0)
    level_scores = _scores_at_levels(scores, levels, last_levels)
    mean, covariance = _estimate_moments(level_scores, levels, covariates)
    causes = np.arange(len(levels) - 1, len(mean))
    return {
        epoch: _regress(covariance, level, causes)[2] if epoch < num_epochs else 0.0
        for level, epoch in enumerate(levels.tolist())
    }


def _regress(
    covariance: FloatArray, level: int, causes: NDArray[np.intp]
) -> tuple[FloatArray, float, float]:
    """The score at a level = mean + gain * (final score - final mean) + slopes * covariates + an
    independent error.

    Args:
        covariance: Of the scores at the levels, and of the covariates.
        level: Of the score.
        causes: Positions of the final score and of the covariates.

    Returns:
        The slopes, the gain, and the variance of the error of a final score that is computed from
        the score at the level.
    """
    slopes = np.linalg.solve(covariance[np.ix_(causes, causes)], covariance[causes, level])
    gain = max(float(slopes[0]), _MIN_GAIN)
    error = float(covariance[level, level] - slopes @ covariance[causes, level])
    return slopes[1:], gain, max(error, 0.0) / gain**2


def _last_epochs(scores: FloatArray) -> NDArray[np.intp]:
    """The last epoch with a known score of each training, (trainings,)."""
    return scores.shape[1] - np.argmax(~np.isnan(scores[:, ::-1]), axis=1)


def _choose_levels(last_epochs: NDArray[np.intp], num_epochs: int) -> NDArray[np.intp]:
    """The epochs at which scores are compared: those at which trainings stopped, or some of them,
    and the last one.
    """
    stops = np.union1d(last_epochs, [num_epochs])
    if len(stops) <= _MAX_LEVELS:
        return stops
    return stops[np.linspace(0, len(stops) - 1, _MAX_LEVELS).astype(int)]


def _scores_at_levels(
    scores: FloatArray, levels: NDArray[np.intp], last_levels: NDArray[np.intp]
) -> FloatArray:
    """The latest score of each training up to each level, (trainings, levels). NaN at the levels
    that a training has not reached, and before its first score.
    """
    known = np.where(np.isnan(scores), -1, np.arange(scores.shape[1]))
    latest = np.maximum.accumulate(known, axis=1)[:, levels - 1]
    level_scores = np.take_along_axis(scores, np.maximum(latest, 0), axis=1)
    is_known = (latest >= 0) & (np.arange(len(levels)) <= last_levels[:, None])
    level_scores = np.where(is_known, level_scores, np.nan)
    # A training whose first score is beyond its level has that one only.
    trainings = np.arange(len(scores))
    is_missing = np.isnan(level_scores[trainings, last_levels])
    last_scores = scores[trainings, known.max(1)]
    level_scores[trainings[is_missing], last_levels[is_missing]] = last_scores[is_missing]
    return level_scores


def _estimate_moments(
    scores: FloatArray, epochs: NDArray[np.intp], covariates: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Mean and covariance of the scores at some epochs and of covariates.

    Args:
        scores: (trainings, epochs), NaN where a score is not known.
        epochs: Rising, (epochs,).
        covariates: (trainings, covariates).

    Returns:
        Mean, (epochs + covariates,), and covariance, (epochs + covariates, epochs + covariates).
    """
    mean = np.array([_known_mean(column, scores) for column in scores.T] + [*covariates.mean(0)])
    deviations = scores - mean[: len(epochs)]
    variance = max(float(np.nanmean(deviations**2)), _MIN_VARIANCE)
    ratios = np.minimum.outer(epochs, epochs) / np.maximum.outer(epochs, epochs)
    covariate_variances = np.maximum(covariates.var(0), _MIN_VARIANCE)
    prior = block_diag(variance * ratios**_PRIOR_POWER, np.diag(covariate_variances))
    covariance = prior
    scores = np.concatenate([scores, covariates], axis=1)
    is_known = ~np.isnan(scores)
    groups = [_Group.of(rows, known) for known, rows in _group_rows(scores, is_known)]
    for _ in range(_MAX_ITERATIONS):
        completed = [group.complete(mean, covariance) for group in groups]
        counts = np.array([group.count for group in groups])
        means = np.array([group_mean for group_mean, _ in completed])
        mean = counts @ means / counts.sum()
        scatter = _PRIOR_TRAININGS * prior + sum(group_scatter for _, group_scatter in completed)
        scatter += (counts[:, None] * (means - mean)).T @ (means - mean)
        previous, covariance = covariance, scatter / (len(scores) + _PRIOR_TRAININGS)
        final = len(epochs) - 1
        change = abs(covariance[final, final] - previous[final, final])
        if change <= _TOLERANCE * covariance[final, final]:
            break
    return mean, covariance


@dataclass(frozen=True)
class _Group:
    """The trainings with scores at the same epochs.

    Attributes:
        known: Whether there are scores at an epoch, (epochs,).
        count: Number of trainings.
        mean: Mean of their scores, (known epochs,).
        scatter: Sum of the products of their deviations from it, (known epochs, known epochs).
    """

    known: NDArray[np.bool_]
    count: int
    mean: FloatArray
    scatter: FloatArray

    @classmethod
    def of(cls, scores: FloatArray, known: NDArray[np.bool_]) -> Self:
        values = scores[:, known]
        deviations = values - values.mean(0)
        return cls(known, len(scores), values.mean(0), deviations.T @ deviations)

    def complete(self, mean: FloatArray, covariance: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The expected mean and scatter at all epochs, given mean and covariance of all
        trainings.
        """
        known, missing = self.known, ~self.known
        # Expected scores at all epochs as a linear function of the known ones.
        slopes = np.eye(len(known))[:, known]
        slopes[missing] = np.linalg.solve(
            covariance[np.ix_(known, known)], covariance[np.ix_(known, missing)]
        ).T
        scatter = slopes @ self.scatter @ slopes.T
        conditional = covariance - slopes @ covariance[known]
        scatter[np.ix_(missing, missing)] += self.count * conditional[np.ix_(missing, missing)]
        return mean + slopes @ (self.mean - mean[known]), scatter


def _group_rows(
    scores: FloatArray, is_known: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.bool_], FloatArray]]:
    patterns, pattern_of_training = np.unique(is_known, axis=0, return_inverse=True)
    for index, known in enumerate(patterns):
        yield known, scores[pattern_of_training.ravel() == index]


def _known_mean(column: FloatArray, scores: FloatArray) -> float:
    known = column[~np.isnan(column)]
    return float(known.mean()) if len(known) else float(np.nanmean(scores))
