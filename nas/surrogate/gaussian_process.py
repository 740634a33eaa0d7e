"""A Gaussian process (Rasmussen and Williams, 2006) for learning accuracy from few, noisy trials.

Linear plus Matern 5/2 covariance and noise. Features come in groups: those of a group share a
linear variance, and have length scales that are alike unless trials tell them apart. A few trials
can tell how much the kernels matter, but not each of twenty. The hyperparameters are the most
probable ones under priors (algorithm 5.1 with priors added): without them, length scales follow the
noise of ten trials. The priors speak of features of mean 0 and variance 1 and of targets that are
standardised here.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

Floats = NDArray[np.float64]
Groups = NDArray[np.intp]  # of each feature, the number of its group, from 0

# Mean and standard deviation of the normal priors on the natural logarithms of the hyperparameters.
_PRIORS = {
    "inverse_length": (-2.0, 1.0),  # of a group
    "departure": (0.0, 1.0),  # of a feature's from its group's
    "signal": (-0.7, 1.0),  # variance of a linear part, and of the Matern part
    "noise": (-4.0, 1.5),
}
_BOUNDS = {
    "inverse_length": (-7.0, 2.0),
    "departure": (-4.0, 4.0),
    "signal": (-6.0, 4.0),
    "noise": (-10.0, 2.0),
}


def _distances(one: Floats, other: Floats, inverse_lengths: Floats) -> Floats:
    """Scaled distances times sqrt(5), of each row of `one` to each of `other`."""
    a, b = one * inverse_lengths, other * inverse_lengths
    squared = a @ (-2 * b.T)
    squared += (a * a).sum(1)[:, None]
    squared += (b * b).sum(1)
    return np.sqrt(np.maximum(5 * squared, 0.0))


@dataclass(frozen=True)
class Hyperparameters:
    """logs: of the inverse length scales (one a group), how far each feature's departs from it (one
    a feature), the linear variances (one a group), the Matern variance, the noise variance. groups:
    (features,)."""

    logs: Floats
    groups: Groups

    @property
    def inverse_lengths(self) -> Floats:
        """(features,)"""
        return np.exp(
            self.logs[self.groups] + self.logs[self._count : self._count + len(self.groups)]
        )

    @property
    def linear(self) -> Floats:
        """Variance of each feature's slope (features,): an equal part of its group's, and that an
        equal part of the whole's.
        """
        shares = np.bincount(self.groups)[self.groups] * self._count
        return np.exp(self.logs[self._count + len(self.groups) :][self.groups]) / shares

    @property
    def matern(self) -> float:
        return float(np.exp(self.logs[-2]))

    @property
    def noise(self) -> float:
        """The noise's variance, of standardised targets."""
        return float(np.exp(self.logs[-1]))

    @property
    def _count(self) -> int:
        return (len(self.logs) - len(self.groups)) // 2 - 1

    def covariance(self, one: Floats, other: Floats) -> Floats:
        """(rows of one, rows of other)."""
        r = _distances(one, other, self.inverse_lengths)
        return self.matern * (1 + r + r * r / 3) * np.exp(-r) + (one * self.linear) @ other.T

    def variances(self, rows: Floats) -> Floats:
        """The diagonal of `covariance(rows, rows)`."""
        return self.matern + (rows * rows) @ self.linear


def tune(features: Floats, targets: Floats, groups: Groups, *, steps: int = 25) -> Hyperparameters:
    """The most probable hyperparameters: features (trials, features), standardised targets
    (trials,), groups (features,).
    """
    count = int(groups.max()) + 1
    kinds = {"inverse_length": count, "departure": len(groups), "signal": count + 1, "noise": 1}
    mean, deviation = np.repeat([_PRIORS[kind] for kind in kinds], list(kinds.values()), axis=0).T
    bounds = [_BOUNDS[kind] for kind, many in kinds.items() for _ in range(many)]

    def loss(logs: Floats) -> tuple[float, Floats]:
        value, slope = _negative_log_likelihood(Hyperparameters(logs, groups), features, targets)
        away = (logs - mean) / deviation
        return value + float(away @ away) / 2, slope + away / deviation

    found = minimize(
        loss, mean, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": steps}
    )
    return Hyperparameters(found.x, groups)


def _negative_log_likelihood(
    theta: Hyperparameters, features: Floats, targets: Floats
) -> tuple[float, Floats]:
    """Without its constant, and its gradient by the logarithms (Rasmussen and Williams, equations
    5.8 and 5.9).
    """
    rows = len(features)
    r = _distances(features, features, theta.inverse_lengths)
    fading = np.exp(-r)
    matern = theta.matern * (1 + r + r * r / 3) * fading
    covariance = matern + (features * theta.linear) @ features.T + theta.noise * np.eye(rows)
    factor = cholesky(covariance, lower=True, check_finite=False)
    weights = cho_solve((factor, True), targets, check_finite=False)
    inverse = cho_solve((factor, True), np.eye(rows), check_finite=False)
    value = float(targets @ weights) / 2 + float(np.log(np.diag(factor)).sum())
    by_entry = (inverse - np.outer(weights, weights)) / 2
    # d matern / d log(inverse length) of feature f is -5/3 (1 + r) exp(-r) times the squared scaled
    # difference in f.
    falls = by_entry * (theta.matern * 5 / 3 * (1 + r) * fading)
    squares = 2 * (falls.sum(1) @ (features * features) - ((falls @ features) * features).sum(0))
    by_length = -(theta.inverse_lengths**2) * squares
    by_linear = np.bincount(theta.groups, theta.linear * ((by_entry @ features) * features).sum(0))
    by_variance = [(by_entry * matern).sum(), np.trace(by_entry) * theta.noise]
    return value, np.concatenate(
        [np.bincount(theta.groups, by_length), by_length, by_linear, by_variance]
    )


class GaussianProcess:
    """The posterior given trials: features (trials, features), targets (trials,) in any unit."""

    def __init__(self, theta: Hyperparameters, features: Floats, targets: Floats) -> None:
        self.theta, self._features = theta, features
        self._mean, self._scale = standard(targets)
        covariance = theta.covariance(features, features) + theta.noise * np.eye(len(features))
        self._factor = cholesky(covariance, lower=True, check_finite=False)
        self.weights = cho_solve(
            (self._factor, True), (targets - self._mean) / self._scale, check_finite=False
        )

    @property
    def noise(self) -> float:
        """Standard deviation of the noise of one trial, in the unit of the targets."""
        return math.sqrt(self.theta.noise) * self._scale

    def mean(self, features: Floats) -> Floats:
        """What is expected of each row."""
        return self._mean + self._scale * (
            self.theta.covariance(features, self._features) @ self.weights
        )

    def predict(self, features: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation of each row's true value (without the noise of measuring
        it).
        """
        covariance = self.theta.covariance(features, self._features)
        known = solve_triangular(self._factor, covariance.T, lower=True, check_finite=False)
        variance = self.theta.variances(features) - (known * known).sum(0)
        return self._mean + self._scale * (covariance @ self.weights), self._scale * np.sqrt(
            np.maximum(variance, 1e-12)
        )

    def joint(self, features: Floats) -> tuple[Floats, Floats]:
        """Mean of each row and covariance of all of them."""
        covariance = self.theta.covariance(features, self._features)
        known = solve_triangular(self._factor, covariance.T, lower=True, check_finite=False)
        between = self.theta.covariance(features, features) - known.T @ known
        return self._mean + self._scale * (covariance @ self.weights), self._scale**2 * between


def standard(targets: Floats) -> tuple[float, float]:
    """Mean and standard deviation; 1 where all are equal but for rounding."""
    mean, deviation = float(targets.mean()), float(targets.std())
    return mean, deviation if deviation > 1e-9 * abs(mean) else 1.0
