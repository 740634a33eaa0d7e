"""The model of the score: a Gaussian process over the networks of a space, fitted to trials.

Tuning the hyperparameters takes most of the time. So they are tuned on the first m trials, where m
grows in steps of about a fifth, and do not change in between. They depend on the trials only, not
on earlier proposals.
"""

from collections.abc import Callable
from functools import cache, lru_cache

import numpy as np

from phinas.nas.surrogate.features import FeatureEncoder
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


@single_threaded_blas()
def fit_accuracy_model(
    features: FeatureEncoder,
    measured_rows: Indices,
    scores: FloatArray,
    *,
    scale: ScoreScale = LINEAR_SCALE,
    pending_rows: Indices | None = None,
    floor_failures: bool = True,
) -> GaussianProcess:
    """Fit a Gaussian process to the scores.

    Args:
        features: Encodes networks.
        measured_rows: Choices of the trials in the order of their numbers, (trials, decisions), at
            least MIN_TRIALS of them.
        scores: (trials,).
        scale: The scale of the model. It predicts the score on this scale.
        pending_rows: Networks that are being trained. Each is assumed to get its expected score
            (the kriging believer, Ginsbourger et al., 2010), so that the next proposal is another
            network.
        floor_failures: Raise the scores of failed trainings to the lowest score of the others.

    Returns:
        The model of the trials of `select_trials(scores)`, followed by the pending ones.
    """
    transform = _make_transform(scale, floor_failures)
    theta = _tune_on_first_trials(features, measured_rows, scores, transform)
    selected = select_trials(scores)
    rows, targets = features(measured_rows[selected]), transform(scores)[selected]
    model = GaussianProcess(theta, rows, targets)
    if pending_rows is None or len(pending_rows) == 0:
        return model
    pending_features = features(pending_rows)
    return GaussianProcess(
        theta,
        np.concatenate([rows, pending_features]),
        np.concatenate([targets, model.mean(pending_features)]),
    )


@single_threaded_blas()
def fit_log_cost_model(
    features: FeatureEncoder, measured_rows: Indices, costs: FloatArray
) -> GaussianProcess:
    """Fit a Gaussian process to the logarithms of measured costs."""
    targets = np.log(costs)
    selected = select_trials(targets)
    theta = _tune_on_first_trials(features, measured_rows, costs, np.log)
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


@cache  # the transform is a part of the key of cached hyperparameters
def _make_transform(scale: ScoreScale, floor_failures: bool) -> Callable[[FloatArray], FloatArray]:
    """The function from scores to the targets of the model."""

    def transform(scores: FloatArray) -> FloatArray:
        return scale.transform(floor_failed_trainings(scores) if floor_failures else scores)

    return transform


def _num_tuning_trials(count: int) -> int:
    step = MIN_TRIALS
    while (next_step := max(step + 1, int(step * 1.2))) <= count:
        step = next_step
    return step


def _tune_on_first_trials(
    features: FeatureEncoder,
    measured_rows: Indices,
    values: FloatArray,
    transform: Callable[[FloatArray], FloatArray],
) -> Hyperparameters:
    """Tune on the first trials.

    The transform is applied to these only. With all trials, the result would change after each
    trial.
    """
    num_first = _num_tuning_trials(len(values))
    rows = np.ascontiguousarray(measured_rows[:num_first], dtype=np.int64)
    targets = np.ascontiguousarray(values[:num_first], dtype=np.float64)
    return _cached_hyperparameters(features, rows.tobytes(), targets.tobytes(), transform)


@lru_cache(maxsize=32)
def _cached_hyperparameters(
    features: FeatureEncoder,
    measured_rows: bytes,
    values: bytes,
    transform: Callable[[FloatArray], FloatArray],
) -> Hyperparameters:
    """The hyperparameters, cached by choices and measured values, which determine the result.

    The features are not a part of the key: the last bits of a matrix product depend on its number
    of rows and on the processor.
    """
    targets = transform(np.frombuffer(values))
    rows = np.frombuffer(measured_rows, dtype=np.int64).reshape(len(targets), -1)
    subset = np.linspace(0, len(targets) - 1, min(len(targets), _MAX_TUNING_TRIALS)).astype(int)
    mean, scale = mean_and_scale(targets[subset])
    # Encode all rows, then select: a product with other rows has other last bits.
    return tune_hyperparameters(
        features(rows)[subset], (targets[subset] - mean) / scale, features.groups
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
