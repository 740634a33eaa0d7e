"""A mixture of multivariate Student's t distributions: what is known of the final scores of many
networks (`phinas.experiment.statistics.posterior_fit`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import ndtri, stdtr

Floats = npt.NDArray[np.float64]
_NUM_SAMPLES = 2000
_NUM_BINS = 20  # of the score of a training, for its mutual information
_JITTER = 1e-12  # relative; keeps covariances of nearly equal scores positive definite
_QUANTILE_TOLERANCE = 1e-4  # of a quantile, in standard deviations of the distribution


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

    def probability_of_best(self, members: Sequence[int]) -> Floats:
        """Return for each of some members the probability that its score is the highest of theirs.

        The shape is (len(members),). It is computed from samples, which are always the same, with
        an error of about half a percentage point.
        """
        best = self._sample(members).argmax(1)
        return np.bincount(best, minlength=len(members)) / _NUM_SAMPLES

    def information_about_best(self, members: Sequence[int]) -> Floats:
        """Return for each of some members how much another full training of it tells about which of
        them has the highest score: the mutual information, in nats.

        The shape is (len(members),). It is computed from samples, which are always the same.
        """
        scores = self._sample(members)
        best = scores.argmax(1)
        scores = scores - scores.mean(1, keepdims=True)
        observed = scores + self.noise_std * _noise(len(members))
        standardized = (observed - observed.mean(0)) / observed.std(0)
        bins = np.searchsorted(_bin_edges(), standardized)
        information = np.empty(len(members))
        for column in range(len(members)):
            cells = np.bincount(
                best * _NUM_BINS + bins[:, column], minlength=len(members) * _NUM_BINS
            )
            joint = cells.reshape(len(members), _NUM_BINS) / _NUM_SAMPLES
            independent = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
            occurs = joint > 0
            information[column] = joint[occurs] @ np.log(joint[occurs] / independent[occurs])
        return information

    def scores(self, components: npt.NDArray[np.int64], normal: Floats, divisors: Floats) -> Floats:
        """Return samples of the members' scores, (samples, members).

        Args:
            components: (samples,), the component of the mixture of each sample.
            normal: (samples, members), standard normal numbers.
            divisors: (samples,), which make them Student's t.
        """
        jitter = np.einsum("pmm->p", self.covariances)[:, None, None] * _JITTER
        factors = np.linalg.cholesky(self.covariances + jitter * np.eye(self.means.shape[1]))
        deviations = np.einsum("smk,sk->sm", factors[components], normal / divisors[:, None])
        return np.asarray(self.means[components] + deviations)

    def _sample(self, members: Sequence[int]) -> Floats:
        """Return samples of some members' scores, (samples, members); they are always the same."""
        indices = np.array(members)
        quantiles = (np.arange(_NUM_SAMPLES) + 0.5) / _NUM_SAMPLES
        components = np.searchsorted(np.cumsum(self.weights), quantiles)
        components = np.minimum(components, len(self.weights) - 1)
        some = replace(
            self,
            means=self.means[:, indices],
            covariances=self.covariances[:, indices[:, None], indices],
        )
        return some.scores(components, *_samples(len(members), self.degrees_of_freedom))

    def difference_interval(
        self, first: int, second: int, confidence: float
    ) -> tuple[float, float]:
        """Return the central interval of the score of `first` minus that of `second`."""
        differences, scales = self._differences_from(second)
        difference, scale = differences[:, first], scales[:, first]
        center = float(self.weights @ difference)
        deviation = float(np.sqrt(self.weights @ (scale**2 + (difference - center) ** 2)))

        def quantile(level: float) -> float:
            def excess_probability(value: float) -> float:
                below = stdtr(self.degrees_of_freedom, (value - difference) / scale)
                return float(self.weights @ below) - level

            low = high = center
            step = 3 * deviation
            while excess_probability(low) > 0:
                low, step = low - step, 4 * step
            step = 3 * deviation
            while excess_probability(high) < 0:
                high, step = high + step, 4 * step
            if low == high:
                return center
            tolerance = _QUANTILE_TOLERANCE * deviation
            return float(brentq(excess_probability, low, high, xtol=tolerance))

        return quantile(0.5 - confidence / 2), quantile(0.5 + confidence / 2)

    def _differences_from(self, member: int) -> tuple[Floats, Floats]:
        """Return means and scales, (points, members), of all scores minus that of `member`."""
        variances = np.einsum("pmm->pm", self.covariances)
        variance = variances + variances[:, [member]] - 2 * self.covariances[:, member]
        return self.means - self.means[:, [member]], np.sqrt(np.maximum(variance, 1e-24))


@cache
def _bin_edges() -> Floats:
    """Return the inner edges of bins that are equally likely for a standard normal number."""
    return np.asarray(ndtri(np.arange(1, _NUM_BINS) / _NUM_BINS))


@lru_cache(maxsize=16)
def _noise(num_members: int) -> Floats:
    """Return standard normal numbers, (samples, members)."""
    return np.random.default_rng(1).standard_normal((_NUM_SAMPLES, num_members))


@lru_cache(maxsize=256)
def _samples(num_members: int, degrees_of_freedom: int) -> tuple[Floats, Floats]:
    """Return normal samples, (samples, members), and the divisors, (samples,), that make them
    Student's t.
    """
    generator = np.random.default_rng(0)
    normal = generator.standard_normal((_NUM_SAMPLES, num_members))
    chi_square = generator.chisquare(degrees_of_freedom, _NUM_SAMPLES)
    return normal, np.sqrt(chi_square / degrees_of_freedom)
