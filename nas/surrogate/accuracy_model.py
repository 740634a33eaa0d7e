"""What is believed of the accuracy of every network of a space after some trials, with its
uncertainty.

Tuning the hyperparameters costs most, so they are tuned on the first m trials, where m grows by
about a fifth at a time, and
kept in between: they follow from the trials alone, whatever was asked before.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from phinas.nas.problem import Problem
from phinas.nas.surrogate.gaussian_process import (
    Floats,
    GaussianProcess,
    Groups,
    Hyperparameters,
    standard,
    tune,
)
from phinas.space.search_spaces.inactive_choices import Indices, Mask

LEAST = 4  # trials, below which nothing is learned
MOST = 800  # trials that the process remembers: its work grows with their cube
_TUNED_ON = 300
_FAILED = 0.5  # of the median accuracy


def learn_accuracy(
    problem: Problem, measured: Indices, accuracies: Floats, *, pending: Indices | None = None
) -> GaussianProcess:
    """What accuracies are to be expected, from trials in the order of their numbers: (trials,
    decisions), (trials,), at least LEAST of them.

    pending: networks that are being measured; each is taken to give what is expected of it
    (Ginsbourger et al., 2010, the kriging believer), so that the next is looked for elsewhere.
    """
    features = problem.features(measured)
    clean = (
        _as_it_is if problem.pareto else without_disasters
    )  # what is cheap and poor may stand on the front
    theta = _tuned_first(features, accuracies, problem.features.groups, clean)
    kept, targets = _remembered(accuracies), clean(accuracies)
    model = GaussianProcess(theta, features[kept], targets[kept])
    if pending is None or len(pending) == 0:
        return model
    expected = problem.features(pending)
    return GaussianProcess(
        theta,
        np.concatenate([features[kept], expected]),
        np.concatenate([targets[kept], model.mean(expected)]),
    )


def learn_log_cost(problem: Problem, measured: Indices, costs: Floats) -> GaussianProcess:
    """The same of the logarithms of costs that had to be measured."""
    features, targets = problem.features(measured), np.log(costs)
    kept = _remembered(targets)
    theta = _tuned_first(features, targets, problem.features.groups, _as_it_is)
    return GaussianProcess(theta, features[kept], targets[kept])


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
    features: Floats, targets: Floats, groups: Groups, clean: Callable[[Floats], Floats]
) -> Hyperparameters:
    """Tuned on the first trials. Cleaned by themselves: by all trials, they would be others after
    each.
    """
    first = _milestone(len(targets))
    return _tuned(
        features[:first].tobytes(), clean(targets[:first]).tobytes(), tuple(groups.tolist())
    )


@lru_cache(maxsize=32)
def _tuned(features: bytes, targets: bytes, groups: tuple[int, ...]) -> Hyperparameters:
    rows = np.frombuffer(features).reshape(-1, len(groups))
    values = np.frombuffer(targets)
    some = np.linspace(0, len(values) - 1, min(len(values), _TUNED_ON)).astype(int)
    mean, scale = standard(values[some])
    return tune(rows[some], (values[some] - mean) / scale, np.array(groups))


def _remembered(targets: Floats) -> Indices:
    """The better half of MOST and the latest of the others."""
    if len(targets) <= MOST:
        return np.arange(len(targets))
    best = np.argsort(-targets, kind="stable")[: MOST // 2]
    others = np.setdiff1d(np.arange(len(targets)), best)
    return np.sort(np.concatenate([best, others[-(MOST - MOST // 2) :]]))
