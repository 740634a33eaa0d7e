"""The choice between a new training, a part of one, and the rest of a paused one.

Freeze-thaw Bayesian optimization (Swersky, Snoek and Adams, arXiv:1406.3896) pauses trainings that
disappoint and resumes those that promise. How much an early score says about the final one differs
from data set to data set, and is estimated from the search's own curves. Where it says little, all
networks are trained to the end.

An option is a training that could run next, up to an epoch. Its value is the expected improvement
of the reward if it is continued to the end only where that is worth its epochs:

    E[max(0, EI(score so far) - rate * remaining epochs)]

where `rate` is the highest value per epoch of all options. The option with this rate is chosen.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from phinas.nas.surrogate.gaussian_process import FloatArray

_NUM_NODES = 15  # of the Gauss-Hermite quadrature
_STOP_FRACTIONS = (0.0625, 0.125, 0.25, 0.5, 0.75)  # of the epochs, at which a training may pause
# A part of a training must give so much more information per epoch than all of it: what early
# scores say is estimated from few curves.
_MIN_INFORMATION_RATIO = 1.2
_TOLERANCE = 1e-6  # relative, of the rate
_EQUAL = 1e-4  # relative difference of equal rates

# From means and standard deviations of the final score to the expected improvement of the reward.
ImprovementFn = Callable[[FloatArray, FloatArray], FloatArray]


@dataclass(frozen=True)
class Training:
    """A training that can be started or resumed.

    Attributes:
        trial: Its number. None: it is new.
        epochs: Epochs that it has been trained for.
        mean: Mean of the final score, given the scores so far.
        std: Its standard deviation.
        improvement: Expected improvement of the reward by a final score.
    """

    trial: int | None
    epochs: int
    mean: float
    std: float
    improvement: ImprovementFn


@dataclass(frozen=True)
class Option:
    """A training and the epoch up to which it runs."""

    training: Training
    epochs: int


def stop_epochs(num_epochs: int) -> list[int]:
    """The epochs at which a training may pause, before the last one."""
    stops = {math.ceil(fraction * num_epochs) for fraction in _STOP_FRACTIONS}
    return sorted(stop for stop in stops if stop < num_epochs)


def choose_option(
    trainings: Sequence[Training], num_epochs: int, error_variances: Mapping[int, float]
) -> Option:
    """The option with the highest value per epoch.

    Args:
        trainings: At least one.
        num_epochs: Epochs of a full training.
        error_variances: For each epoch at which a training may pause or has paused, the variance of
            what its score says about the final one, with the noise of the final score; for
            `num_epochs`, that noise.
    """
    options = [
        Option(training, epochs)
        for training in trainings
        for epochs in [*stop_epochs(num_epochs), num_epochs]
        if epochs > training.epochs
        and (epochs == num_epochs or _informs(training, epochs, num_epochs, error_variances))
    ]
    values = [_ValueOfOption(option, num_epochs, error_variances) for option in options]

    def rates(rate: float) -> list[float]:
        return [value(rate) for value in values]

    # The highest value falls as the rate rises, so they are equal at one rate.
    low, high = 0.0, max(rates(0.0))
    while high - low > _TOLERANCE * high:
        middle = (low + high) / 2
        low, high = (middle, high) if max(rates(middle)) > middle else (low, middle)
    final_rates = rates(low)
    # Of options that are equal, as where no improvement is possible, the longest.
    min_rate = max(final_rates) * (1 - _EQUAL)
    return max(
        (option for option, rate in zip(options, final_rates, strict=True) if rate >= min_rate),
        key=lambda option: option.epochs,
    )


def _informs(
    training: Training, epochs: int, num_epochs: int, error_variances: Mapping[int, float]
) -> bool:
    """Whether a part of a training gives more information per epoch than all of it."""

    def rate(stop: int) -> float:
        new_variance = _new_variance(training, stop, error_variances)
        return math.log(training.std**2 / new_variance) / (stop - training.epochs)

    return rate(epochs) >= _MIN_INFORMATION_RATIO * rate(num_epochs)


def _new_variance(training: Training, stop: int, error_variances: Mapping[int, float]) -> float:
    precision = 1 / error_variances[stop]
    if training.epochs:
        precision -= 1 / error_variances[training.epochs]
    return 1 / (1 / training.std**2 + max(precision, 0.0))


class _ValueOfOption:
    """The value per epoch of an option, for a rate of the others."""

    def __init__(
        self, option: Option, num_epochs: int, error_variances: Mapping[int, float]
    ) -> None:
        training = option.training
        self._epochs = option.epochs - training.epochs
        self._remaining = num_epochs - option.epochs
        mean, variance = training.mean, training.std**2
        if self._remaining == 0:
            self._weights = np.ones(1)
            self._improvements = training.improvement(np.array([mean]), np.array([training.std]))
            return
        new_variance = _new_variance(training, option.epochs, error_variances)
        nodes, weights = np.polynomial.hermite_e.hermegauss(_NUM_NODES)
        self._weights = weights / weights.sum()
        means = mean + math.sqrt(max(variance - new_variance, 0.0)) * nodes
        self._improvements = training.improvement(
            means, np.full(_NUM_NODES, math.sqrt(new_variance))
        )

    def __call__(self, rate: float) -> float:
        gains = np.maximum(self._improvements - rate * self._remaining, 0.0)
        return float(self._weights @ gains) / self._epochs
