"""Which proportion of depth and width replaces the resolution that the images do not have.

    python benchmarks/resolution_limit.py

A network is (depth, width^2, resolution^2), each a multiple of the baseline's and so a factor of
the FLOPs. At phi 1 the networks of a grid have twice the baseline's FLOPs and accuracies with noise
on 60 random surfaces (`accuracy_surfaces`). The best one gives the coefficients of the family. Its
resolution is limited at larger phi, and depth and width add the missing FLOPs. The loss is the
accuracy of the best network of these FLOPs within the limit minus that of the member, in points.
"""

import math
import sys
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
from accuracy_surfaces import Surface, random_surfaces

from phinas.scaling_search.coefficients import PAPER, Coefficients

_LIMITS, _PHIS, _NOISES = (1.15, 1.5), (3, 5, 7), (0.0, 0.3)
_NUM_RACES, _NUM_SURFACES, _SEED = 12, 60, 3
_GRID_STEPS = 8
_RESOLUTION = 1000  # px of the baseline, so that rounding does not matter

Multiples = tuple[float, float, float]
Rule = Callable[[Coefficients, float, float], Multiples]


def published_proportion(coefficients: Coefficients, phi: float, limit: float) -> Multiples:
    """The family as it is: depth and width add the missing FLOPs as in the paper."""
    limited = Coefficients(
        coefficients.alpha,
        coefficients.beta,
        coefficients.gamma,
        max_resolution=round(limit * _RESOLUTION),
    )
    depth, width, resolution = limited.factors(_RESOLUTION, phi)
    return depth, width**2, resolution**2


def own_proportion(coefficients: Coefficients, phi: float, limit: float) -> Multiples:
    """Depth and width add the missing FLOPs in the proportion of the coefficients."""
    depth, width, resolution = (
        phi * share
        for share in (
            math.log(coefficients.alpha),
            2 * math.log(coefficients.beta),
            2 * math.log(coefficients.gamma),
        )
    )
    missing = max(0.0, resolution - 2 * math.log(limit))
    reference = coefficients if depth + width > 0 else PAPER
    shares = math.log(reference.alpha), 2 * math.log(reference.beta)
    fraction = shares[0] / sum(shares)
    return (
        math.exp(depth + fraction * missing),
        math.exp(width + (1 - fraction) * missing),
        math.exp(resolution - missing),
    )


RULES: dict[str, Rule] = {"published": published_proportion, "own": own_proportion}


def accuracy_of(surface: Surface, multiples: Multiples) -> float:
    """The accuracy of a network in points."""
    depth, width, resolution = (np.array(multiple) for multiple in multiples)
    return float(surface(depth, width, resolution))


def best_accuracy(surface: Surface, phi: float, limit: float) -> float:
    """The highest accuracy of 2^phi times the FLOPs within the limit of the resolution."""
    total = phi * math.log(2)
    accuracies = []
    for resolution in np.linspace(0, min(2 * math.log(limit), total), 15):
        for depth in np.linspace(0, total - resolution, 41):
            shares = depth, total - resolution - depth, resolution
            multiples = tuple(math.exp(share) for share in shares)
            accuracies.append(accuracy_of(surface, (multiples[0], multiples[1], multiples[2])))
    return max(accuracies)


def grid() -> Iterator[Coefficients]:
    """Coefficients that double the FLOPs and scale the resolution."""
    for depth, width in product(range(_GRID_STEPS), repeat=2):
        resolution = _GRID_STEPS - depth - width
        if resolution > 0:
            exponents = depth, width / 2, resolution / 2
            alpha, beta, gamma = (2 ** (exponent / _GRID_STEPS) for exponent in exponents)
            yield Coefficients(alpha, beta, gamma)


def mean_losses(limit: float, noise: float) -> dict[str, list[float]]:
    """The mean loss of each rule at each phi, over surfaces and races."""
    generator, members = np.random.default_rng(_SEED), list(grid())
    losses: dict[str, list[list[float]]] = {name: [] for name in RULES}
    for surface in random_surfaces(_NUM_SURFACES, _SEED).values():
        accuracies = np.array(
            [accuracy_of(surface, own_proportion(member, 1, math.inf)) for member in members]
        )
        winners = [
            members[int(np.argmax(accuracies + noise * generator.standard_normal(len(members))))]
            for _ in range(_NUM_RACES)
        ]
        bests = [best_accuracy(surface, phi, limit) for phi in _PHIS]
        for name, rule in RULES.items():
            losses[name] += [
                [
                    best - accuracy_of(surface, rule(winner, phi, limit))
                    for best, phi in zip(bests, _PHIS, strict=True)
                ]
                for winner in winners
            ]
    return {name: [float(value) for value in np.mean(rows, 0)] for name, rows in losses.items()}


def main() -> None:
    """Print the table."""
    rows = [
        ["limit", "noise, points", "proportion", *(f"phi {phi}" for phi in _PHIS)],
        ["---"] * (3 + len(_PHIS)),
    ]
    for limit, noise in product(_LIMITS, _NOISES):
        for name, losses in mean_losses(limit, noise).items():
            rows.append([f"{limit:g}", f"{noise:g}", name, *(f"{loss:.2f}" for loss in losses)])
    sys.stdout.writelines(f"| {' | '.join(row)} |\n" for row in rows)


if __name__ == "__main__":
    main()
