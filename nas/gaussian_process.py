"""A Gaussian process (Rasmussen and Williams, 2006) for learning accuracy from few, noisy trials.

Linear plus Matern 5/2 covariance with one length scale a feature, and noise. The hyperparameters are the most probable ones
under priors (algorithm 5.1 with priors added): without them, thirty length scales follow the noise of ten trials. The priors
speak of features of mean 0 and variance 1 and of targets that are standardised here.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

Floats = NDArray[np.float64]

# Mean and standard deviation of the normal priors on the natural logarithms of the hyperparameters.
_INVERSE_LENGTH = (-2.0, 1.0)
_SIGNAL = (-0.7, 1.0)  # variance of the Matern part, and of the linear part
_NOISE = (-4.0, 1.5)
_BOUNDS = {"inverse_length": (-7.0, 2.0), "signal": (-6.0, 4.0), "noise": (-10.0, 2.0)}


def _distances(one: Floats, other: Floats, inverse_lengths: Floats) -> Floats:
    """Scaled distances times sqrt(5), of each row of `one` to each of `other`."""
    a, b = one * inverse_lengths, other * inverse_lengths
    squared = (a * a).sum(1)[:, None] + (b * b).sum(1)[None, :] - 2 * a @ b.T
    return np.sqrt(5 * np.maximum(squared, 0.0))


@dataclass(frozen=True)
class Hyperparameters:
    """logs: of the inverse length scales (one a feature), the Matern variance, the linear variance, the noise variance."""

    logs: Floats

    @property
    def inverse_lengths(self) -> Floats:
        return np.exp(self.logs[:-3])

    @property
    def noise(self) -> float:
        """The noise's variance, of standardised targets."""
        return float(np.exp(self.logs[-1]))

    def covariance(self, one: Floats, other: Floats) -> Floats:
        """(rows of one, rows of other)."""
        matern, linear = np.exp(self.logs[-3]), np.exp(self.logs[-2])
        r = _distances(one, other, self.inverse_lengths)
        return matern * (1 + r + r * r / 3) * np.exp(-r) + linear / one.shape[1] * (one @ other.T)

    def variances(self, rows: Floats) -> Floats:
        """The diagonal of `covariance(rows, rows)`."""
        return np.exp(self.logs[-3]) + np.exp(self.logs[-2]) / rows.shape[1] * (rows * rows).sum(1)


def _prior(features: int) -> tuple[Floats, Floats]:
    rows = [_INVERSE_LENGTH] * features + [_SIGNAL, _SIGNAL, _NOISE]
    return np.array([mean for mean, _ in rows]), np.array([deviation for _, deviation in rows])


def tune(features: Floats, targets: Floats, *, steps: int = 25) -> Hyperparameters:
    """The most probable hyperparameters: features (trials, features), standardised targets (trials,)."""
    mean, deviation = _prior(features.shape[1])
    bounds = [_BOUNDS["inverse_length"]] * features.shape[1] + [_BOUNDS["signal"]] * 2 + [_BOUNDS["noise"]]

    def loss(logs: Floats) -> tuple[float, Floats]:
        value, slope = _negative_log_likelihood(Hyperparameters(logs), features, targets)
        away = (logs - mean) / deviation
        return value + float(away @ away) / 2, slope + away / deviation

    found = minimize(loss, mean, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": steps})
    return Hyperparameters(found.x)


def _negative_log_likelihood(theta: Hyperparameters, features: Floats, targets: Floats) -> tuple[float, Floats]:
    """Without its constant, and its gradient by the logarithms (Rasmussen and Williams, equations 5.8 and 5.9)."""
    count, width = features.shape
    r = _distances(features, features, theta.inverse_lengths)
    fading = np.exp(-r)
    matern = np.exp(theta.logs[-3]) * (1 + r + r * r / 3) * fading
    linear = np.exp(theta.logs[-2]) / width * (features @ features.T)
    factor = cholesky(matern + linear + theta.noise * np.eye(count), lower=True, check_finite=False)
    weights = cho_solve((factor, True), targets, check_finite=False)
    inverse = cho_solve((factor, True), np.eye(count), check_finite=False)
    value = float(targets @ weights) / 2 + float(np.log(np.diag(factor)).sum())
    by_entry = (inverse - np.outer(weights, weights)) / 2
    slope = np.empty_like(theta.logs)
    # d matern / d log(inverse length) of feature f is -5/3 (1 + r) exp(-r) times the squared scaled difference in f.
    falls = by_entry * (np.exp(theta.logs[-3]) * 5 / 3 * (1 + r) * fading)
    squares = 2 * (falls.sum(1) @ (features * features) - ((falls @ features) * features).sum(0))
    slope[:-3] = -(theta.inverse_lengths**2) * squares
    slope[-3] = (by_entry * matern).sum()
    slope[-2] = (by_entry * linear).sum()
    slope[-1] = np.trace(by_entry) * theta.noise
    return value, slope


class GaussianProcess:
    """The posterior given trials: features (trials, features), targets (trials,) in any unit."""

    def __init__(self, theta: Hyperparameters, features: Floats, targets: Floats) -> None:
        self.theta, self._features = theta, features
        self._mean, self._scale = standard(targets)
        covariance = theta.covariance(features, features) + theta.noise * np.eye(len(features))
        self._factor = cholesky(covariance, lower=True, check_finite=False)
        self.weights = cho_solve((self._factor, True), (targets - self._mean) / self._scale, check_finite=False)

    @property
    def noise(self) -> float:
        """Standard deviation of the noise of one trial, in the unit of the targets."""
        return math.sqrt(self.theta.noise) * self._scale

    def mean(self, features: Floats) -> Floats:
        """What is expected of each row."""
        return self._mean + self._scale * (self.theta.covariance(features, self._features) @ self.weights)

    def predict(self, features: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation of each row's true value (without the noise of measuring it)."""
        covariance = self.theta.covariance(features, self._features)
        known = solve_triangular(self._factor, covariance.T, lower=True, check_finite=False)
        variance = self.theta.variances(features) - (known * known).sum(0)
        return self._mean + self._scale * (covariance @ self.weights), self._scale * np.sqrt(np.maximum(variance, 1e-12))

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
