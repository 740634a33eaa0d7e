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
are any, the prior covers strong and weak predictions.

Differences are shrunk as random effects, so no correction for multiple comparisons is needed. The
posterior depends on the results only and not on when it is computed, so early stopping needs no
correction either. Both are true only if the model is; benchmarks/racing.md has measurements.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr

Floats = npt.NDArray[np.float64]
_NUM_POINTS = 256
_SIGNAL_TO_NOISE = (0.1, 20.0)
# without noise, the rank correlation of final and short scores is 0.98 to 0.2
_DRIFT_TO_SIGNAL = (0.2, 5.0)
_LAMBDA = (0.6, 1.8)
_SURFACE_FRACTION = (0.0, 0.97)
_MIN_WEIGHT = 1e-4


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
class Posterior:
    """A mixture of multivariate Student's t distributions of the members' final scores.

    The common level of all scores is arbitrary; only differences are meaningful.

    Args:
        weights: (points,), weights of the mixture components, one for each hyperparameter point.
        means: (points, members).
        covariances: (points, members, members).
        degrees_of_freedom: degrees of freedom, equal for all components.
        noise_std: posterior mean of the standard deviation of one training.
    """

    weights: Floats
    means: Floats
    covariances: Floats
    degrees_of_freedom: int
    noise_std: float

    def mean(self) -> Floats:
        """Return the posterior means, (members,), shifted to a mean of 0 over members."""
        mean = self.weights @ self.means
        return mean - mean.mean()

    def probability_above(self, member: int) -> Floats:
        """Return for each member the probability that its score exceeds that of `member`.

        The shape is (members,). The probability of `member` itself is 0.5.
        """
        difference, scale = self._differences_from(member)
        return self.weights @ stdtr(self.degrees_of_freedom, difference / scale)

    def difference_interval(
        self, first: int, second: int, confidence: float
    ) -> tuple[float, float]:
        """Return the central interval of the score of `first` minus that of `second`."""
        difference, scale = self._differences_from(second)
        bound = np.abs(difference[:, first]).max() + 200 * scale[:, first].max()

        def quantile(level: float) -> float:
            low, high = -bound, bound
            for _ in range(40):
                midpoint = (low + high) / 2
                probability_above = self.weights @ stdtr(
                    self.degrees_of_freedom, (difference[:, first] - midpoint) / scale[:, first]
                )
                low, high = (midpoint, high) if probability_above > 1 - level else (low, midpoint)
            return float(low + high) / 2

        return quantile(0.5 - confidence / 2), quantile(0.5 + confidence / 2)

    def _differences_from(self, member: int) -> tuple[Floats, Floats]:
        """Return means and scales, (points, members), of all scores minus that of `member`."""
        variances = np.einsum("pmm->pm", self.covariances)
        variance = variances + variances[:, [member]] - 2 * self.covariances[:, member]
        return self.means - self.means[:, [member]], np.sqrt(np.maximum(variance, 1e-24))


def fit_posterior(
    seed_results: Sequence[SeedResults],
    num_members: int,
    *,
    short_scores: Sequence[float] | None = None,
    coordinates: Floats | None = None,
) -> Posterior:
    """Compute the posterior from all trainings.

    Args:
        seed_results: results of the full trainings, one item for each seed.
        num_members: number of members.
        short_scores: scores of all members after one short training each, all with the same seed;
            None if there are no short trainings.
        coordinates: (members, any), such as log alpha, log beta, log gamma; None for a model
            without a surface.

    Raises:
        ValueError: no two members have been trained with the same seed and number of epochs.
    """
    signal, drift, slope, surface_fraction = _hyperparameter_points()
    eigenvalues, eigenvectors = _surface_covariance(num_members, coordinates)
    # prior variance of each eigenvector's direction, divided by signal^2: (points, members)
    prior_variance = (1 - surface_fraction[:, None]) + surface_fraction[:, None] * eigenvalues
    information, information_mean, sum_of_squares, degrees_of_freedom = _sufficient_statistics(
        seed_results, num_members
    )
    # in the basis of the eigenvectors, the prior and the precision of the short trainings are
    # diagonal; the last eigenvector is the common level, which is free
    precision = (
        np.zeros((_NUM_POINTS, num_members, num_members))
        + eigenvectors.T @ information @ eigenvectors
    )
    rhs = np.zeros((_NUM_POINTS, num_members)) + eigenvectors.T @ information_mean
    diagonal = 1 / (signal[:, None] ** 2 * prior_variance)
    log_weights = -np.log(signal[:, None] ** 2 * prior_variance).sum(1) / 2
    if short_scores is not None:
        projection = eigenvectors.T @ (np.array(short_scores) - np.mean(short_scores))
        short_precision = 1 / (1 + (signal * drift)[:, None] ** 2 * prior_variance)
        short_precision[:, -1] = 0.0
        diagonal = diagonal + slope[:, None] ** 2 * short_precision
        rhs = rhs + slope[:, None] * short_precision * projection
        log_weights = log_weights + np.log(short_precision[:, :-1]).sum(1) / 2
        sum_of_squares = sum_of_squares + (short_precision * projection**2).sum(1)
        degrees_of_freedom += num_members - 1
    if not degrees_of_freedom:
        raise ValueError(
            "seed_results: no two members have been trained with the same seed and epochs; add "
            "trainings"
        )
    np.einsum("pmm->pm", precision)[...] += diagonal
    means = np.linalg.solve(precision, rhs[:, :, None])[:, :, 0]
    residual = np.maximum(sum_of_squares - (rhs * means).sum(1), 1e-12)
    log_weights = log_weights - np.linalg.slogdet(precision)[1] / 2
    log_weights = log_weights - degrees_of_freedom / 2 * np.log(residual)
    weights = np.exp(log_weights - log_weights.max())
    mask = weights > _MIN_WEIGHT
    weights, variance = weights[mask] / weights[mask].sum(), residual[mask] / degrees_of_freedom
    scaled_covariances = np.linalg.inv(precision[mask]) * variance[:, None, None]
    return Posterior(
        weights,
        means[mask] @ eigenvectors.T,
        eigenvectors @ scaled_covariances @ eigenvectors.T,
        degrees_of_freedom,
        float(weights @ np.sqrt(variance)),
    )


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
        log_uniform(_LAMBDA, slope),
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
