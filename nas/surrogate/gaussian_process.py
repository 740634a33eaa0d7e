"""A Gaussian process (Rasmussen and Williams, 2006) for scores of few, noisy trials.

The covariance is linear plus Matern 5/2 plus noise. The features of a group share a linear variance
and have similar length scales (`hyperparameter_tuning`). The features have mean 0 and variance 1.
This module standardizes the targets.

Covariances are computed in blocks of rows that stay in the cache of a core. Measured with 500
trials, that takes half the time of whole matrices.

One BLAS thread is enough (`single_threaded_blas`). The matrices have a few hundred rows, for which
several threads are slower. Measured on two cores, tuning took 1.2 s with one thread and 13 s with
two, which wait for each other whenever another process runs.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from threadpoolctl import ThreadpoolController

FloatArray = NDArray[np.float64]
_Float = TypeVar("_Float", bound=np.floating[Any])
FeatureGroups = NDArray[np.intp]  # the group of each feature, from 0

_BLOCK_ELEMENTS = 1 << 15  # of a covariance, 256 kB
_MIN_BLOCK_ROWS = 16
MIN_VARIANCE = 1e-12  # of standardized targets


@cache
def _blas_controller() -> ThreadpoolController:
    # NumPy and SciPy have a BLAS each. The controller finds only those that are loaded.
    return ThreadpoolController()


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Limit BLAS to one thread in a `with` block or a decorated function, and restore it after."""
    with _blas_controller().limit(limits=1, user_api="blas"):
        yield


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
        covariance = (rows * self.linear) @ other_rows.T
        matern = MaternCovariance(self, other_rows)
        for block in row_blocks(len(rows), len(other_rows)):
            covariance[block] += matern(rows[block])
        return covariance

    def variances(self, rows: FloatArray) -> FloatArray:
        """The diagonal of `covariance(rows, rows)`."""
        return self.matern + (rows * rows) @ self.linear


class MaternCovariance:
    """The Matern part of the covariance of any rows with fixed ones.

    Args:
        theta: Hyperparameters.
        fixed_rows: (fixed rows, features).
        dtype: Precision of the computation.
    """

    def __init__(
        self,
        theta: Hyperparameters,
        fixed_rows: FloatArray,
        *,
        dtype: type[np.floating[Any]] = np.float64,
    ) -> None:
        scale = math.sqrt(5) * theta.inverse_lengths
        self._scale: NDArray[Any] = scale.astype(dtype)
        self._log_variance: Any = dtype(theta.logs[-2])
        scaled = fixed_rows * scale
        # The squared distance |a|^2 - 2ab + |b|^2 as one product, of (a, 1, |a|^2) and this matrix.
        self._fixed: NDArray[Any] = np.concatenate(
            [-2 * scaled, (scaled * scaled).sum(1)[:, None], np.ones((len(scaled), 1))], axis=1
        ).T.astype(dtype)

    def __call__(self, rows: NDArray[_Float]) -> NDArray[_Float]:
        """The covariance, (rows, fixed rows), of rows of the same precision."""
        scaled = rows * self._scale
        squared_norms = (scaled * scaled).sum(1)[:, None]
        r = np.concatenate([scaled, np.ones_like(squared_norms), squared_norms], axis=1)
        r = r @ self._fixed
        np.sqrt(np.maximum(r, 0.0, out=r), out=r)
        covariance = r / 3
        covariance += 1
        covariance *= r
        covariance += 1
        covariance *= np.exp(np.subtract(self._log_variance, r, out=r), out=r)
        return covariance


def row_blocks(num_rows: int, num_columns: int) -> Iterator[slice]:
    """Slices of rows, such that a block stays in the cache."""
    size = max(_MIN_BLOCK_ROWS, _BLOCK_ELEMENTS // max(1, num_columns))
    for start in range(0, num_rows, size):
        yield slice(start, start + size)


class GaussianProcess:
    """The posterior distribution of the targets, given trials.

    Args:
        theta: Hyperparameters.
        features: (trials, features).
        targets: (trials,), in any unit.
        error_variances: Variance of the error of each target beside the noise, in the squared unit
            of the targets, (trials,). None: there is no other error.

    Attributes:
        weights: The weight of each trial in the posterior mean of standardized targets, (trials,).
        linear_weights: The weight of each feature in the linear part of that mean, (features,).
        noise_variances: Variance of the noise and error of each standardized target, (trials,).
    """

    def __init__(
        self,
        theta: Hyperparameters,
        features: FloatArray,
        targets: FloatArray,
        error_variances: FloatArray | None = None,
    ) -> None:
        self.theta, self.features, self.targets = theta, features, targets
        self._mean, self._scale = mean_and_scale(targets)
        errors = np.zeros(len(targets)) if error_variances is None else error_variances
        self.noise_variances: FloatArray = theta.noise + errors / self._scale**2
        self._matern = MaternCovariance(theta, features)
        self._linear = (features * theta.linear).T
        covariance = add_noise(theta.covariance(features, features), self.noise_variances)
        # The transpose is in the order of Fortran, so it is not copied.
        self._factor = cholesky(covariance.T, lower=True, overwrite_a=True, check_finite=False)
        self.weights = cho_solve(
            (self._factor, True), (targets - self._mean) / self._scale, check_finite=False
        )
        self.linear_weights: FloatArray = self._linear @ self.weights

    @property
    def trial_means(self) -> FloatArray:
        """Posterior mean of each trial, (trials,): `mean` of its features, without computing a
        covariance.
        """
        residuals = self.noise_variances * self.weights
        return self.targets - self._scale * residuals

    @property
    def noise(self) -> float:
        """Standard deviation of the noise of one trial, in the unit of the targets."""
        return math.sqrt(self.theta.noise) * self._scale

    def mean(self, features: FloatArray) -> FloatArray:
        """Posterior mean of each row, (networks, features) -> (networks,)."""
        mean = features @ self.linear_weights
        for block in row_blocks(len(features), len(self.features)):
            mean[block] += self._matern(features[block]) @ self.weights
        return self._mean + self._scale * mean

    def predict(self, features: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of the noise-free value of each row."""
        mean, variance = np.empty(len(features)), self.theta.variances(features)
        for block in row_blocks(len(features), len(self.features)):
            covariance = self._matern(features[block])
            covariance += features[block] @ self._linear
            mean[block] = covariance @ self.weights
            v = _solve(self._factor, covariance.T)
            variance[block] -= (v * v).sum(0)
        return self.in_unit_of_targets(mean, np.maximum(variance, MIN_VARIANCE))

    def in_unit_of_targets(
        self, mean: FloatArray, variance: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation in the unit of the targets, from means and variances of
        standardized ones.
        """
        return self._mean + self._scale * mean, self._scale * np.sqrt(variance)

    def predict_joint(self, features: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean of each row and covariance of all of them."""
        covariance = self.theta.covariance(features, self.features)
        v = _solve(self._factor, covariance.T)
        posterior_covariance = self.theta.covariance(features, features) - v.T @ v
        return self._mean + self._scale * (
            covariance @ self.weights
        ), self._scale**2 * posterior_covariance


def add_noise(covariance: FloatArray, variances: float | FloatArray) -> FloatArray:
    """Add the variances of the noise to the covariance of trials, in place."""
    covariance[np.diag_indices_from(covariance)] += variances
    return covariance


def _solve(factor: FloatArray, right_hand_side: FloatArray) -> FloatArray:
    """Solve with a lower triangular factor."""
    return solve_triangular(factor, right_hand_side, lower=True, check_finite=False)


def mean_and_scale(targets: FloatArray) -> tuple[float, float]:
    """Mean and standard deviation. The latter is 1 if all targets are equal up to rounding."""
    mean, std = float(targets.mean()), float(targets.std())
    return mean, std if std > 1e-9 * abs(mean) else 1.0
