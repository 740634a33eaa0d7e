"""What is believed of the accuracy of every network of a space after some trials, with its
uncertainty.

Tuning the hyperparameters costs most, so they are tuned on the first m trials, where m grows by
about a fifth at a time, and
kept in between: they follow from the trials alone, whatever was asked before.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from phinas.nas.surrogate.blas_threads import single_threaded_blas
from phinas.nas.surrogate.features import FeatureEncoder
from phinas.nas.surrogate.gaussian_process import (
    FloatArray,
    GaussianProcess,
    Hyperparameters,
    mean_and_scale,
    tune_hyperparameters,
)
from phinas.space.search_spaces.inactive_choices import Indices, Mask

MIN_TRIALS = 4  # trials, below which nothing is learned
MAX_TRIALS = 800  # trials that the process remembers: its work grows with their cube
_MAX_TUNING_TRIALS = 300
_FAILURE_RATIO = 0.5  # of the median accuracy


@single_threaded_blas()
def fit_accuracy_model(
    features: FeatureEncoder,
    measured_rows: Indices,
    accuracies: FloatArray,
    *,
    pending_rows: Indices | None = None,
    floor_failures: bool = True,
) -> GaussianProcess:
    """What accuracies are to be expected, from trials in the order of their numbers: (trials,
    decisions), (trials,), at least MIN_TRIALS of them.

    pending_rows: networks that are being measured; each is taken to give what is expected of it
    (Ginsbourger et al., 2010, the kriging believer), so that the next is looked for elsewhere.
    floor_failures: whether failed trainings are raised to the lowest of the others.
    """
    transform = floor_failed_trainings if floor_failures else _identity
    theta = _tune_on_first_trials(features, measured_rows, accuracies, transform)
    rows, targets = features(measured_rows), transform(accuracies)
    selected = _select_trials(accuracies)
    model = GaussianProcess(theta, rows[selected], targets[selected])
    if pending_rows is None or len(pending_rows) == 0:
        return model
    pending_features = features(pending_rows)
    return GaussianProcess(
        theta,
        np.concatenate([rows[selected], pending_features]),
        np.concatenate([targets[selected], model.mean(pending_features)]),
    )


@single_threaded_blas()
def fit_log_cost_model(
    features: FeatureEncoder, measured_rows: Indices, costs: FloatArray
) -> GaussianProcess:
    """The same of the logarithms of costs that had to be measured."""
    rows, targets = features(measured_rows), np.log(costs)
    selected = _select_trials(targets)
    theta = _tune_on_first_trials(features, measured_rows, costs, np.log)
    return GaussianProcess(theta, rows[selected], targets[selected])


def failed_to_learn(accuracies: FloatArray) -> Mask:
    """Which came to less than half of the median: a training that failed to learn."""
    return accuracies < _FAILURE_RATIO * np.median(accuracies)


def floor_failed_trainings(accuracies: FloatArray) -> FloatArray:
    """Those that failed to learn, raised to the lowest of the others: that a network failed to
    learn says that it is poor, and how poor would drown all other differences."""
    is_failed = failed_to_learn(accuracies)
    return np.where(is_failed, accuracies[~is_failed].min(), accuracies)


def _identity(targets: FloatArray) -> FloatArray:
    return targets


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
    """Tuned on the first trials. Cleaned by themselves: by all trials, they would be others after
    each.
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
    """Keyed by what decides it, choices and measured values. Not by the features: the last bits of
    a matrix product differ with its number of rows, and with the processor.
    """
    targets = transform(np.frombuffer(values))
    rows = np.frombuffer(measured_rows, dtype=np.int64).reshape(len(targets), -1)
    subset = np.linspace(0, len(targets) - 1, min(len(targets), _MAX_TUNING_TRIALS)).astype(int)
    mean, scale = mean_and_scale(targets[subset])
    # All rows are computed, then some are taken: a product of other rows has other last bits.
    return tune_hyperparameters(
        features(rows)[subset], (targets[subset] - mean) / scale, features.groups
    )


def _select_trials(targets: FloatArray) -> Indices:
    """The better half of MAX_TRIALS and the latest of the others."""
    if len(targets) <= MAX_TRIALS:
        return np.arange(len(targets))
    best_indices = np.argsort(-targets, kind="stable")[: MAX_TRIALS // 2]
    other_indices = np.setdiff1d(np.arange(len(targets)), best_indices)
    return np.sort(np.concatenate([best_indices, other_indices[-(MAX_TRIALS - MAX_TRIALS // 2) :]]))
