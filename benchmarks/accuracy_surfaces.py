"""Accuracy as a function of depth, width and resolution, for `benchmarks/coefficient_rules.py`.

They were fixed before any rule was tried on them. The arguments are what each dimension multiplies
the FLOPs by: depth, width^2 and resolution^2 over the baseline's, of any shape. The result is in
points. The baseline has about 75.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Surface = Callable[[Floats, Floats, Floats], Floats]


def _complementary(
    weights: tuple[float, float, float], complementarity: float, power: float
) -> Surface:
    """Error is a power law of a mean with constant elasticity of substitution."""

    def accuracy(depth: Floats, width: Floats, resolution: Floats) -> Floats:
        mean = sum(
            weight * multiple**-complementarity
            for weight, multiple in zip(weights, (depth, width, resolution), strict=True)
        )
        return np.asarray(95 - 20 * mean ** (power / complementarity))

    return accuracy


def _additive(
    errors: tuple[float, float, float], powers: tuple[float, float, float], floor: float
) -> Surface:
    """Error is a sum of one power law for each dimension, and a floor."""

    def accuracy(depth: Floats, width: Floats, resolution: Floats) -> Floats:
        terms = zip(errors, powers, (depth, width, resolution), strict=True)
        return np.asarray(
            100 - floor - sum(error * multiple**-power for error, power, multiple in terms)
        )

    return accuracy


def _saturating_resolution(depth: Floats, width: Floats, resolution: Floats) -> Floats:
    """The gain from resolution is logistic, with half of it at 1.2 times the baseline's, and little
    past 1.5 times; depth and width multiply.
    """
    position = (np.log(resolution) - 2 * math.log(1.2)) / 0.15
    return np.asarray(
        93 - 14 * (depth**0.45 * width**0.55) ** -0.35 - 6 / (1 + np.exp(np.minimum(position, 50)))
    )


def _resolution_cliff(depth: Floats, width: Floats, resolution: Floats) -> Floats:
    """4 points are lost at resolutions below 1.1 times the baseline's."""
    smooth = _complementary((0.35, 0.35, 0.3), 0.8, 0.3)(depth, width, resolution)
    position = (np.sqrt(resolution) - 1.1) / 0.02
    return np.asarray(smooth + 2 - 4 / (1 + np.exp(np.clip(position, -50, 50))))


def _multiplicative(depth: Floats, width: Floats, resolution: Floats) -> Floats:
    """The dimensions do not interact, so the one with the largest exponent gets all FLOPs."""
    return np.asarray(95 - 20 * (depth**0.3 * width**0.3 * resolution**0.4) ** -0.3)


def _depth_hurts(depth: Floats, width: Floats, resolution: Floats) -> Floats:
    """More than 1.6 times the blocks are harmful."""
    excess = np.maximum(0.0, np.log(depth / 1.6))
    return np.asarray(
        _additive((5.0, 8.0, 7.0), (0.6, 0.4, 0.35), 5.0)(depth, width, resolution)
        - 3 * excess**2
        - 0.5 * excess
    )


SURFACES: Mapping[str, Surface] = {
    "complementary, equal": _complementary((1 / 3, 1 / 3, 1 / 3), 1.5, 0.3),
    "complementary, mostly depth": _complementary((0.55, 0.25, 0.2), 1.0, 0.35),
    "additive, resolution saturates first": _additive((6.0, 6.0, 8.0), (0.3, 0.25, 0.9), 5.0),
    "additive, width matters most": _additive((3.0, 12.0, 5.0), (0.4, 0.35, 0.3), 5.0),
    "logistic in resolution": _saturating_resolution,
    "cliff at low resolution": _resolution_cliff,
    "depth hurts past 1.6": _depth_hurts,
    "multiplicative": _multiplicative,
}


def random_surfaces(count: int, seed: int) -> dict[str, Surface]:
    """Random surfaces: complementary or additive ones, half of them with a dimension that
    saturates.
    """
    generator = np.random.default_rng(seed)
    return {f"random {index}": _random_surface(generator) for index in range(1, count + 1)}


def _random_surface(generator: np.random.Generator) -> Surface:
    depth, width, resolution = (float(value) for value in generator.dirichlet((2.0, 2.0, 2.0)))
    if generator.random() < 0.5:
        complementarity, power = generator.uniform(0.05, 3.0), generator.uniform(0.15, 0.6)
        surface = _complementary((depth, width, resolution), float(complementarity), float(power))
    else:
        powers = [float(value) for value in np.exp(generator.uniform(-1.9, 0.0, 3))]
        surface = _additive(
            (20 * depth, 20 * width, 20 * resolution), (powers[0], powers[1], powers[2]), 5.0
        )
    limits = [math.inf] * 3
    if generator.random() < 0.5:
        limits[int(generator.integers(3))] = float(np.exp(generator.uniform(0.2, 2.0)))
    return _saturating(surface, limits)


def _saturating(surface: Surface, limits: Sequence[float]) -> Surface:
    """Each dimension counts up to about its limit."""

    def limited(multiple: Floats, limit: float) -> Floats:
        return np.asarray((multiple**-4.0 + limit**-4.0) ** -0.25)

    def accuracy(depth: Floats, width: Floats, resolution: Floats) -> Floats:
        multiples = (depth, width, resolution)
        return surface(
            *(limited(multiple, limit) for multiple, limit in zip(multiples, limits, strict=True))
        )

    return accuracy
