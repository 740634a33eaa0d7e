"""Score over FLOPs as a curve with an interval, and its prediction for members that were not
trained.

The curve is error = a * (FLOPs / f0)^-b + c, with a, b, c >= 0: a power law with a floor, found for
the number of images by Hestness et al. (2017, arXiv:1712.00409) and for that of parameters by
Rosenfeld et al. (2020, arXiv:1909.12673). That it holds for FLOPs is an assumption. Three to eight
points do not separate b from c: least squares fits the floor to the noise, with a narrow interval.
So (b, c) are weighted on a grid, a follows by weighted least squares at each (normal, truncated to
0..1, f0 in the middle of the points), and results are quantiles of 4,000 samples.
Priors: b log-uniform from 0.02 to 2; c is 0 with probability 1/3, else uniform up to what the
points allow. Networks also deviate from any smooth curve, by a deviation that is estimated too
(half-Cauchy, scale half a standard error). A prediction's interval is of a member's mean score over
seeds; the `band` is of the curve.

Measured coverage of the 95% interval of a member (`simulate` in
tests/scaling_search_tests/test_curve.py, 400 runs each; five points over a range of 5 times,
standard error 0.01): at half the largest network trained, at 2 and at 8 times it.

| what is true                                              |      |      |      |
|-----------------------------------------------------------|-----:|-----:|-----:|
| a power law with a floor; three points; eight, to 0.005   | 100% | 98 to 100% | 99 to 100% |
| nearly at its floor; steep                                | 100% | 99 to 100% | 99 to 100% |
| a power law without a floor                               | 100% |  96% |  93% |
| the law, and networks scatter by 0.01 (by 0.03)           | 90% (87%) | 93% (86%) | 94% (89%) |
| another law: logistic in log FLOPs                        | 100% |  90% |  63% |
| another law: a peak at 3.5 times, then worse              |  98% |  19% |   0% |

The intervals are wide enough where the assumption holds, a little narrow where networks scatter,
and wrong where it does not hold: no curve of this kind bends down again. Beyond twice the largest
trained network a prediction is only as good as the assumption: under the logistic law the coverage
is 81% at 4 times, 68% at 8, 52% at 16, 46% at 32 and 41% at 78 times (400 other runs). `prediction`
says which predictions are shown. From the published accuracies of
B0..B2 (standard error set to 0.002) it predicts 81.3 to 89.4% for B7, from B0..B4 83.8 to 87.3%,
with medians that are too high: 84.3% was published.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from phinas.experiment.artifacts.validation_file import CurveRecord, Estimate, Prediction

Floats = NDArray[np.float64]
MIN_POINTS = 3
_NUM_SAMPLES = 4000
_EXPONENTS = np.geomspace(0.02, 2.0, 30)
_FLOORS = np.linspace(0.0, 1.0, 30)  # in units of the highest floor that the points allow
_NO_FLOOR_WEIGHT = 15.0  # weight of the first floor, 0, relative to one of the others
# in standard errors
_RESIDUAL_STDS = np.array([0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0])
_RESIDUAL_SCALE = 0.5
_MIN_NOISE = 1e-4  # of accuracies without a standard error


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """A trained network: its multiply-adds, its mean score (0 to 1), and the standard error of that
    mean.
    """

    flops: float
    score: float
    standard_error: float


@dataclass(frozen=True)
class ScoreCurve:
    """Samples of the curve, given the points.

    Attributes:
        points: The trained networks.
        reference: f0, in FLOPs.
        a: Samples, of shape (4000,); b and c likewise.
        residual: Samples of the deviation of one more network from the curve.
    """

    points: tuple[CurvePoint, ...]
    reference: float
    a: Floats = field(repr=False)
    b: Floats = field(repr=False)
    c: Floats = field(repr=False)
    residual: Floats = field(repr=False)

    def band(self, flops: float) -> Prediction:
        """The curve itself at a number of FLOPs."""
        return self._summarize(flops, self._error(flops))

    def predict(self, flops: float) -> Prediction:
        """The mean score over seeds of one more network with these FLOPs: wider than the band."""
        return self._summarize(flops, self._error(flops) + self.residual)

    def _error(self, flops: float) -> Floats:
        return self.a * (flops / self.reference) ** -self.b + self.c

    def _summarize(self, flops: float, errors: Floats) -> Prediction:
        low, median, high = np.quantile(1 - np.clip(errors, 0, 1), [0.025, 0.5, 0.975])
        largest = max(point.flops for point in self.points)
        return Prediction(
            flops=flops,
            score=float(median),
            interval=(float(low), float(high)),
            extrapolation=flops / largest,
        )

    def to_record(self, band: Sequence[Prediction]) -> CurveRecord:
        """The curve as `scaling/validation.yaml` holds it, with points of the curve itself."""
        return CurveRecord(
            reference=self.reference,
            points=len(self.points),
            a=_make_estimate(self.a),
            b=_make_estimate(self.b),
            c=_make_estimate(self.c),
            residual=float(np.median(np.abs(self.residual))),
            band=tuple(band),
        )


def _make_estimate(samples: Floats) -> Estimate:
    low, median, high = (float(value) for value in np.quantile(samples, [0.025, 0.5, 0.975]))
    return Estimate(median=median, interval=(low, high))


def count_sizes(points: Sequence[CurvePoint]) -> int:
    """Different FLOPs; fewer than MIN_POINTS do not determine a curve."""
    return len({point.flops for point in points})


def fit_curve(points: Sequence[CurvePoint], *, seed: int = 0) -> ScoreCurve:
    """The curve, given networks of at least MIN_POINTS different FLOPs.

    Args:
        points: The trained networks.
        seed: Of the samples.

    Raises:
        ValueError: There are too few points, or a number is not finite or out of its range.
    """
    if (num_sizes := count_sizes(points)) < MIN_POINTS:
        raise ValueError(
            f"a curve with a floor has three unknowns: networks of {MIN_POINTS} different FLOPs "
            f"are needed, not {num_sizes}"
        )
    for point in points:
        if not (
            0 < point.flops < math.inf
            and 0 <= point.score <= 1
            and 0 <= point.standard_error < math.inf
        ):
            raise ValueError(
                f"{point}: FLOPs must be above 0, the score from 0 to 1, the standard error at "
                "least 0"
            )
    flops = np.array([point.flops for point in points], float)
    reference = float(np.exp(np.log(flops).mean()))
    noise = np.array([point.standard_error for point in points], float)
    return _sample_curves(
        tuple(points),
        reference,
        _PosteriorGrid.of(flops / reference, 1 - _scores(points), noise),
        seed=seed,
    )


def _scores(points: Sequence[CurvePoint]) -> Floats:
    return np.array([point.score for point in points], float)


@dataclass(frozen=True)
class _PosteriorGrid:
    """For each exponent, floor and residual std (axes 0, 1, 2): mean and deviation of a, and the
    weight, of shape (B, C, D).
    """

    floors: Floats
    residual_stds: Floats
    mean: Floats
    deviation: Floats
    weight: Floats

    @classmethod
    def of(cls, sizes: Floats, errors: Floats, noise: Floats) -> "_PosteriorGrid":
        """sizes, errors, noise: of the points, shape (n,)."""
        from scipy.special import ndtr

        typical_noise = max(float(np.sqrt(np.mean(noise**2))), _MIN_NOISE)
        residual_stds = _RESIDUAL_STDS * typical_noise
        floors = _FLOORS * min(1.0, float(np.min(errors + 2 * noise)))
        variances = noise**2 + residual_stds[:, None] ** 2 + (_MIN_NOISE / 10) ** 2  # (D, n)
        powers = sizes ** -_EXPONENTS[:, None]  # (B, n)
        errors_above_floor = errors - floors[:, None]  # (C, n)
        xx = np.einsum("bn,dn->bd", powers**2, 1 / variances)[:, None, :]
        xy = np.einsum("bn,cn,dn->bcd", powers, errors_above_floor, 1 / variances)
        yy = np.einsum("cn,dn->cd", errors_above_floor**2, 1 / variances)
        mean, deviation = xy / xx, np.broadcast_to(1 / np.sqrt(xx), xy.shape)
        mass_inside = ndtr((1 - mean) / deviation) - ndtr(-mean / deviation)  # of a within 0..1
        likelihood = (xy**2 / xx - yy - np.log(variances).sum(1)) / 2 + np.log(
            deviation * np.maximum(mass_inside, 1e-300)
        )
        prior = np.gradient(_RESIDUAL_STDS) / (1 + (_RESIDUAL_STDS / _RESIDUAL_SCALE) ** 2)
        prior = prior * np.where(_FLOORS == 0, _NO_FLOOR_WEIGHT, 1.0)[:, None]
        return cls(
            floors, residual_stds, mean, deviation, prior * np.exp(likelihood - likelihood.max())
        )


def _sample_curves(
    points: tuple[CurvePoint, ...], reference: float, grid: _PosteriorGrid, *, seed: int
) -> ScoreCurve:
    from scipy.special import ndtr, ndtri

    generator = np.random.default_rng(seed)
    cumulative = np.cumsum(grid.weight)
    # One sample from each of 4,000 equal shares of the weight: steadier in the tails than
    # independent ones.
    positions = (
        (np.arange(_NUM_SAMPLES) + generator.random(_NUM_SAMPLES)) / _NUM_SAMPLES * cumulative[-1]
    )
    indices = np.minimum(np.searchsorted(cumulative, positions), cumulative.size - 1)
    exponent, floor, residual_std = np.unravel_index(indices, grid.weight.shape)
    mean, deviation = grid.mean.ravel()[indices], grid.deviation.ravel()[indices]
    low, high = ndtr(-mean / deviation), ndtr((1 - mean) / deviation)
    quantile = np.clip(low + generator.random(_NUM_SAMPLES) * (high - low), 1e-12, 1 - 1e-12)
    return ScoreCurve(
        points,
        reference,
        a=np.clip(mean + deviation * ndtri(quantile), 0, 1),
        b=_EXPONENTS[exponent],
        c=grid.floors[floor],
        residual=grid.residual_stds[residual_std] * generator.standard_normal(_NUM_SAMPLES),
    )
