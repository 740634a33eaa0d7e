"""alpha, beta and gamma from a race: the centroid of the compared networks, drawn towards the
published coefficients.

The best of a few networks with equal FLOPs is often one-sided, such as all width. A family repeats
that step, with diminishing returns. So the coefficients are not the best network's. A direction
here is (log alpha, 2 log beta, 2 log gamma) divided by its sum: the fractions of log FLOPs that
depth, width and resolution get. The coefficients have the direction

    (1 - f) * sum_i p_i * direction_i + f * published direction,    f = 2^-grid_phi

over the compared networks, with the probability p_i that network i is the best. The race measures
the first step of a family, of grid_phi, and says less of the next ones the shorter it is. Where it
decides nothing, the coefficients are balanced, between the networks' mean and the published ones.
benchmarks/racing.md compares this with other rules.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from phinas.experiment.artifacts.artifact import Interval
from phinas.experiment.schema.config import ScalingSection
from phinas.scaling_search.coefficients import PAPER, Coefficients
from phinas.space.network import ScalableNetwork
from phinas.space.spec import SpecError

Floats = npt.NDArray[np.float64]
_EXPONENTS = np.array([1.0, 2.0, 2.0])  # of the FLOPs in depth, width and resolution
_GROWTHS = (4, 16, 64)  # multiples of the FLOPs at which their growth is measured
_GROWTH_TOLERANCE = 1e-4
_MAX_FACTOR = 10.0  # of alpha, beta and gamma, as in the file of coefficients
_LENGTHS = (0.25, 8.0)  # of a step in logarithms, relative to that of its nominal FLOPs
_INTERVAL_QUANTILES = (0.025, 0.975)


@dataclass(frozen=True)
class CoefficientEstimate:
    """Coefficients from a race.

    Attributes:
        coefficients: At phi 1.
        probabilities: Of each compared network, to be the best; they add up to 1.
        intervals: Of alpha, beta and gamma: the values of the compared networks with 95% of the
            probability, and the coefficient itself.
        published_fraction: Of the published coefficients in the direction.
    """

    coefficients: Coefficients
    probabilities: tuple[float, ...]
    intervals: tuple[Interval, Interval, Interval]
    published_fraction: float


def estimate_coefficients(
    baseline: ScalableNetwork,
    section: ScalingSection,
    members: Sequence[Coefficients],
    probabilities: Sequence[float],
) -> CoefficientEstimate:
    """The coefficients that follow from a race.

    Args:
        baseline: The network that is scaled.
        section: The options of the scaling search.
        members: Coefficients of the compared networks.
        probabilities: Of each network, to be the best, up to a common factor.
    """
    directions = np.array([scaling_direction((row.alpha, row.beta, row.gamma)) for row in members])
    weights = np.array(probabilities) / sum(probabilities)
    coefficients = scale_to_flops(
        baseline,
        family_direction(directions, weights, section.compared_phi),
        section.flops_multiple,
        Coefficients(1.0, 1.0, 1.0, divisor=section.divisor, rounding=section.depth_rounding),
        nominal=section.constraint == "nominal",
    )
    values = np.exp(math.log(coefficients.nominal) * directions / _EXPONENTS)
    alpha, beta, gamma = (
        _interval(column, weights, value)
        for column, value in zip(
            values.T, (coefficients.alpha, coefficients.beta, coefficients.gamma), strict=True
        )
    )
    return CoefficientEstimate(
        coefficients,
        tuple(weights.tolist()),
        (alpha, beta, gamma),
        published_fraction(section.compared_phi),
    )


def scaling_direction(factors: Sequence[float]) -> Floats:
    """The fractions of log FLOPs that depth, width and resolution get, of shape (3,).

    Args:
        factors: Of depth, width and resolution, at least 1. If all are 1, the fractions are equal.
    """
    logs = _EXPONENTS * np.log(np.array(factors, dtype=np.float64))
    total = float(logs.sum())
    return np.asarray(logs / total) if total > 0 else np.full(3, 1 / 3)


def family_direction(directions: Floats, probabilities: Floats, grid_phi: float) -> Floats:
    """The direction of a family, of shape (3,).

    Args:
        directions: Of the compared networks, of shape (networks, 3).
        probabilities: Of each network, to be the best, of shape (networks,). They add up to 1.
        grid_phi: phi of the compared networks.
    """
    fraction = published_fraction(grid_phi)
    centroid = probabilities @ directions
    return np.asarray((1 - fraction) * centroid + fraction * published_direction(directions))


def published_fraction(grid_phi: float) -> float:
    """The fraction of the published direction in the direction of a family."""
    return float(2.0**-grid_phi)


def published_direction(directions: Floats) -> Floats:
    """The direction of the published coefficients in the dimensions that the networks scale.

    Args:
        directions: Of shape (networks, 3).
    """
    published = scaling_direction((PAPER.alpha, PAPER.beta, PAPER.gamma))
    published = np.where(directions.max(0) > 0, published, 0.0)
    return np.asarray(published / published.sum())


def scale_to_flops(
    baseline: ScalableNetwork,
    direction: Floats,
    flops_multiple: float,
    rounding: Coefficients,
    *,
    nominal: bool = False,
) -> Coefficients:
    """Coefficients in a direction whose family has `flops_multiple` times the FLOPs per unit of
    phi.

    For measured FLOPs this holds for the sum of the logarithms where the family should have 4, 16
    and 64 times the FLOPs, since rounding moves single networks by up to tens of percent. From B1
    to B7, log2 FLOPs then deviate from phi by 0.11 for EfficientNet-B0 and by 0.19 for a baseline
    with one block in each stage (root mean square over 40 random directions, depths `balanced`;
    rounded up, 0.29 and 0.49).

    Args:
        baseline: The network that is scaled.
        direction: Fractions of log FLOPs, of shape (3,).
        flops_multiple: FLOPs at phi 1 over the baseline's.
        rounding: Its divisor, rounding and highest resolution are used.
        nominal: alpha * beta^2 * gamma^2 is `flops_multiple`, whatever the rounding does.
    """
    logs = math.log(flops_multiple) * direction / _EXPONENTS

    def coefficients(length: float) -> Coefficients:
        alpha, beta, gamma = np.minimum(np.exp(length * logs), _MAX_FACTOR).tolist()
        return replace(rounding, alpha=alpha, beta=beta, gamma=gamma)

    if nominal:
        return coefficients(1.0)
    baseline_flops = baseline.cost().flops

    def growth(length: float) -> float:
        """Measured over wanted log FLOPs; it rises with `length`."""
        total = 0.0
        for multiple in _GROWTHS:
            phi = math.log(multiple) / math.log(flops_multiple)
            try:
                network = coefficients(length).apply(baseline, phi)
            except SpecError:  # a dimension exceeds its maximum
                return math.inf
            total += math.log(network.cost().flops / baseline_flops)
        return total / math.log(math.prod(_GROWTHS))

    low, high = _LENGTHS
    while high - low > _GROWTH_TOLERANCE:
        middle = (low + high) / 2
        low, high = (middle, high) if growth(middle) < 1 else (low, middle)
    return coefficients(low)


def _interval(values: Floats, weights: Floats, included: float) -> Interval:
    """The weighted quantiles of some values, extended to one that it includes."""
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order])
    low, high = (
        float(values[order][min(int(np.searchsorted(cumulative, quantile)), len(values) - 1)])
        for quantile in _INTERVAL_QUANTILES
    )
    return min(low, included), max(high, included)
