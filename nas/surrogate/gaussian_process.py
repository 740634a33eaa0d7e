"""A Gaussian process (Rasmussen and Williams, 2006) for scores of few, noisy trials.

The covariance is linear plus Matern 5/2 plus noise. The features of a group share a linear variance
and have similar length scales, unless the trials show a difference: a few trials can show how much
kernel sizes matter, but not how much each of twenty kernel sizes matters. The hyperparameters are
the most probable ones under priors (algorithm 5.1, with priors added). Without priors, the length
scales fit the noise of the first ten trials. The priors assume features with mean 0 and variance 1.
This module standardizes the targets.

One BLAS thread is enough (`single_threaded_blas`). The matrices have a few hundred rows, for which
several threads are slower. Measured on two cores, tuning took 1.2 s with one thread and 13 s with
two, which wait for each other whenever another process runs.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from threadpoolctl import ThreadpoolController

FloatArray = NDArray[np.float64]
FeatureGroups = NDArray[np.intp]  # the group of each feature, from 0

# Mean and standard deviation of the normal priors on the natural logarithms of the hyperparameters.
_PRIORS = {
    "inverse_length": (-2.0, 1.0),  # of a group
    "length_offset": (0.0, 1.0),  # of a feature's from its group's
    "signal": (-0.7, 1.0),  # variance of a linear part, and of the Matern part
    "noise": (-4.0, 1.5),
}
_BOUNDS = {
    "inverse_length": (-7.0, 2.0),
    "length_offset": (-4.0, 4.0),
    "signal": (-6.0, 4.0),
    "noise": (-10.0, 2.0),
}


@cache
def _blas_controller() -> ThreadpoolController:
    # NumPy and SciPy have a BLAS each. The controller finds only those that are loaded.
    return ThreadpoolController()


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Limit BLAS to one thread in a `with` block or a decorated function, and restore it after."""
    with _blas_controller().limit(limits=1, user_api="blas"):
        yield


def _distances(rows: FloatArray, other_rows: FloatArray, inverse_lengths: FloatArray) -> FloatArray:
    """Scaled distances times sqrt(5), of each row of `rows` to each of `other_rows`."""
    a, b = rows * inverse_lengths, other_rows * inverse_lengths
    squared = a @ (-2 * b.T)
    squared += (a * a).sum(1)[:, None]
    squared += (b * b).sum(1)
    return np.sqrt(np.maximum(5 * squared, 0.0))


@dataclass(frozen=True)
class Hyperparameters:
    """Hyperparameters of the covariance.

    Attributes:
        logs: Natural logarithms of the inverse length scales (one per group), the offset of each
            feature's from its group's (one per feature), the linear variances (one per group), the
            Matern variance and the noise variance.
        groups: The group of each feature.
    """

    logs: FloatArray
    groups: FeatureGroups

    @property
    def inverse_lengths(self) -> FloatArray:
        """Inverse length scale of each feature, (features,)."""
        return np.exp(
            self.logs[self.groups]
            + self.logs[self._num_groups : self._num_groups + len(self.groups)]
        )

    @property
    def linear(self) -> FloatArray:
        """Variance of the slope of each feature, (features,). The features of a group divide its
        variance equally, and the groups divide the total.
        """
        group_shares = np.bincount(self.groups)[self.groups] * self._num_groups
        return np.exp(self.logs[self._num_groups + len(self.groups) :][self.groups]) / group_shares

    @property
    def matern(self) -> float:
        return float(np.exp(self.logs[-2]))

    @property
    def noise(self) -> float:
        """Variance of the noise of standardized targets."""
        return float(np.exp(self.logs[-1]))

    @property
    def _num_groups(self) -> int:
        return (len(self.logs) - len(self.groups)) // 2 - 1

    def covariance(self, rows: FloatArray, other_rows: FloatArray) -> FloatArray:
        """The noise-free covariance, (rows, other rows)."""
        r = _distances(rows, other_rows, self.inverse_lengths)
        return self.matern * (1 + r + r * r / 3) * np.exp(-r) + (rows * self.linear) @ other_rows.T

    def variances(self, rows: FloatArray) -> FloatArray:
        """The diagonal of `covariance(rows, rows)`."""
        return self.matern + (rows * rows) @ self.linear


def tune_hyperparameters(
    features: FloatArray, targets: FloatArray, groups: FeatureGroups, *, steps: int = 25
) -> Hyperparameters:
    """Find the most probable hyperparameters.

    Args:
        features: (trials, features).
        targets: Standardized, (trials,).
        groups: (features,).
        steps: Maximum number of steps of L-BFGS.
    """
    num_groups = int(groups.max()) + 1
    count_by_kind = {
        "inverse_length": num_groups,
        "length_offset": len(groups),
        "signal": num_groups + 1,
        "noise": 1,
    }
    mean, std = np.repeat(
        [_PRIORS[kind] for kind in count_by_kind], list(count_by_kind.values()), axis=0
    ).T
    bounds = [_BOUNDS[kind] for kind, count in count_by_kind.items() for _ in range(count)]

    def loss(logs: FloatArray) -> tuple[float, FloatArray]:
        value, gradient = _negative_log_likelihood(Hyperparameters(logs, groups), features, targets)
        z_scores = (logs - mean) / std
        return value + float(z_scores @ z_scores) / 2, gradient + z_scores / std

    result = minimize(
        loss, mean, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": steps}
    )
    return Hyperparameters(result.x, groups)


def _negative_log_likelihood(
    theta: Hyperparameters, features: FloatArray, targets: FloatArray
) -> tuple[float, FloatArray]:
    """The value without its constant, and the gradient with respect to the logarithms (Rasmussen
    and Williams, equations 5.8 and 5.9).
    """
    rows = len(features)
    r = _distances(features, features, theta.inverse_lengths)
    decay = np.exp(-r)
    matern = theta.matern * (1 + r + r * r / 3) * decay
    covariance = matern + (features * theta.linear) @ features.T + theta.noise * np.eye(rows)
    factor = cholesky(covariance, lower=True, check_finite=False)
    weights = cho_solve((factor, True), targets, check_finite=False)
    inverse = cho_solve((factor, True), np.eye(rows), check_finite=False)
    value = float(targets @ weights) / 2 + float(np.log(np.diag(factor)).sum())
    covariance_gradient = (inverse - np.outer(weights, weights)) / 2
    # d matern / d log(inverse length) of feature f is -5/3 (1 + r) exp(-r) times the squared scaled
    # difference in f.
    distance_gradient = covariance_gradient * (theta.matern * 5 / 3 * (1 + r) * decay)
    squared_differences = 2 * (
        distance_gradient.sum(1) @ (features * features)
        - ((distance_gradient @ features) * features).sum(0)
    )
    length_gradient = -(theta.inverse_lengths**2) * squared_differences
    linear_gradient = np.bincount(
        theta.groups, theta.linear * ((covariance_gradient @ features) * features).sum(0)
    )
    variance_gradient = [
        (covariance_gradient * matern).sum(),
        np.trace(covariance_gradient) * theta.noise,
    ]
    return value, np.concatenate(
        [
            np.bincount(theta.groups, length_gradient),
            length_gradient,
            linear_gradient,
            variance_gradient,
        ]
    )


class GaussianProcess:
    """The posterior distribution of the targets, given trials.

    Args:
        theta: Hyperparameters.
        features: (trials, features).
        targets: (trials,), in any unit.
    """

    def __init__(self, theta: Hyperparameters, features: FloatArray, targets: FloatArray) -> None:
        self.theta, self._features = theta, features
        self._mean, self._scale = mean_and_scale(targets)
        covariance = theta.covariance(features, features) + theta.noise * np.eye(len(features))
        self._factor = cholesky(covariance, lower=True, check_finite=False)
        self.weights = cho_solve(
            (self._factor, True), (targets - self._mean) / self._scale, check_finite=False
        )

    @property
    def noise(self) -> float:
        """Standard deviation of the noise of one trial, in the unit of the targets."""
        return math.sqrt(self.theta.noise) * self._scale

    def mean(self, features: FloatArray) -> FloatArray:
        """Posterior mean of each row, (networks, features) -> (networks,)."""
        return self._mean + self._scale * (
            self.theta.covariance(features, self._features) @ self.weights
        )

    def predict(self, features: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of the noise-free value of each row."""
        covariance = self.theta.covariance(features, self._features)
        v = solve_triangular(self._factor, covariance.T, lower=True, check_finite=False)
        variance = self.theta.variances(features) - (v * v).sum(0)
        return self._mean + self._scale * (covariance @ self.weights), self._scale * np.sqrt(
            np.maximum(variance, 1e-12)
        )

    def predict_joint(self, features: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean of each row and covariance of all of them."""
        covariance = self.theta.covariance(features, self._features)
        v = solve_triangular(self._factor, covariance.T, lower=True, check_finite=False)
        posterior_covariance = self.theta.covariance(features, features) - v.T @ v
        return self._mean + self._scale * (
            covariance @ self.weights
        ), self._scale**2 * posterior_covariance


def mean_and_scale(targets: FloatArray) -> tuple[float, float]:
    """Mean and standard deviation. The latter is 1 if all targets are equal up to rounding."""
    mean, std = float(targets.mean()), float(targets.std())
    return mean, std if std > 1e-9 * abs(mean) else 1.0
