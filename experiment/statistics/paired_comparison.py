"""Comparison of several networks trained with the same seeds: the best one, and its ties.

The scores are a table of networks by seeds. The common effect of a seed (weights, data order) on
all networks is no noise. So the noise is the residual of a two-way layout, with one pooled standard
deviation. It has (networks - 1)(seeds - 1) degrees of freedom, also if there are only two or three
seeds. Each network is compared with the best one (Hsu, "Multiple Comparisons", 1996) by t
quantiles, Bonferroni-corrected, since any network may be the best by chance. If all networks are
equal, the best one is declared significantly better than all others in at most 5% of comparisons.

`probability_of_best` is the posterior probability that the best network is truly the best. Networks
that are compared were selected to be similar, so differences are shrunk as normal random effects.
Measured (benchmarks/finalists.md): the winner among four equal networks with two trainings each has
a probability of 46%, where 25% would be right (57% without shrinkage). Among networks that do
differ, the probability is not too high.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Table = Mapping[str, Sequence[float]]
_NUM_SAMPLES = 20_000
ROUNDING_TOLERANCE = 1e-9  # narrower intervals are rounding errors of identical measurements


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result of `compare`.

    Attributes:
        means: mean of each row, by name.
        noise_std: standard deviation of one training; NaN if unknown.
        half_width: half the width of the interval of a mean; inf if unknown.
        margin: rows whose mean is this close to the best mean are tied with it; inf if unknown.
        winner: name of the row with the best mean.
        ties: the winner and all rows that are not significantly different from it.
    """

    means: dict[str, float]
    noise_std: float
    half_width: float
    margin: float
    winner: str
    ties: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _TwoWayLayout:
    """Means by row name and the residual deviation; noise_std is NaN for 0 degrees of freedom."""

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
        raise ValueError("table: a comparison needs at least one row, and rows of equal length")
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
    """Compare the rows of a table.

    Args:
        table: scores by name; one value per seed, with the same seeds in all rows.
        confidence: confidence level.

    Raises:
        ValueError: the table is empty, or its rows have different lengths.
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
    """Compare two rows of a table.

    Args:
        table: scores by name; one value per seed, with the same seeds in all rows.
        first, second: names of the two rows.
        candidates: number of rows of which `first` was selected as the best (Bonferroni).
        confidence: confidence level.

    Returns:
        The mean of `first` minus that of `second`, and the two ends of its interval, which are
        infinite if the noise is unknown.

    Raises:
        ValueError: the table is empty, or its rows have different lengths.
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
    """Format a probability as a percentage; never as 100%, since it is that of a model."""
    return "over 99%" if probability > 0.99 else f"{probability:.0%}"


def probability_of_best(table: Table) -> float:
    """Return the posterior probability that the row with the best mean is truly the best.

    It is computed from posterior samples of normal random effects. The noise variance is sampled
    from the residuals and the variance of the means from their scatter (both scaled inverse
    chi-square). Each mean is shrunk by the fraction of the scatter that is noise.

    Returns:
        A probability; NaN if the table has one seed only.

    Raises:
        ValueError: the table is empty, or its rows have different lengths.
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
    best = samples == samples.max(axis=1, keepdims=True)  # all rows are tied if shrinkage is 0
    return float((best[:, means.argmax()] / best.sum(axis=1)).mean())
