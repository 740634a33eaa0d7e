"""Joint posterior of the final scores of many networks, given full and short trainings.

The model is normal. Member m (a network) has a final score f_m, and a score lambda * f_m + g_m
after a short training, where the drift g is the change of ranks between both. The common effect of
a seed (at one number of epochs) on all its trainings is a free parameter, and each training adds
noise with standard deviation sigma. The noise of a short training and that of the full training
with the same seed, which continues it, are correlated with rho. f and g are random effects. A
fraction of their variance may lie on a smooth surface, which is quadratic in the members'
coordinates; the rest is lack of fit.

The hyperparameters are unknown. sigma is integrated out exactly (Student's t). The signal-to-noise
ratio (std of f over sigma), the drift-to-signal ratio (std of g over that of f), lambda, the
fraction of the surface and rho are integrated over points in the ranges below, weighted by their
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
# Without noise, the correlation of final and short scores is 0.98 to 0.05: networks of equal final
# scores may learn at very different speeds.
_DRIFT_TO_SIGNAL = (0.2, 20.0)
# short trainings with unrelated or opposed ranks are possible, and less common
_LAMBDA, _USUAL_LAMBDA, _UNUSUAL_FRACTION = (-1.0, 0.6), (0.6, 1.8), 0.4
_SURFACE_FRACTION = (0.0, 0.97)
_SHARED_NOISE = (0.0, 0.97)
_MIN_WEIGHT = 1e-4
_VAGUE_PRECISION = 1e-6  # of members outside of the group, in units of the noise
# Parameters after the members: the level of short scores, and the effect on full scores of the seed
# of the short trainings.
_NUM_EFFECTS = 2
_LEVEL, _SEED_EFFECT = -2, -1


@dataclass(frozen=True)
class SeedResults:
    """Results of the full trainings with one seed.

    Args:
        members: indices of the trained members.
        scores: their scores, in the same order.
    """

    members: tuple[int, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class _Points:
    """The points of the hyperparameters, (points,) each.

    Attributes:
        signal: signal-to-noise ratio.
        drift: drift-to-signal ratio.
        slope: lambda.
        surface: fraction of the variance on the surface.
        shared: rho.
    """

    signal: Floats
    drift: Floats
    slope: Floats
    surface: Floats
    shared: Floats


def fit_posterior(
    seed_results: Sequence[SeedResults],
    num_members: int,
    *,
    short_scores: Sequence[float | None] | None = None,
    short_seed: int | None = None,
    coordinates: Floats | None = None,
    group: Sequence[int] | None = None,
    min_noise_std: float = 0.0,
) -> Posterior:
    """Compute the posterior from all trainings.

    Args:
        seed_results: results of the full trainings, one item for each seed.
        num_members: number of members.
        short_scores: score of each member after one short training, all with the same seed; None
            for a member without one, or if there are no short trainings.
        short_seed: position in `seed_results` of the full trainings with the seed of the short
            ones; None if there are none.
        coordinates: (members, any), such as log alpha, log beta, log gamma; None for a model
            without a surface.
        group: members that have one spread and one relation of short and final scores; None for
            all. Of other members, only the full trainings are used, without shrinkage.
        min_noise_std: noise that each training has at least, besides what the scores show. Scores
            on few images may be equal by chance, as those of networks that predict one class.

    Raises:
        ValueError: no two members have been trained with the same seed and number of epochs.
    """
    points = _hyperparameter_points()
    members = list(range(num_members)) if group is None else sorted(group)
    others = [member for member in range(num_members) if member not in members]
    short_members = [
        member
        for member in members
        if short_scores is not None and short_scores[member] is not None
    ]
    if short_scores is None or len(short_members) < 2:
        short_scores, short_seed = None, None
    full = _full_trainings(seed_results, num_members, free_seed=short_seed)
    # final scores: the last eigenvector is the common level
    eigenvalues, eigenvectors = _surface_covariance(len(members), _rows(coordinates, members))
    variance = points.signal[:, None] ** 2 * _prior_variance(points.surface, eigenvalues)
    precision = np.zeros((_NUM_POINTS, *full.precision.shape)) + full.precision
    precision[:, np.array(members)[:, None], members] += (
        eigenvectors / variance[:, None, :]
    ) @ eigenvectors.T
    precision[:, others, others] += _VAGUE_PRECISION
    rhs = np.zeros((_NUM_POINTS, num_members + _NUM_EFFECTS)) + full.rhs
    sum_of_squares = full.sum_of_squares
    log_weights: Floats = -np.log(variance).sum(1) / 2
    # a member outside of the group is a free parameter
    degrees_of_freedom = full.degrees_of_freedom - len(
        set(others) & {member for result in seed_results for member in result.members}
    )
    num_parameters = num_members
    if short_scores is not None:
        scores = np.array([short_scores[member] for member in short_members], dtype=np.float64)
        same_seed = None if short_seed is None else seed_results[short_seed]
        short = _short_trainings(points, scores, short_members, num_members, same_seed, coordinates)
        precision, rhs = precision + short.precision, rhs + short.rhs
        sum_of_squares = sum_of_squares + short.sum_of_squares
        log_weights = log_weights + short.log_weights
        degrees_of_freedom += len(short_members) - 1
        num_parameters += _NUM_EFFECTS if short_seed is not None else 1
    if degrees_of_freedom < 1:
        raise ValueError(
            "seed_results: no two members have been trained with the same seed and epochs; add "
            "trainings"
        )
    precision, rhs = precision[:, :num_parameters, :num_parameters], rhs[:, :num_parameters]
    means = np.asarray(np.linalg.solve(precision, rhs[:, :, None])[:, :, 0], dtype=np.float64)
    residual = np.maximum(sum_of_squares - (rhs * means).sum(1), 1e-12)
    residual = residual + degrees_of_freedom * min_noise_std**2
    log_weights = log_weights - np.linalg.slogdet(precision)[1] / 2
    log_weights = log_weights - degrees_of_freedom / 2 * np.log(residual)
    weights = np.exp(log_weights - log_weights.max())
    mask = weights > _MIN_WEIGHT
    weights, noise_variance = (
        weights[mask] / weights[mask].sum(),
        residual[mask] / degrees_of_freedom,
    )
    covariances = np.linalg.inv(precision[mask])[:, :num_members, :num_members]
    return Posterior(
        weights,
        means[mask, :num_members],
        covariances * noise_variance[:, None, None],
        degrees_of_freedom,
        float(weights @ np.sqrt(noise_variance)),
    )


@dataclass(frozen=True)
class _Information:
    """What trainings tell of the parameters: the members' final scores, then the effects.

    Attributes:
        precision: (points, parameters, parameters) or (parameters, parameters).
        rhs: (points, parameters) or (parameters,).
        sum_of_squares: (points,) or a number.
        degrees_of_freedom: of full trainings.
        log_weights: of the points; a number where they are equal.
    """

    precision: Floats
    rhs: Floats
    sum_of_squares: Floats | float
    degrees_of_freedom: int = 0
    log_weights: Floats | float = 0.0


def _full_trainings(
    seed_results: Sequence[SeedResults], num_members: int, *, free_seed: int | None
) -> _Information:
    """What all full trainings tell. The effect of each seed is removed; that of `free_seed` is a
    parameter.
    """
    size = num_members + _NUM_EFFECTS
    precision, rhs = np.zeros((size, size)), np.zeros(size)
    sum_of_squares, degrees_of_freedom = 0.0, 0
    for position, result in enumerate(seed_results):
        members = np.array(result.members)
        centered = np.array(result.scores) - np.mean(result.scores)
        precision[members, members] += 1.0
        if position == free_seed:
            precision[members, _SEED_EFFECT] += 1.0
            precision[_SEED_EFFECT, members] += 1.0
            precision[_SEED_EFFECT, _SEED_EFFECT] += len(members)
        else:
            precision[np.ix_(members, members)] -= 1 / len(members)
        rhs[members] += centered
        sum_of_squares += float((centered**2).sum())
        degrees_of_freedom += len(members) - 1
    return _Information(precision, rhs, sum_of_squares, degrees_of_freedom)


def _short_trainings(
    points: _Points,
    scores: Floats,
    members: Sequence[int],
    num_members: int,
    same_seed: SeedResults | None,
    coordinates: Floats | None,
) -> _Information:
    """What the short trainings tell besides the full ones.

    A full training with the same seed tells a part of the noise of the short one, which is
    subtracted.

    Args:
        scores: of the short trainings of `members`.
        same_seed: the full trainings with the seed of the short ones.
    """
    is_continued, full_scores = np.zeros(num_members), np.zeros(num_members)
    if same_seed is not None:
        is_continued[list(same_seed.members)] = 1.0
        full_scores[list(same_seed.members)] = np.array(same_seed.scores) - np.mean(
            same_seed.scores
        )
    shared = points.shared[:, None] * is_continued[members]
    remainder = scores - scores.mean() - shared * full_scores[members]
    eigenvalues, eigenvectors = _surface_covariance(len(members), _rows(coordinates, members))
    drift_variance = (points.signal * points.drift)[:, None] ** 2 * _prior_variance(
        points.surface, eigenvalues
    )
    diagonal = np.arange(len(members))
    covariance = (eigenvectors * drift_variance[:, None, :]) @ eigenvectors.T
    covariance[:, diagonal, diagonal] += 1 - shared**2
    precision = np.linalg.inv(covariance)
    design = np.zeros((_NUM_POINTS, len(members), num_members + _NUM_EFFECTS))
    design[:, diagonal, members] = points.slope[:, None] - shared
    design[:, :, _SEED_EFFECT] = -shared
    design[:, :, _LEVEL] = 1.0
    weighted = design.transpose(0, 2, 1) @ precision
    return _Information(
        weighted @ design,
        (weighted @ remainder[:, :, None])[:, :, 0],
        np.einsum("pm,pmn,pn->p", remainder, precision, remainder),
        log_weights=-np.linalg.slogdet(covariance)[1] / 2,
    )


def _rows(coordinates: Floats | None, members: Sequence[int]) -> Floats | None:
    return None if coordinates is None else coordinates[list(members)]


def _prior_variance(surface_fraction: Floats, eigenvalues: Floats) -> Floats:
    """Prior variance of each eigenvector's direction, (points, members), in units of the mean."""
    return np.asarray((1 - surface_fraction[:, None]) + surface_fraction[:, None] * eigenvalues)


@cache
def _hyperparameter_points() -> _Points:
    """Return Halton points, evenly distributed in the ranges."""
    from scipy.stats.qmc import Halton

    sequence = Halton(d=5, scramble=False)
    sequence.fast_forward(1)  # the first point is the origin
    signal, drift, slope, surface, shared = sequence.random(_NUM_POINTS).T

    def log_uniform(bounds: tuple[float, float], quantiles: Floats) -> Floats:
        return bounds[0] * (bounds[1] / bounds[0]) ** quantiles

    def uniform(bounds: tuple[float, float], quantiles: Floats) -> Floats:
        return bounds[0] + (bounds[1] - bounds[0]) * quantiles

    return _Points(
        log_uniform(_SIGNAL_TO_NOISE, signal),
        log_uniform(_DRIFT_TO_SIGNAL, drift),
        np.where(
            slope < _UNUSUAL_FRACTION,
            uniform(_LAMBDA, slope / _UNUSUAL_FRACTION),
            uniform(_USUAL_LAMBDA, (slope - _UNUSUAL_FRACTION) / (1 - _UNUSUAL_FRACTION)),
        ),
        uniform(_SURFACE_FRACTION, surface),
        uniform(_SHARED_NOISE, shared),
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
