"""Tuning of the hyperparameters of a Gaussian process.

A few trials can show how much kernel sizes matter, but not how much each of twenty kernel sizes
matters. So the features of a group share a linear variance and have similar length scales, unless
the trials show a difference. The hyperparameters are the most probable ones under priors (Rasmussen
and Williams, 2006, algorithm 5.1, with priors added). Without priors, the length scales fit the
noise of the first ten trials.
"""

import numpy as np
from scipy.linalg import cho_solve, cholesky
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize

from phinas.nas.surrogate.gaussian_process import (
    FeatureGroups,
    FloatArray,
    Hyperparameters,
    add_noise,
)

# Mean and standard deviation of the normal priors on the natural logarithms of the hyperparameters.
_PRIORS = {
    "inverse_length": (-2.0, 1.0),  # of a group
    "length_offset": (0.0, 1.0),  # of a feature's from its group's
    "signal": (-0.7, 1.0),  # variance of a linear part, and of the Matern part
    "noise": (-4.0, 1.5),
    "weight": (-2.3, 2.0),  # variance of the weight of a feature of a linear group
}
_BOUNDS = {
    "inverse_length": (-7.0, 2.0),
    "length_offset": (-4.0, 4.0),
    "signal": (-6.0, 4.0),
    "noise": (-10.0, 2.0),
    "weight": (-8.0, 4.0),
}
_NO_MATERN = -9.0  # inverse length with which a feature has almost no effect on the Matern part


def tune_hyperparameters(
    features: FloatArray,
    targets: FloatArray,
    groups: FeatureGroups,
    *,
    num_linear_groups: int = 0,
    error_variances: FloatArray | float = 0.0,
    steps: int = 25,
) -> Hyperparameters:
    """Find the most probable hyperparameters.

    Args:
        features: (trials, features).
        targets: Standardized, (trials,).
        groups: (features,).
        num_linear_groups: The features of so many groups, the last ones, are in the linear part
            only.
        error_variances: Known variances of the errors of the targets beside the noise, (trials,).
        steps: Maximum number of steps of L-BFGS.
    """
    mean, std, bounds = _make_priors(groups, num_linear_groups)

    def loss(logs: FloatArray) -> tuple[float, FloatArray]:
        value, gradient = _negative_log_likelihood(
            Hyperparameters(logs, groups), features, targets, error_variances
        )
        z_scores = (logs - mean) / std
        return value + float(z_scores @ z_scores) / 2, gradient + z_scores / std

    result = minimize(
        loss, mean, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": steps}
    )
    return Hyperparameters(result.x, groups)


def _make_priors(
    groups: FeatureGroups, num_linear_groups: int
) -> tuple[FloatArray, FloatArray, list[tuple[float, float]]]:
    """Mean and standard deviation of the prior on each logarithm, and its bounds."""
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
    for group in range(num_groups - num_linear_groups, num_groups):
        mean[group], bounds[group] = _NO_MATERN, (_NO_MATERN, _NO_MATERN)
        for feature in np.flatnonzero(groups == group):
            bounds[num_groups + feature] = (0.0, 0.0)
        # The groups divide the linear variance, which a weight does not take part in.
        log_variance = num_groups + len(groups) + group
        unit = np.log(num_groups)
        mean[log_variance], std[log_variance] = _PRIORS["weight"]
        mean[log_variance] += unit
        low, high = _BOUNDS["weight"]
        bounds[log_variance] = (low + unit, high + unit)
    return mean, std, bounds


def _negative_log_likelihood(
    theta: Hyperparameters,
    features: FloatArray,
    targets: FloatArray,
    error_variances: FloatArray | float,
) -> tuple[float, FloatArray]:
    """The value without its constant, and the gradient with respect to the logarithms (Rasmussen
    and Williams, equations 5.8 and 5.9).
    """
    linear = theta.linear
    r = _distances(features, features, theta.inverse_lengths)
    decay = np.exp(-r)
    decay *= theta.matern
    slope = (1 + r) * decay
    matern = r * r
    matern *= decay
    matern /= 3
    matern += slope
    covariance = add_noise(matern + (features * linear) @ features.T, theta.noise + error_variances)
    # The transpose is in the order of Fortran, so it is not copied.
    factor = cholesky(covariance.T, lower=True, overwrite_a=True, check_finite=False)
    weights = cho_solve((factor, True), targets, check_finite=False)
    value = float(targets @ weights) / 2 + float(np.log(np.diag(factor)).sum())
    covariance_gradient = _inverse(factor)
    covariance_gradient -= np.outer(weights, weights)
    covariance_gradient /= 2
    # d matern / d log(inverse length) of feature f is -5/3 (1 + r) exp(-r) times the squared scaled
    # difference in f.
    slope *= covariance_gradient
    distance_gradient = 5 / 3 * slope
    squared_differences = 2 * (
        distance_gradient.sum(1) @ (features * features)
        - ((distance_gradient @ features) * features).sum(0)
    )
    length_gradient = -(theta.inverse_lengths**2) * squared_differences
    linear_gradient = np.bincount(
        theta.groups, linear * ((covariance_gradient @ features) * features).sum(0)
    )
    variance_gradient = [
        float(np.vdot(covariance_gradient, matern)),
        float(np.trace(covariance_gradient)) * theta.noise,
    ]
    return value, np.concatenate(
        [
            np.bincount(theta.groups, length_gradient),
            length_gradient,
            linear_gradient,
            variance_gradient,
        ]
    )


def _distances(rows: FloatArray, other_rows: FloatArray, inverse_lengths: FloatArray) -> FloatArray:
    """Scaled distances times sqrt(5), of each row of `rows` to each of `other_rows`."""
    a, b = rows * inverse_lengths, other_rows * inverse_lengths
    squared = a @ (-10 * b.T)
    squared += 5 * (a * a).sum(1)[:, None]
    squared += 5 * (b * b).sum(1)
    return np.sqrt(np.maximum(squared, 0.0, out=squared), out=squared)


def _inverse(factor: FloatArray) -> FloatArray:
    """The inverse of a matrix, from its lower Cholesky factor, which is overwritten."""
    lower, _ = dpotri(factor, lower=1, overwrite_c=1)
    lower = np.tril(lower)
    inverse = lower + lower.T
    inverse[np.diag_indices_from(inverse)] /= 2
    return inverse
