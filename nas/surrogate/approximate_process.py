"""A fast approximation of a Gaussian process, to find the few networks among many that are worth an
exact prediction.

It computes in single precision. Its standard deviation takes only some of the trials into account,
so it is an upper bound, apart from rounding. These are the trials with the largest targets, since
most networks that a search considers are similar to them.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular

from phinas.nas.surrogate.gaussian_process import (
    MIN_VARIANCE,
    FloatArray,
    GaussianProcess,
    MaternCovariance,
    add_noise,
    row_blocks,
)

_STD_FRACTION = 0.25  # of the trials, for the standard deviation


class ApproximateProcess:
    """The approximation of a posterior distribution.

    Args:
        process: The exact distribution.
    """

    def __init__(self, process: GaussianProcess) -> None:
        self._process, theta = process, process.theta
        order = np.argsort(-process.targets, kind="stable")
        features = process.features[order]
        self._num_trials = len(features)
        self._weights = _single(process.weights[order])
        self._matern = MaternCovariance(theta, features, dtype=np.float32)
        std_features = features[: math.ceil(_STD_FRACTION * len(features))]
        self._linear = _single((std_features * theta.linear).T)
        covariance = add_noise(
            theta.covariance(std_features, std_features),
            process.noise_variances[order][: len(std_features)],
        )
        self._factor = _single(cholesky(covariance, lower=True, check_finite=False))

    def predict(self, features: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Approximate mean and standard deviation of each row, (networks, features) -> twice
        (networks,).
        """
        mean = features @ self._process.linear_weights
        variance = self._process.theta.variances(features)
        rows = _single(features)
        for block in row_blocks(len(rows), self._num_trials):
            covariance = self._matern(rows[block])
            mean[block] += covariance @ self._weights
            std_covariance = covariance[:, : len(self._factor)] + rows[block] @ self._linear
            v = solve_triangular(
                self._factor, std_covariance.T, lower=True, overwrite_b=True, check_finite=False
            )
            variance[block] -= (v * v).sum(0)
        # Single precision may give a variance of 0 next to a trial.
        return self._process.in_unit_of_targets(mean, np.maximum(variance, MIN_VARIANCE))


def _single(values: FloatArray) -> NDArray[np.float32]:
    return values.astype(np.float32)
