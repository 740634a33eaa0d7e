"""The model of the score: a Gaussian process over the networks of a space, fitted to trials.

Tuning the hyperparameters takes most of the time. So they are tuned on the first m trials, where m
grows in steps of about a fifth, and do not change in between. They depend on the trials only, not
on earlier proposals.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np

from phinas.nas.surrogate.curve_model import FinalScores, error_variances, measure_final_scores
from phinas.nas.surrogate.features import NetworkFeatures
from phinas.nas.surrogate.gaussian_process import (
    FloatArray,
    GaussianProcess,
    Hyperparameters,
    mean_and_scale,
    single_threaded_blas,
)
from phinas.nas.surrogate.hyperparameter_tuning import tune_hyperparameters
from phinas.nas.surrogate.score_scale import LINEAR_SCALE, ScoreScale
from phinas.space.search_spaces.inactive_choices import Indices, Mask

MIN_TRIALS = 4  # fewer trials than this give no model
MAX_TRIALS = 800  # maximum number of trials in a fit, whose time grows with the cube
_MAX_TUNING_TRIALS = 300
_FAILURE_RATIO = 0.5  # a training below this fraction of the median score failed to learn


@dataclass(frozen=True)
class AccuracyModel:
    """A Gaussian process of the score, and the trials that it is fitted to.

    Attributes:
        process: Fitted to these trials, followed by the pending networks.
        trials: The indices of the trials.
    """

    process: GaussianProcess
    trials: Indices

    @property
    def trial_means(self) -> FloatArray:
        """Posterior mean of each of the trials."""
        return self.process.trial_means[: len(self.trials)]


@single_threaded_blas()
def fit_accuracy_model(
    features: NetworkFeatures,
    measured_rows: Indices,
    curves: FloatArray,
    *,
    scale: ScoreScale = LINEAR_SCALE,
    pending_rows: Indices | None = None,
    floor_failures: bool = True,
) -> AccuracyModel:
    """Fit a Gaussian process to the scores.

    Args:
        features: Encodes networks.
        measured_rows: Choices of the trials in the order of their numbers, (trials, decisions), at
            least MIN_TRIALS of them.
        curves: Score of each trial after each epoch, (trials, epochs). NaN where it is not known,
            as after the end of a pruned training. The last column alone will do if it has no NaN.
        scale: The scale of the model. It predicts the final score on this scale.
        pending_rows: Networks that are being trained. Each is assumed to get its expected score
            (the kriging believer, Ginsbourger et al., 2010), so that the next proposal is another
            network.
        floor_failures: Raise the scores of failed trainings to the lowest score of the others.
    """
    if not np.isnan(curves[:, -1]).any():
        curves = curves[:, -1:]
    measure = _make_measure(scale, floor_failures)
    theta = _tune_on_first_trials(features, measured_rows, curves, measure)
    measured = measure(curves, features.log_flops(measured_rows))
    selected = select_trials(measured.values)
    rows = features(measured_rows[selected])
    targets, variances = measured.values[selected], measured.variances[selected]
    model = GaussianProcess(theta, rows, targets, variances)
    if pending_rows is not None and len(pending_rows):
        pending_features = features(pending_rows)
        model = GaussianProcess(
            theta,
            np.concatenate([rows, pending_features]),
            np.concatenate([targets, model.mean(pending_features)]),
            np.concatenate([variances, np.zeros(len(pending_rows))]),
        )
    return AccuracyModel(model, selected)


def final_score_error_variances(
    features: NetworkFeatures,
    measured_rows: Indices,
    curves: FloatArray,
    epochs: Sequence[int],
    *,
    scale: ScoreScale,
) -> dict[int, float]:
    """The variances of what scores after some epochs say about the final ones, on the scale.

    Args:
        features: Encodes networks.
        measured_rows: Choices of the trials, (trials, decisions).
        curves: Score of each trial after each epoch, (trials, epochs), NaN where it is not known.
        epochs: From 1 to the last epoch.
        scale: The scale of the model.
    """
    return error_variances(
        _floor_and_transform(curves, scale), epochs, features.log_flops(measured_rows)[:, None]
    )


@single_threaded_blas()
def fit_log_cost_model(
    features: NetworkFeatures, measured_rows: Indices, costs: FloatArray
) -> GaussianProcess:
    """Fit a Gaussian process to the logarithms of measured costs."""
    targets = np.log(costs)
    selected = select_trials(targets)
    theta = _tune_on_first_trials(features, measured_rows, costs[:, None], _measure_log_costs)
    return GaussianProcess(theta, features(measured_rows[selected]), targets[selected])


def failed_to_learn(scores: FloatArray) -> Mask:
    """Which trainings failed to learn: those with a score below half of the median."""
    return scores < _FAILURE_RATIO * np.median(scores)


def floor_failed_trainings(scores: FloatArray) -> FloatArray:
    """Raise the scores of failed trainings to the lowest score of the others.

    A failed training shows that the network is poor. Without the floor, its very low score would
    dominate all other differences.
    """
    is_failed = failed_to_learn(scores)
    return np.where(is_failed, scores[~is_failed].min(), scores)


# Of values after each epoch, (trials, epochs), and the logarithms of the FLOPs, (trials,).
Measure = Callable[[FloatArray, FloatArray], FinalScores]


@cache  # the function is a part of the key of cached hyperparameters
def _make_measure(scale: ScoreScale, floor_failures: bool) -> Measure:
    """The function from scores to the targets of the model."""

    def measure(curves: FloatArray, log_flops: FloatArray) -> FinalScores:
        scores = _floor_and_transform(curves, scale) if floor_failures else scale.transform(curves)
        # Small networks learn faster and end lower.
        return measure_final_scores(scores, log_flops[:, None])

    return measure


def _floor_and_transform(curves: FloatArray, scale: ScoreScale) -> FloatArray:
    return scale.transform(np.apply_along_axis(_floor_known_scores, 0, curves))


def _floor_known_scores(scores: FloatArray) -> FloatArray:
    """`floor_failed_trainings` of the scores that are not NaN."""
    known = ~np.isnan(scores)
    if known.any():
        scores = scores.copy()
        scores[known] = floor_failed_trainings(scores[known])
    return scores


def _measure_log_costs(costs: FloatArray, _log_flops: FloatArray) -> FinalScores:
    return FinalScores(np.log(costs[:, 0]), np.zeros(len(costs)))


def _num_tuning_trials(count: int) -> int:
    step = MIN_TRIALS
    while (next_step := max(step + 1, int(step * 1.2))) <= count:
        step = next_step
    return step


def _tune_on_first_trials(
    features: NetworkFeatures, measured_rows: Indices, values: FloatArray, measure: Measure
) -> Hyperparameters:
    """Tune on the first trials.

    The measure is applied to these only. With all trials, the result would change after each trial.

    Args:
        features: Encodes networks.
        measured_rows: (trials, decisions).
        values: (trials, epochs).
        measure: The function from values to targets.
    """
    num_first = _num_tuning_trials(len(values))
    rows = np.ascontiguousarray(measured_rows[:num_first], dtype=np.int64)
    first_values = np.ascontiguousarray(values[:num_first], dtype=np.float64)
    return _cached_hyperparameters(
        features, num_first, rows.tobytes(), first_values.tobytes(), measure
    )


@lru_cache(maxsize=32)
def _cached_hyperparameters(
    features: NetworkFeatures,
    num_trials: int,
    measured_rows: bytes,
    values: bytes,
    measure: Measure,
) -> Hyperparameters:
    """The hyperparameters, cached by choices and measured values, which determine the result.

    The features are not a part of the key: the last bits of a matrix product depend on its number
    of rows and on the processor.
    """
    rows = np.frombuffer(measured_rows, dtype=np.int64).reshape(num_trials, -1)
    curves = np.frombuffer(values).reshape(num_trials, -1)
    measured = measure(curves, features.log_flops(rows))
    subset = np.linspace(0, num_trials - 1, min(num_trials, _MAX_TUNING_TRIALS)).astype(int)
    mean, scale = mean_and_scale(measured.values[subset])
    # Encode all rows, then select: a product with other rows has other last bits.
    return tune_hyperparameters(
        features(rows)[subset],
        (measured.values[subset] - mean) / scale,
        features.groups,
        num_linear_groups=features.num_linear_groups,
        error_variances=measured.variances[subset] / scale**2,
    )


def select_trials(targets: FloatArray) -> Indices:
    """At most MAX_TRIALS trials. One half are the best trials, and the other half are the latest of
    the others.
    """
    if len(targets) <= MAX_TRIALS:
        return np.arange(len(targets))
    best_indices = np.argsort(-targets, kind="stable")[: MAX_TRIALS // 2]
    other_indices = np.setdiff1d(np.arange(len(targets)), best_indices)
    return np.sort(np.concatenate([best_indices, other_indices[-(MAX_TRIALS - MAX_TRIALS // 2) :]]))
