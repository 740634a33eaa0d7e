"""Which of several networks, trained with the same seeds, is best, and which are tied with it.

Accuracies form a table of networks by seeds. A seed (weights, data order) shifts all networks alike
as far as it can, so the noise is what is left after the means of rows and columns: a two-way layout
with one pooled residual deviation, which has (networks - 1)(seeds - 1) degrees of freedom even when
a network has only two or three seeds. Networks are then compared with the best (Hsu, "Multiple
Comparisons", 1996) by t quantiles, Bonferroni-corrected for each being the best by chance: where
all are equally good, one is said to beat the others in at most 5 of 100 comparisons.

A test says what is significant; `probability_of_best` says how much to bet on it. Networks that are
compared were chosen to be alike, so their differences are shrunk as normal random effects. Measured
(benchmarks/finalists.md): a winner among four equals with two trainings each is given 46% where 25%
are due (57% without shrinking), and one among networks that do differ no more than it deserves.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Table = Mapping[str, Sequence[float]]
_NUM_SAMPLES = 20_000
ROUNDING_TOLERANCE = 1e-9  # a narrower interval is rounding: repeated measurements were identical


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result of `compare`.

    Args:
        means: by name.
        noise_std: standard deviation of one training (NaN: unknown).
        half_width: of the 95% interval of a mean (inf: unknown).
        margin: means closer to the best than this are ties with it (inf: unknown).
        winner: the name with the best mean.
        ties: the winner and all that are not significantly different from it.
    """

    means: dict[str, float]
    noise_std: float
    half_width: float
    margin: float
    winner: str
    ties: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _TwoWayLayout:
    """means: by row; degrees_of_freedom: 0 where the deviation is unknown (noise_std is NaN)."""

    means: dict[str, float]
    num_seeds: int
    degrees_of_freedom: int
    noise_std: float


def _fit_layout(table: Table) -> _TwoWayLayout:
    if (
        not table
        or len({len(row) for row in table.values()}) != 1
        or not len(next(iter(table.values())))
    ):
        raise ValueError("a comparison needs at least one row, and rows of one length")
    means = {name: sum(row) / len(row) for name, row in table.items()}
    num_rows, num_seeds = len(table), len(next(iter(table.values())))
    degrees_of_freedom = (num_rows - 1) * (num_seeds - 1)
    if degrees_of_freedom == 0:
        return _TwoWayLayout(means, num_seeds, 0, math.nan)
    grand_mean = sum(means.values()) / num_rows
    seed_means = [sum(row[seed] for row in table.values()) / num_rows for seed in range(num_seeds)]
    sum_of_squares = sum(
        (row[seed] - means[name] - seed_means[seed] + grand_mean) ** 2
        for name, row in table.items()
        for seed in range(num_seeds)
    )
    noise_std = math.sqrt(sum_of_squares / degrees_of_freedom)
    return _TwoWayLayout(means, num_seeds, degrees_of_freedom, noise_std)


def compare(table: Table, *, confidence: float = 0.95) -> Comparison:
    """Compare rows of equal length (one value a seed, the same seeds for all). ValueError for an
    empty or ragged table.
    """
    from scipy.stats import t

    layout = _fit_layout(table)
    means, num_seeds, noise_std = layout.means, layout.num_seeds, layout.noise_std
    winner = max(means, key=lambda name: means[name])
    if layout.degrees_of_freedom == 0:
        return Comparison(means, math.nan, math.inf, math.inf, winner, tuple(means))
    quantile = float(t.ppf(0.5 + confidence / 2, layout.degrees_of_freedom))
    half_width = quantile * noise_std / math.sqrt(num_seeds)
    quantile = float(t.ppf(1 - (1 - confidence) / len(means), layout.degrees_of_freedom))
    margin = quantile * noise_std * math.sqrt(2 / num_seeds)
    ties = tuple(name for name, mean in means.items() if means[winner] - mean <= margin)
    return Comparison(means, noise_std, half_width, margin, winner, ties)


def compare_pair(
    table: Table, first: str, second: str, *, candidates: int = 1, confidence: float = 0.95
) -> tuple[float, float, float]:
    """The mean of row `first` less that of `second`, and the two ends of its interval (infinite:
    unknown).

    candidates: `first` is the best of so many rows, and partly by chance (Bonferroni).
    """
    from scipy.stats import t

    layout = _fit_layout(table)
    difference = layout.means[first] - layout.means[second]
    if layout.degrees_of_freedom == 0:
        return difference, -math.inf, math.inf
    quantile = float(t.ppf(1 - (1 - confidence) / 2 / candidates, layout.degrees_of_freedom))
    half_width = quantile * layout.noise_std * math.sqrt(2 / layout.num_seeds)
    return difference, difference - half_width, difference + half_width


def format_probability(probability: float) -> str:
    """As a percentage, and never 100%: it comes from a model."""
    return "over 99%" if probability > 0.99 else f"{probability:.0%}"


def probability_of_best(table: Table) -> float:
    """The probability that the row with the best mean is the best in truth; NaN where there is one
    training of each.

    Posterior samples of normal random effects: the variance within from chi-square of the
    residuals, that of the means from chi-square of their scatter, and each mean shrunk by what of
    the scatter is noise.
    """
    layout = _fit_layout(table)
    means = np.array(list(layout.means.values()))
    if len(means) == 1:
        return 1.0
    if layout.degrees_of_freedom == 0:
        return math.nan
    generator = np.random.default_rng(0)
    noise = (
        layout.noise_std**2
        * layout.degrees_of_freedom
        / generator.chisquare(layout.degrees_of_freedom, _NUM_SAMPLES)
        / layout.num_seeds
    )
    deviations = means - means.mean()
    scatter = (deviations**2).sum() / generator.chisquare(len(means) - 1, _NUM_SAMPLES)
    tiny = np.finfo(float).tiny
    shrinkage = np.clip(1 - noise / np.maximum(scatter, tiny), 0.0, 1.0)[:, None]
    normal = generator.standard_normal((_NUM_SAMPLES, len(means)))
    samples = means.mean() + shrinkage * deviations
    samples = samples + np.sqrt(shrinkage * noise[:, None]) * normal
    best = samples == samples.max(axis=1, keepdims=True)  # all of them where shrinkage is 0
    return float((best[:, means.argmax()] / best.sum(axis=1)).mean())
