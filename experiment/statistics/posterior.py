"""The joint posterior of the final accuracies of many networks, given their trainings, some of them
short.

The model, all normal: member m has a final accuracy f_m, and after few epochs lambda * f_m + g_m,
where g is the drift: ranks that still change. What a seed (at one number of epochs) brings to all
its trainings is unknown and free; each training adds noise sigma. f and g are random effects; a
fraction of their variance may lie on a smooth surface, quadratic in the members' coordinates, the
rest is lack of fit. How large all that is is unknown: sigma is integrated out exactly (Student's
t), and the signal-to-noise ratio (std of f over sigma), the drift-to-signal ratio (std of g over
that of f), lambda and the surface's fraction over 256 points of the ranges below, each weighted by
its likelihood. So what the short trainings are worth is learned from members trained in both ways,
and before there are any it may be anything from much to nothing.

Shrinking differences as random effects replaces a correction for multiple comparisons, and the
posterior depends on the results alone, not on when it is computed: stopping early needs no
correction either. Both hold as far as the model does; benchmarks/racing.md says how far that is.
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
# rank correlations of final and short accuracies, but for noise, from 0.98 to 0.2
_DRIFT_TO_SIGNAL = (0.2, 5.0)
_LAMBDA = (0.6, 1.8)
_SURFACE_FRACTION = (0.0, 0.97)
_MIN_WEIGHT = 1e-4


@dataclass(frozen=True)
class SeedResults:
    """Full trainings with one seed: of which members (positions), and their accuracies."""

    members: tuple[int, ...]
    accuracies: tuple[float, ...]


@dataclass(frozen=True)
class Posterior:
    """A mixture of multivariate Student's t distributions of the final accuracies, of which only
    differences count.

    Args:
        weights: (points,), of the hyperparameter points.
        means: (points, members).
        covariances: (points, members, members).
        degrees_of_freedom: of all components.
        noise_std: standard deviation of one training.
    """

    weights: Floats
    means: Floats
    covariances: Floats
    degrees_of_freedom: int
    noise_std: float

    def mean(self) -> Floats:
        """(members,), around a mean of 0."""
        mean = self.weights @ self.means
        return mean - mean.mean()

    def probability_above(self, member: int) -> Floats:
        """(members,): the probability of each that its accuracy is above that of `member`; 0.5 for
        itself.
        """
        difference, scale = self._differences_from(member)
        return self.weights @ stdtr(self.degrees_of_freedom, difference / scale)

    def difference_interval(
        self, first: int, second: int, confidence: float
    ) -> tuple[float, float]:
        """The central interval of the accuracy of `first` less that of `second`, by bisection."""
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
        """Means and scales (points, members) of each one's accuracy less that of `member`."""
        variances = np.einsum("pmm->pm", self.covariances)
        variance = variances + variances[:, [member]] - 2 * self.covariances[:, member]
        return self.means - self.means[:, [member]], np.sqrt(np.maximum(variance, 1e-24))


def fit_posterior(
    seed_results: Sequence[SeedResults],
    num_members: int,
    *,
    short_accuracies: Sequence[float] | None = None,
    coordinates: Floats | None = None,
) -> Posterior:
    """The posterior given all trainings.

    Args:
        seed_results: the full trainings, one item a seed.
        num_members: how many members there are.
        short_accuracies: of each member in one short training, all with one seed.
        coordinates: (members, any), such as log alpha, log beta, log gamma; None: no surface.

    Raises:
        ValueError: no two members have been trained alike, so nothing can be compared.
    """
    signal, drift, slope, surface_fraction = _hyperparameter_points()
    eigenvalues, eigenvectors = _surface_covariance(num_members, coordinates)
    # The prior variance of each direction over signal^2: (points, members).
    prior_variance = (1 - surface_fraction[:, None]) + surface_fraction[:, None] * eigenvalues
    information, information_mean, sum_of_squares, degrees_of_freedom = _sufficient_statistics(
        seed_results, num_members
    )
    # In the basis of the directions the prior and the short trainings are diagonal. The last is the
    # level of all: free.
    precision = (
        np.zeros((_NUM_POINTS, num_members, num_members))
        + eigenvectors.T @ information @ eigenvectors
    )
    rhs = np.zeros((_NUM_POINTS, num_members)) + eigenvectors.T @ information_mean
    diagonal = 1 / (signal[:, None] ** 2 * prior_variance)
    log_weights = -np.log(signal[:, None] ** 2 * prior_variance).sum(1) / 2
    if short_accuracies is not None:
        projection = eigenvectors.T @ (np.array(short_accuracies) - np.mean(short_accuracies))
        short_precision = 1 / (1 + (signal * drift)[:, None] ** 2 * prior_variance)
        short_precision[:, -1] = 0.0
        diagonal = diagonal + slope[:, None] ** 2 * short_precision
        rhs = rhs + slope[:, None] * short_precision * projection
        log_weights = log_weights + np.log(short_precision[:, :-1]).sum(1) / 2
        sum_of_squares = sum_of_squares + (short_precision * projection**2).sum(1)
        degrees_of_freedom += num_members - 1
    if not degrees_of_freedom:
        raise ValueError(
            "seed_results: no two members have been trained with the same seed and epochs"
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
    """Of all full trainings once the effect of each seed is removed: information (members,
    members), right-hand side (members,), sum of squares, degrees of freedom."""
    information, information_mean = np.zeros((num_members, num_members)), np.zeros(num_members)
    sum_of_squares, degrees_of_freedom = 0.0, 0
    for result in seed_results:
        members = np.array(result.members)
        centered = np.array(result.accuracies) - np.mean(result.accuracies)
        information[np.ix_(members, members)] += np.eye(len(members)) - 1 / len(members)
        information_mean[members] += centered
        sum_of_squares += float((centered**2).sum())
        degrees_of_freedom += len(members) - 1
    return information, information_mean, sum_of_squares, degrees_of_freedom


@cache
def _hyperparameter_points() -> tuple[Floats, Floats, Floats, Floats]:
    """256 Halton points that fill the four ranges evenly: signal-to-noise, drift-to-signal, lambda,
    surface fraction.
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
    """Eigenvalues and eigenvectors of the covariance that a quadratic with random coefficients
    gives, of mean variance 1; the last is the constant."""
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
    # No other direction has as large an eigenvalue as the constant.
    eigenvalues, eigenvectors = np.linalg.eigh(covariance + 2 * num_members * constant)
    eigenvalues[-1] = 0.0
    if coordinates is None:
        return np.ones(num_members), eigenvectors
    return np.maximum(eigenvalues, 0.0), eigenvectors
