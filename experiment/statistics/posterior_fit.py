"""Joint posterior of the final scores of many networks, given full and short trainings.

The model is normal. Member m (a network) has a final score f_m, and a score lambda * f_m + g_m
after a short training, where the drift g is the change of ranks between both. The common effect of
a seed (at one number of epochs) on all its trainings is a free parameter, and each training adds
noise with standard deviation sigma. f and g are random effects. A fraction of their variance may
lie on a smooth surface, which is quadratic in the members' coordinates; the rest is lack of fit.

The hyperparameters are unknown. sigma is integrated out exactly (Student's t). The signal-to-noise
ratio (std of f over sigma), the drift-to-signal ratio (std of g over that of f), lambda and the
fraction of the surface are integrated over 256 points in the ranges below, weighted by their
likelihood. So members with both trainings determine how much short trainings predict; before there
are any, the prior covers strong, weak and opposed predictions.

Differences are shrunk as random effects, so no correction for multiple comparisons is needed. The
posterior depends on the results only and not on when it is computed, so early stopping needs no
correction either. Both are true only if the model is; benchmarks/racing.md has measurements. One
spread for all members is wrong where some are far below: the best ones may then be as good as
equal, and are shrunk too little. So the spread can be that of a group of members alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from phinas.experiment.statistics.posterior import Posterior

Floats = npt.NDArray[np.float64]
_NUM_POINTS = 256
_SIGNAL_TO_NOISE = (0.1, 20.0)
# without noise, the rank correlation of final and short scores is 0.98 to 0.2
_DRIFT_TO_SIGNAL = (0.2, 5.0)
# short trainings with unrelated or opposed ranks are possible, and less common
_LAMBDA, _USUAL_LAMBDA, _UNUSUAL_FRACTION = (-1.0, 0.6), (0.6, 1.8), 0.4
_SURFACE_FRACTION = (0.0, 0.97)
_MIN_WEIGHT = 1e-4
_VAGUE_PRECISION = 1e-6  # of members outside of the group, in units of the noise


@dataclass(frozen=True)
class SeedResults:
    """Results of the full trainings with one seed.

    Args:
        members: indices of the trained members.
        scores: their scores, in the same order.
    """

    members: tuple[int, ...]
    scores: tuple[float, ...]


def fit_posterior(
    seed_results: Sequence[SeedResults],
    num_members: int,
    *,
    short_scores: Sequence[float | None] | None = None,
    coordinates: Floats | None = None,
    group: Sequence[int] | None = None,
) -> Posterior:
    """Compute the posterior from all trainings.

    Args:
        seed_results: results of the full trainings, one item for each seed.
        num_members: number of members.
        short_scores: score of each member after one short training, all with the same seed; None
            for a member without one, or if there are no short trainings.
        coordinates: (members, any), such as log alpha, log beta, log gamma; None for a model
            without a surface.
        group: members that have one spread and one relation of short and final scores; None for
            all. Of other members, only the full trainings are used, without shrinkage.

    Raises:
        ValueError: no two members have been trained with the same seed and number of epochs.
    """
    signal, drift, slope, surface_fraction = _hyperparameter_points()
    members = list(range(num_members)) if group is None else sorted(group)
    others = [member for member in range(num_members) if member not in members]
    precision, information_mean, sum_of_squares, degrees_of_freedom = _sufficient_statistics(
        seed_results, num_members
    )
    precision = np.zeros((_NUM_POINTS, num_members, num_members)) + precision
    rhs = np.zeros((_NUM_POINTS, num_members)) + information_mean
    # final scores: the last eigenvector is the common level
    eigenvalues, eigenvectors = _surface_covariance(len(members), _rows(coordinates, members))
    variance = signal[:, None] ** 2 * _prior_variance(surface_fraction, eigenvalues)
    precision[:, np.array(members)[:, None], members] += (
        eigenvectors / variance[:, None, :]
    ) @ eigenvectors.T
    precision[:, others, others] += _VAGUE_PRECISION
    log_weights = -np.log(variance).sum(1) / 2
    # a member outside of the group is a free parameter
    degrees_of_freedom -= len(
        set(others) & {member for result in seed_results for member in result.members}
    )
    short_members = (
        []
        if short_scores is None
        else [member for member in members if short_scores[member] is not None]
    )
    if short_scores is not None and len(short_members) > 1:
        scores = np.array([short_scores[member] for member in short_members], dtype=np.float64)
        eigenvalues, eigenvectors = _surface_covariance(
            len(short_members), _rows(coordinates, short_members)
        )
        projection = eigenvectors.T @ (scores - scores.mean())
        short_precision = 1 / (
            1 + (signal * drift)[:, None] ** 2 * _prior_variance(surface_fraction, eigenvalues)
        )
        short_precision[:, -1] = 0.0  # the common level is free
        precision[:, np.array(short_members)[:, None], short_members] += (
            eigenvectors * (slope[:, None] ** 2 * short_precision)[:, None, :]
        ) @ eigenvectors.T
        rhs[:, short_members] += (slope[:, None] * short_precision * projection) @ eigenvectors.T
        log_weights = log_weights + np.log(short_precision[:, :-1]).sum(1) / 2
        sum_of_squares = sum_of_squares + (short_precision * projection**2).sum(1)
        degrees_of_freedom += len(short_members) - 1
    if degrees_of_freedom < 1:
        raise ValueError(
            "seed_results: no two members have been trained with the same seed and epochs; add "
            "trainings"
        )
    means = np.linalg.solve(precision, rhs[:, :, None])[:, :, 0]
    residual = np.maximum(sum_of_squares - (rhs * means).sum(1), 1e-12)
    log_weights = log_weights - np.linalg.slogdet(precision)[1] / 2
    log_weights = log_weights - degrees_of_freedom / 2 * np.log(residual)
    weights = np.exp(log_weights - log_weights.max())
    mask = weights > _MIN_WEIGHT
    weights, noise_variance = (
        weights[mask] / weights[mask].sum(),
        residual[mask] / degrees_of_freedom,
    )
    return Posterior(
        weights,
        means[mask],
        np.linalg.inv(precision[mask]) * noise_variance[:, None, None],
        degrees_of_freedom,
        float(weights @ np.sqrt(noise_variance)),
    )


def _rows(coordinates: Floats | None, members: Sequence[int]) -> Floats | None:
    return None if coordinates is None else coordinates[list(members)]


def _prior_variance(surface_fraction: Floats, eigenvalues: Floats) -> Floats:
    """Prior variance of each eigenvector's direction, (points, members), in units of the mean."""
    return np.asarray((1 - surface_fraction[:, None]) + surface_fraction[:, None] * eigenvalues)


def _sufficient_statistics(
    seed_results: Sequence[SeedResults], num_members: int
) -> tuple[Floats, Floats, float, int]:
    """Summarize all full trainings, with the effect of each seed removed.

    Returns:
        Information matrix (members, members), right-hand side (members,), sum of squares and
        degrees of freedom.
    """
    information, information_mean = np.zeros((num_members, num_members)), np.zeros(num_members)
    sum_of_squares, degrees_of_freedom = 0.0, 0
    for result in seed_results:
        members = np.array(result.members)
        centered = np.array(result.scores) - np.mean(result.scores)
        information[np.ix_(members, members)] += np.eye(len(members)) - 1 / len(members)
        information_mean[members] += centered
        sum_of_squares += float((centered**2).sum())
        degrees_of_freedom += len(members) - 1
    return information, information_mean, sum_of_squares, degrees_of_freedom


@cache
def _hyperparameter_points() -> tuple[Floats, Floats, Floats, Floats]:
    """Return 256 Halton points, evenly distributed in four ranges: signal-to-noise,
    drift-to-signal, lambda, surface fraction.
    """
    from scipy.stats.qmc import Halton

    sequence = Halton(d=4, scramble=False)
    sequence.fast_forward(1)  # the first point is the origin
    signal, drift, slope, surface_fraction = sequence.random(_NUM_POINTS).T

    def log_uniform(bounds: tuple[float, float], quantiles: Floats) -> Floats:
        return bounds[0] * (bounds[1] / bounds[0]) ** quantiles

    def uniform(bounds: tuple[float, float], quantiles: Floats) -> Floats:
        return bounds[0] + (bounds[1] - bounds[0]) * quantiles

    return (
        log_uniform(_SIGNAL_TO_NOISE, signal),
        log_uniform(_DRIFT_TO_SIGNAL, drift),
        np.where(
            slope < _UNUSUAL_FRACTION,
            uniform(_LAMBDA, slope / _UNUSUAL_FRACTION),
            uniform(_USUAL_LAMBDA, (slope - _UNUSUAL_FRACTION) / (1 - _UNUSUAL_FRACTION)),
        ),
        uniform(_SURFACE_FRACTION, surface_fraction),
    )


def _surface_covariance(num_members: int, coordinates: Floats | None) -> tuple[Floats, Floats]:
    """Return eigenvalues and eigenvectors of the covariance of a random quadratic surface.

    Its mean variance is 1. The last eigenvector is the constant.
    """
    covariance = np.zeros((num_members, num_members))
    constant = np.full((num_members, num_members), 1 / num_members)
    if coordinates is not None:
        centered = coordinates - coordinates.mean(0)
        centered = centered / max(float(centered.std()), 1e-12)
        count = centered.shape[1]
        products = [centered[:, i] * centered[:, j] for i in range(count) for j in range(i, count)]
        features = np.column_stack([centered, *products])
        features = features - features.mean(0)
        covariance = features @ features.T
        covariance = covariance / max(float(np.trace(covariance)) / num_members, 1e-12)
    # gives the constant the largest eigenvalue, so that it is the last one
    eigenvalues, eigenvectors = np.linalg.eigh(covariance + 2 * num_members * constant)
    eigenvalues[-1] = 0.0
    if coordinates is None:
        return np.ones(num_members), eigenvectors
    return np.maximum(eigenvalues, 0.0), eigenvectors
