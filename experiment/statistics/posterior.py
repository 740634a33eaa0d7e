"""What trainings, some of them short, say about the final accuracies of many networks together.

The model, all normal: member m has a final accuracy f_m, and after few epochs lambda * f_m + g_m,
where g is the drift: ranks that still change. What a seed (at one number of epochs) brings to all
its trainings is unknown and free; each training adds noise sigma. f and g are random effects; a
share of their variance may lie on a smooth surface, quadratic in the members' coordinates, the rest
is lack of fit. How large all that is nobody knows: sigma is integrated out exactly (Student's t),
and spread / sigma, drift / spread, lambda and the share of the surface over 256 points of the
ranges below, each weighted by its likelihood. So what the short trainings are worth is learnt from
members trained in both ways, and before there are any it is taken as anything from much to nothing.

Shrinking differences as random effects is what replaces a correction for many comparisons, and what
is believed depends on
the results alone, not on when somebody looked: stopping early needs no correction either. Both hold
as far as the model does; benchmarks/racing.md says how far that is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr

Floats = npt.NDArray[np.float64]
_POINTS = 256
_SPREAD = (0.1, 20.0)  # of final accuracies over the noise of one training
_DRIFT = (
    0.2,
    5.0,
)  # over the spread: rank correlations of final and short, but for noise, from 0.98 to 0.2
_LAMBDA = (0.6, 1.8)
_SURFACE = (0.0, 0.97)
_NEGLIGIBLE = 1e-4


@dataclass(frozen=True)
class Column:
    """Full trainings with one seed: of which members (positions), and their accuracies."""

    members: tuple[int, ...]
    accuracies: tuple[float, ...]


@dataclass(frozen=True)
class Belief:
    """A mixture over points (weights) of Student's t with `freedom` degrees: means (points,
    members), covariances (points, members, members) of final accuracies, of which only differences
    count; deviation: of one training."""

    weights: Floats
    means: Floats
    covariances: Floats
    freedom: int
    deviation: float

    def expected(self) -> Floats:
        """(members,), around a mean of 0."""
        expected = self.weights @ self.means
        return expected - expected.mean()

    def chance_above(self, other: int) -> Floats:
        """(members,): the probability of each that its accuracy is above that of `other`; 0.5 for
        itself.
        """
        difference, scale = self._against(other)
        return self.weights @ stdtr(self.freedom, difference / scale)

    def lead(self, first: int, second: int, confidence: float) -> tuple[float, float]:
        """The central interval of how much `first` is above `second`, by bisection."""
        difference, scale = self._against(second)
        reach = np.abs(difference[:, first]).max() + 200 * scale[:, first].max()

        def quantile(share: float) -> float:
            low, high = -reach, reach
            for _ in range(40):
                middle = (low + high) / 2
                above = self.weights @ stdtr(
                    self.freedom, (difference[:, first] - middle) / scale[:, first]
                )
                low, high = (middle, high) if above > 1 - share else (low, middle)
            return float(low + high) / 2

        return quantile(0.5 - confidence / 2), quantile(0.5 + confidence / 2)

    def _against(self, other: int) -> tuple[Floats, Floats]:
        """Means and scales (points, members) of each one's accuracy less that of `other`."""
        variances = np.einsum("pmm->pm", self.covariances)
        spread = variances + variances[:, [other]] - 2 * self.covariances[:, other]
        return self.means - self.means[:, [other]], np.sqrt(np.maximum(spread, 1e-24))


def believe(
    columns: Sequence[Column],
    members: int,
    *,
    brief: Sequence[float] | None = None,
    coordinates: Floats | None = None,
) -> Belief:
    """brief: the accuracy of each member in one short training, all with one seed; coordinates:
    (members, any), such as log alpha, log beta, log gamma; none: no surface.

    Raises ValueError where no two members have been trained alike, since then nothing can be
    compared.
    """
    spread, drift, slope, share = _hyper()
    values, vectors = _surface(members, coordinates)
    own = (1 - share[:, None]) + share[
        :, None
    ] * values  # variance of each direction, in units of the whole; (points, members)
    within, right, squares, freedom = _sums(columns, members)
    # In the basis of the directions the prior and the short trainings are diagonal. The last is the
    # level of all: free.
    precision = np.zeros((_POINTS, members, members)) + vectors.T @ within @ vectors
    rights = np.zeros((_POINTS, members)) + vectors.T @ right
    diagonal = 1 / (spread[:, None] ** 2 * own)
    logs = -np.log(spread[:, None] ** 2 * own).sum(1) / 2
    if brief is not None:
        seen = vectors.T @ (np.array(brief) - np.mean(brief))
        exactness = 1 / (1 + (spread * drift)[:, None] ** 2 * own)
        exactness[:, -1] = 0.0
        diagonal = diagonal + slope[:, None] ** 2 * exactness
        rights = rights + slope[:, None] * exactness * seen
        logs = logs + np.log(exactness[:, :-1]).sum(1) / 2
        squares, freedom = squares + (exactness * seen**2).sum(1), freedom + members - 1
    if not freedom:
        raise ValueError("columns: no two members have been trained with the same seed and epochs")
    np.einsum("pmm->pm", precision)[...] += diagonal
    means = np.linalg.solve(precision, rights[:, :, None])[:, :, 0]
    residual = np.maximum(squares - (rights * means).sum(1), 1e-12)
    logs = logs - np.linalg.slogdet(precision)[1] / 2 - freedom / 2 * np.log(residual)
    weights = np.exp(logs - logs.max())
    kept = weights > _NEGLIGIBLE
    weights, variance = weights[kept] / weights[kept].sum(), residual[kept] / freedom
    covariances = vectors @ (np.linalg.inv(precision[kept]) * variance[:, None, None]) @ vectors.T
    return Belief(
        weights, means[kept] @ vectors.T, covariances, freedom, float(weights @ np.sqrt(variance))
    )


def _sums(columns: Sequence[Column], members: int) -> tuple[Floats, Floats, float, int]:
    """What columns come down to once the effect of each is taken out: information (members,
    members), right-hand side (members,), sum of squares, degrees of freedom."""
    within, right, squares, freedom = np.zeros((members, members)), np.zeros(members), 0.0, 0
    for column in columns:
        rows = np.array(column.members)
        centred = np.array(column.accuracies) - np.mean(column.accuracies)
        within[np.ix_(rows, rows)] += np.eye(len(rows)) - 1 / len(rows)
        right[rows] += centred
        squares += float((centred**2).sum())
        freedom += len(rows) - 1
    return within, right, squares, freedom


@cache
def _hyper() -> tuple[Floats, Floats, Floats, Floats]:
    """256 points that fill the four ranges evenly (Halton, bases 2, 3, 5, 7): spread, drift over
    it, lambda, share.
    """
    spread, drift, slope, share = (
        np.array([_halton(index, base) for index in range(1, _POINTS + 1)]) for base in (2, 3, 5, 7)
    )

    def geometric(bounds: tuple[float, float], at: Floats) -> Floats:
        return bounds[0] * (bounds[1] / bounds[0]) ** at

    def even(bounds: tuple[float, float], at: Floats) -> Floats:
        return bounds[0] + (bounds[1] - bounds[0]) * at

    return (
        geometric(_SPREAD, spread),
        geometric(_DRIFT, drift),
        geometric(_LAMBDA, slope),
        even(_SURFACE, share),
    )


def _halton(index: int, base: int) -> float:
    value, step = 0.0, 1.0 / base
    while index:
        index, digit = divmod(index, base)
        value += digit * step
        step /= base
    return value


def _surface(members: int, coordinates: Floats | None) -> tuple[Floats, Floats]:
    """Eigenvalues and vectors of the covariance that a quadratic with random coefficients gives, of
    mean variance 1; the last is the constant."""
    covariance, level = np.zeros((members, members)), np.full((members, members), 1 / members)
    if coordinates is not None:
        centred = coordinates - coordinates.mean(0)
        centred = centred / max(float(centred.std()), 1e-12)
        count = centred.shape[1]
        squares = [centred[:, i] * centred[:, j] for i in range(count) for j in range(i, count)]
        features = np.column_stack([centred, *squares])
        features = features - features.mean(0)
        covariance = features @ features.T
        covariance = covariance / max(float(np.trace(covariance)) / members, 1e-12)
    values, vectors = np.linalg.eigh(
        covariance + 2 * members * level
    )  # no other direction has as much
    values[-1] = 0.0
    return (np.ones(members) if coordinates is None else np.maximum(values, 0.0)), vectors
