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
from phinas.nas.surrogate.features import Features
from phinas.nas.surrogate.gaussian_process import (
    Floats,
    GaussianProcess,
    Hyperparameters,
    standard,
    tune,
)
from phinas.space.search_spaces.inactive_choices import Indices, Mask

LEAST = 4  # trials, below which nothing is learned
MOST = 800  # trials that the process remembers: its work grows with their cube
_TUNED_ON = 300
_FAILED = 0.5  # of the median accuracy


@single_threaded_blas()
def learn_accuracy(
    features: Features,
    measured: Indices,
    accuracies: Floats,
    *,
    pending: Indices | None = None,
    floor_failures: bool = True,
) -> GaussianProcess:
    """What accuracies are to be expected, from trials in the order of their numbers: (trials,
    decisions), (trials,), at least LEAST of them.

    pending: networks that are being measured; each is taken to give what is expected of it
    (Ginsbourger et al., 2010, the kriging believer), so that the next is looked for elsewhere.
    floor_failures: whether failed trainings are raised to the lowest of the others.
    """
    clean = without_disasters if floor_failures else _as_it_is
    theta = _tuned_first(features, measured, accuracies, clean)
    rows, targets = features(measured), clean(accuracies)
    kept = _remembered(accuracies)
    model = GaussianProcess(theta, rows[kept], targets[kept])
    if pending is None or len(pending) == 0:
        return model
    expected = features(pending)
    return GaussianProcess(
        theta,
        np.concatenate([rows[kept], expected]),
        np.concatenate([targets[kept], model.mean(expected)]),
    )


@single_threaded_blas()
def learn_log_cost(features: Features, measured: Indices, costs: Floats) -> GaussianProcess:
    """The same of the logarithms of costs that had to be measured."""
    rows, targets = features(measured), np.log(costs)
    kept = _remembered(targets)
    theta = _tuned_first(features, measured, costs, np.log)
    return GaussianProcess(theta, rows[kept], targets[kept])


def went_wrong(accuracies: Floats) -> Mask:
    """Which came to less than half of the median: a training that failed to learn."""
    return accuracies < _FAILED * np.median(accuracies)


def without_disasters(accuracies: Floats) -> Floats:
    """Those that went wrong raised to the lowest of the others: that a network failed to learn says
    that it is poor, and how poor would drown all other differences."""
    wrong = went_wrong(accuracies)
    return np.where(wrong, accuracies[~wrong].min(), accuracies)


def _as_it_is(targets: Floats) -> Floats:
    return targets


def _milestone(count: int) -> int:
    step = LEAST
    while (following := max(step + 1, int(step * 1.2))) <= count:
        step = following
    return step


def _tuned_first(
    features: Features, measured: Indices, values: Floats, clean: Callable[[Floats], Floats]
) -> Hyperparameters:
    """Tuned on the first trials. Cleaned by themselves: by all trials, they would be others after
    each.
    """
    first = _milestone(len(values))
    rows = np.ascontiguousarray(measured[:first], dtype=np.int64)
    targets = np.ascontiguousarray(values[:first], dtype=np.float64)
    return _tuned(features, rows.tobytes(), targets.tobytes(), clean)


@lru_cache(maxsize=32)
def _tuned(
    features: Features, measured: bytes, values: bytes, clean: Callable[[Floats], Floats]
) -> Hyperparameters:
    """Keyed by what decides it, choices and measured values. Not by the features: the last bits of
    a matrix product differ with its number of rows, and with the processor.
    """
    targets = clean(np.frombuffer(values))
    rows = np.frombuffer(measured, dtype=np.int64).reshape(len(targets), -1)
    some = np.linspace(0, len(targets) - 1, min(len(targets), _TUNED_ON)).astype(int)
    mean, scale = standard(targets[some])
    # All rows are computed, then some are taken: a product of other rows has other last bits.
    return tune(features(rows)[some], (targets[some] - mean) / scale, features.groups)


def _remembered(targets: Floats) -> Indices:
    """The better half of MOST and the latest of the others."""
    if len(targets) <= MOST:
        return np.arange(len(targets))
    best = np.argsort(-targets, kind="stable")[: MOST // 2]
    others = np.setdiff1d(np.arange(len(targets)), best)
    return np.sort(np.concatenate([best, others[-(MOST - MOST // 2) :]]))
