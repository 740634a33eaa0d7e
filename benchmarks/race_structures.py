"""Structures of accuracies for simulated races (`benchmarks/race_coverage.py`): what the members'
final and short scores are, how noisy trainings are, and which ones fail or diverge.

`NAMED` holds the structures on which the race was tuned. `random_structures` generates others from
a seed, which were not looked at before the settings were chosen.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Shape = Literal["smooth", "normal", "heavy_tailed", "equal", "clusters", "cliff", "outlier"]
_POINT = 0.01
_LEVEL = 0.75  # of the mean accuracy
_CHANCE = (0.05, 0.3)  # accuracies of diverged trainings


@dataclass(frozen=True)
class Structure:
    """How the results of a race come about. Accuracies are in points, noise is without the effect
    of the seed.

    Attributes:
        shape: Of the final accuracies. smooth: a random quadratic surface over the coordinates;
            normal and heavy_tailed: independent members; clusters: `top` near-equal members, and
            the others `step` below; cliff: a smooth surface, and the members beyond a threshold
            of one coordinate `step` below; outlier: equal members, and one `step` above.
        spread: Standard deviation of smooth, normal and heavy-tailed accuracies, and within
            groups.
        step: Distance of groups.
        top: Members of the best cluster.
        slope: Short accuracy per final accuracy; 0: unrelated ranks, below 0: opposed ones.
        drift: Standard deviation of short accuracies around that, independent of the final ones.
        noise: Standard deviation of one training.
        noise_tails: Whether the noise has Student's t distribution with 3 degrees of freedom.
        noise_ratio: Standard deviation of the logarithm of the members' own deviations.
        seed_effect: Standard deviation of the effect of a seed.
        seed_loading: Standard deviation of the members' loadings of it, around 1.
        failed_members: Probability that every training of a member fails.
        failed_trainings: Probability that one training fails.
        diverged: Probability that one training ends near chance.
        continued: Fraction of the variance of the noise that a full training shares with the
            short one that it continues.
    """

    shape: Shape = "smooth"
    spread: float = 0.6
    step: float = 2.0
    top: int = 4
    slope: float = 1.0
    drift: float = 0.3
    noise: float = 0.3
    noise_tails: bool = False
    noise_ratio: float = 0.0
    seed_effect: float = 0.3
    seed_loading: float = 0.0
    failed_members: float = 0.0
    failed_trainings: float = 0.0
    diverged: float = 0.0
    continued: float = 0.0

    def sample(self, coordinates: Floats, num_seeds: int, seed: int) -> "Sample":
        """The accuracies of one race, from 0 to 1.

        Args:
            coordinates: (members, 3), of the grid.
        """
        generator = np.random.default_rng(seed)
        num_members = len(coordinates)
        truth = self._final(generator, coordinates)
        short_truth = (
            self.slope * truth - 10.0 + self.drift * generator.standard_normal(num_members)
        )
        deviations = self.noise * np.exp(self.noise_ratio * generator.standard_normal(num_members))
        loadings = 1 + self.seed_loading * generator.standard_normal(num_members)
        noise = (
            generator.standard_t(3, (num_seeds + 1, num_members)) / math.sqrt(3)
            if self.noise_tails
            else generator.standard_normal((num_seeds + 1, num_members))
        )
        seed_effects = self.seed_effect * generator.standard_normal(num_seeds + 1)
        noise[1] = math.sqrt(self.continued) * noise[0] + math.sqrt(1 - self.continued) * noise[1]
        accuracies = np.vstack([short_truth, np.tile(truth, (num_seeds, 1))])
        accuracies += noise * deviations + seed_effects[:, None] * loadings
        accuracies = _LEVEL + _POINT * accuracies
        has_diverged = generator.random(accuracies.shape) < self.diverged
        accuracies = np.where(
            has_diverged, generator.uniform(*_CHANCE, accuracies.shape), accuracies
        )
        has_failed = (generator.random(accuracies.shape) < self.failed_trainings) | (
            generator.random(num_members) < self.failed_members
        )
        accuracies = np.where(has_failed, np.nan, np.clip(accuracies, 0.0, 1.0))
        return Sample(_LEVEL + _POINT * truth, accuracies[0], accuracies[1:])

    def _final(self, generator: np.random.Generator, coordinates: Floats) -> Floats:
        """Final accuracies in points, (members,), around 0."""
        num_members = len(coordinates)
        independent = generator.standard_normal(num_members)
        if self.shape == "normal":
            return self.spread * independent
        if self.shape == "heavy_tailed":
            return self.spread * generator.standard_t(2, num_members)
        if self.shape == "equal":
            return np.zeros(num_members)
        order = generator.permutation(num_members)
        if self.shape == "clusters":
            return self.spread * independent - self.step * (order >= self.top)
        if self.shape == "outlier":
            return self.spread * independent + self.step * (order == 0)
        surface = self.spread * _random_surface(generator, coordinates)
        if self.shape == "cliff":
            column = coordinates[:, generator.integers(coordinates.shape[1])]
            surface -= self.step * (column < np.quantile(column, generator.uniform(0.1, 0.4)))
        return surface


@dataclass(frozen=True)
class Sample:
    """The accuracies of one race, from 0 to 1; NaN: the training fails.

    Attributes:
        truth: (members,), expected final accuracies.
        short: (members,).
        full: (seeds, members).
    """

    truth: Floats
    short: Floats
    full: Floats


def _random_surface(generator: np.random.Generator, coordinates: Floats) -> Floats:
    """A concave quadratic surface with a random optimum and a standard deviation of 1."""
    scaled = (coordinates - coordinates.mean(0)) / np.maximum(coordinates.std(0), 1e-12)
    optimum = generator.normal(0, 1.0, scaled.shape[1])
    surface = -((scaled - optimum) ** 2 * generator.uniform(0.2, 1.0, scaled.shape[1])).sum(1)
    surface += 0.1 * surface.std() * generator.standard_normal(len(surface))
    return np.asarray((surface - surface.mean()) / surface.std())


_DEFAULT = Structure()
NAMED: Mapping[str, Structure] = {
    "smooth": _DEFAULT,
    "smooth, small differences": replace(_DEFAULT, spread=0.15, drift=0.15),
    "smooth, large differences": replace(_DEFAULT, spread=2.0),
    "smooth, continued trainings": replace(_DEFAULT, continued=0.8),
    "independent members": replace(_DEFAULT, shape="normal"),
    "heavy-tailed members": replace(_DEFAULT, shape="heavy_tailed", spread=0.4),
    "equal": replace(_DEFAULT, shape="equal"),
    "short ranks drift as much as final ones differ": replace(_DEFAULT, drift=0.8),
    "short ranks unrelated": replace(_DEFAULT, slope=0.0, drift=0.6),
    "short ranks opposed": replace(_DEFAULT, slope=-0.8, drift=0.2),
    "short ranks opposed, large differences": replace(_DEFAULT, slope=-0.8, spread=1.5),
    "short ranks opposed, independent members": replace(_DEFAULT, shape="normal", slope=-0.8),
    "4 near-equal members, 8 far below": replace(_DEFAULT, shape="clusters", spread=0.15, step=3),
    "6 near-equal members, 6 below": replace(
        _DEFAULT, shape="clusters", spread=0.1, step=1.2, top=6
    ),
    "2 near-equal members, 10 far below": replace(
        _DEFAULT, shape="clusters", spread=0.1, step=2, top=2
    ),
    "cliff of 10 points": replace(_DEFAULT, shape="cliff", spread=0.3, step=10),
    "cliff of 3 points": replace(_DEFAULT, shape="cliff", spread=0.3, step=3),
    "one member 1.5 points above": replace(_DEFAULT, shape="outlier", spread=0.1, step=1.5),
    "one member in ten fails": replace(_DEFAULT, failed_members=0.1),
    "one training in twenty fails": replace(_DEFAULT, spread=1.2, failed_trainings=0.05),
    "one training in thirty diverges": replace(_DEFAULT, diverged=0.033),
    "one in thirty diverges, large differences": replace(_DEFAULT, spread=1.5, diverged=0.033),
    "seed effect of 2 points with own loadings": replace(
        _DEFAULT, seed_effect=2.0, seed_loading=0.3
    ),
    "noisier members": replace(_DEFAULT, noise_ratio=0.6),
    "heavy-tailed noise": replace(_DEFAULT, noise_tails=True, noise=0.4),
}


def random_structures(count: int, seed: int) -> dict[str, Structure]:
    """Random structures, which combine all of the above."""
    generator = np.random.default_rng(seed)
    return {f"{index}": _random_structure(generator) for index in range(1, count + 1)}


def _random_structure(generator: np.random.Generator) -> Structure:
    def log_uniform(low: float, high: float) -> float:
        return float(low * (high / low) ** generator.random())

    def sometimes(probability: float, low: float, high: float) -> float:
        value = float(generator.uniform(low, high))
        return value if generator.random() < probability else 0.0

    shapes: tuple[Shape, ...] = (
        *("smooth", "normal", "heavy_tailed", "equal", "clusters", "cliff", "outlier"),
    )
    shape = shapes[generator.integers(len(shapes))]
    noise = log_uniform(0.15, 0.6)
    is_grouped = shape in ("clusters", "cliff", "outlier")
    spread = log_uniform(0.05, 0.4) if is_grouped else log_uniform(0.15, 2.0)
    return Structure(
        shape=shape,
        spread=spread,
        step=log_uniform(1.0, 10.0),
        top=int(generator.integers(2, 8)),
        slope=float(generator.choice([-0.8, 0.0, 0.7, 1.0, 1.4], p=[0.1, 0.15, 0.2, 0.35, 0.2])),
        drift=spread * log_uniform(0.2, 2.0),
        noise=noise,
        noise_tails=bool(generator.random() < 0.2),
        noise_ratio=sometimes(0.3, 0.2, 0.7),
        seed_effect=log_uniform(0.1, 2.0),
        seed_loading=sometimes(0.3, 0.1, 0.4),
        failed_members=sometimes(0.15, 0.03, 0.15),
        failed_trainings=sometimes(0.15, 0.02, 0.08),
        diverged=sometimes(0.2, 0.01, 0.05),
        continued=sometimes(0.5, 0.3, 0.9),
    )
