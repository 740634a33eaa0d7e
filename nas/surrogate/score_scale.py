"""The scale on which a Gaussian process models the score, and the expected improvement on it.

The reward is linear in the score. On either scale its expected improvement has a closed form.
"""

from typing import Protocol

import numpy as np
from scipy.special import erfcx, log_ndtr, ndtr

from phinas.nas.surrogate.gaussian_process import FloatArray

_MIN_ERROR = 1e-4  # 1 - score. A score of 1 has no finite logarithm of its error.
_ROUNDING_ERROR = 1e-9
_FAR = 50.0  # erfcx(x) - erfcx(x + d) loses precision beyond


class ScoreScale(Protocol):
    """A scale of the score."""

    def __hash__(self) -> int: ...

    def transform(self, scores: FloatArray) -> FloatArray:
        """Scores on this scale."""

    def invert(self, targets: FloatArray) -> FloatArray:
        """The scores of values on this scale."""

    def log_expected_improvement(
        self,
        mean: FloatArray,
        std: FloatArray,
        best: float | FloatArray,
        *,
        slope: float | FloatArray = 1.0,
        intercept: float | FloatArray = 0.0,
    ) -> FloatArray:
        """Logarithm of the expected improvement of the reward, slope * score + intercept.

        Args:
            mean: Posterior means on this scale.
            std: Posterior standard deviations on this scale, above 0.
            best: The best reward so far.
            slope: Above 0.
            intercept: In the unit of the reward.
        """


class LinearScale:
    """The score itself, which may be any number."""

    def transform(self, scores: FloatArray) -> FloatArray:
        return scores

    def invert(self, targets: FloatArray) -> FloatArray:
        return targets

    def log_expected_improvement(
        self,
        mean: FloatArray,
        std: FloatArray,
        best: float | FloatArray,
        *,
        slope: float | FloatArray = 1.0,
        intercept: float | FloatArray = 0.0,
    ) -> FloatArray:
        return log_expected_improvement(slope * mean + intercept, slope * std, best)


class LogErrorScale:
    """-log(1 - score), for scores from 0 to 1.

    The same change of a network changes a high accuracy by less than a low one, but often removes
    about the same fraction of the errors.
    """

    def transform(self, scores: FloatArray) -> FloatArray:
        errors = 1 - scores
        # Of 100 test images, 0 errors are not a thousand times better than 1.
        positive_errors = errors[errors > _ROUNDING_ERROR]
        min_error = max(_MIN_ERROR, positive_errors.min() / 2) if len(positive_errors) else 1.0
        return -np.log(np.maximum(errors, min_error))

    def invert(self, targets: FloatArray) -> FloatArray:
        return -np.expm1(-targets)

    def log_expected_improvement(
        self,
        mean: FloatArray,
        std: FloatArray,
        best: float | FloatArray,
        *,
        slope: float | FloatArray = 1.0,
        intercept: float | FloatArray = 0.0,
    ) -> FloatArray:
        """The error is lognormal, so this is the price of a European put (Black and Scholes, 1973),
        gain * ndtr(z) - slope * exp(-mean + std^2 / 2) * ndtr(z - std), in a form that does not
        underflow. Minus infinity where a score of 1 would be no improvement.
        """
        gain = slope + intercept - best  # of a score of 1
        is_possible = gain > 0
        log_gain = np.log(np.where(is_possible, gain, 1.0))
        z = (log_gain - np.log(slope) + mean) / std
        log_fraction = np.where(z > 1.0, _log_put_above(z, std), _log_put_below(z, std))
        return np.where(is_possible, log_gain + log_fraction, -np.inf)


LINEAR_SCALE = LinearScale()
LOG_ERROR_SCALE = LogErrorScale()


def choose_scale(scores: FloatArray) -> ScoreScale:
    """LOG_ERROR_SCALE if all scores are from 0 to 1, as accuracies are, otherwise LINEAR_SCALE."""
    is_accuracy = bool(np.all((scores >= 0) & (scores <= 1)))
    return LOG_ERROR_SCALE if is_accuracy else LINEAR_SCALE


def log_expected_improvement(
    mean: FloatArray, std: FloatArray, best: float | FloatArray
) -> FloatArray:
    """Logarithm of the expected improvement, log E[max(0, X - best)] for normal X (Jones et al.,
    1998).

    The form does not underflow far below `best` (Ament et al., arXiv:2310.20708, equation 9).

    Args:
        mean: Means of X.
        std: Standard deviations of X, above 0.
        best: The best value so far.
    """
    z = (mean - best) / std
    clipped_z = np.maximum(z, -1.0)
    log_direct = np.log(
        np.exp(-(clipped_z**2) / 2) / np.sqrt(2 * np.pi) + clipped_z * ndtr(clipped_z)
    )
    # Below -1000 the last term loses precision, and it changes little.
    far_z = np.clip(z, -1e3, -1.0)
    log_tail = (
        -(z**2) / 2
        - np.log(2 * np.pi) / 2
        + np.log1p(np.sqrt(np.pi / 2) * erfcx(-far_z / np.sqrt(2)) * far_z)
    )
    return np.log(std) + np.where(z > -1.0, log_direct, log_tail)


def _log_put_above(z: FloatArray, std: FloatArray) -> FloatArray:
    """log(ndtr(z) - exp(std^2 / 2 - z * std) * ndtr(z - std)) for z > 1."""
    z = np.maximum(z, 1.0)
    # log(a - b) = log(a) + log(1 - b / a), whose terms do not overflow.
    log_ratio = std * std / 2 - z * std + log_ndtr(z - std) - log_ndtr(z)
    return log_ndtr(z) + np.log(-np.expm1(np.minimum(log_ratio, -1e-16)))


def _log_put_below(z: FloatArray, std: FloatArray) -> FloatArray:
    """The same for z <= 1: both terms have the factor exp(-z^2 / 2), which is taken out."""
    x, width = -np.minimum(z, 1.0) / np.sqrt(2), std / np.sqrt(2)
    near_x, far_x = np.minimum(x, _FAR), np.maximum(x, _FAR)
    near = erfcx(near_x) - erfcx(near_x + width)
    # erfcx(x) is about (1 / x - 1 / (2 x^3)) / sqrt(pi) for large x.
    end = far_x + width
    far = width / (np.sqrt(np.pi) * far_x * end)
    far *= 1 - (1 / far_x**2 + 1 / (far_x * end) + 1 / end**2) / 2
    return np.log(np.where(x < _FAR, near, far) / 2) - z * z / 2
