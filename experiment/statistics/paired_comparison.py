"""Which of several networks, trained with the same seeds, is best, and which can't be told from it.

Accuracies form a table of networks by seeds. A seed's luck (weights, data order) shifts all
networks alike as far as it can,
so the noise is what is left after the means of rows and columns: a two-way layout with one pooled
residual deviation, which has (networks - 1)(seeds - 1) degrees of freedom even when a network has
only two or three seeds. Networks are then compared with the best (Hsu, "Multiple Comparisons",
1996) by t quantiles, Bonferroni-corrected for each being the best by
luck: where all are equally good, one is said to beat the others in at most 5 of 100 comparisons.

A test says what can be told; `chance_of_best` says how much to bet on it. Networks that are
compared were chosen to be alike, so their differences are shrunk as normal random effects. Measured
(benchmarks/finalists.md): a winner among four equals with two trainings each is given 46% where 25%
are due (57% without shrinking), and one among networks that do differ no more than it deserves.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Table = Mapping[str, Sequence[float]]
_DRAWS = 20_000


NOISELESS = 1e-9  # an interval narrower than this is rounding: what was measured again was the same


@dataclass(frozen=True, slots=True)
class Comparison:
    """means: by name; deviation: of one training (NaN: not known); half_width: of the 95% interval
    of a mean; margin: means closer to the best than this are ties with it (inf: not known); ties:
    the best and all that can't be told from it."""

    means: dict[str, float]
    deviation: float
    half_width: float
    margin: float
    winner: str
    ties: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Layout:
    """means: by row; freedom: degrees of it (0: the deviation is not known, NaN)."""

    means: dict[str, float]
    seeds: int
    freedom: int
    deviation: float


def _layout(table: Table) -> _Layout:
    if (
        not table
        or len({len(row) for row in table.values()}) != 1
        or not len(next(iter(table.values())))
    ):
        raise ValueError("a comparison needs at least one row, and rows of one length")
    means = {name: sum(row) / len(row) for name, row in table.items()}
    rows, seeds = len(table), len(next(iter(table.values())))
    freedom = (rows - 1) * (seeds - 1)
    if freedom == 0:
        return _Layout(means, seeds, 0, math.nan)
    grand = sum(means.values()) / rows
    columns = [sum(row[seed] for row in table.values()) / rows for seed in range(seeds)]
    squares = sum(
        (row[seed] - means[name] - columns[seed] + grand) ** 2
        for name, row in table.items()
        for seed in range(seeds)
    )
    return _Layout(means, seeds, freedom, math.sqrt(squares / freedom))


def compare(table: Table, *, confidence: float = 0.95) -> Comparison:
    """Compare rows of equal length (one value a seed, the same seeds for all). ValueError for an
    empty or ragged table.
    """
    from scipy.stats import t

    found = _layout(table)
    means, seeds, freedom, deviation = found.means, found.seeds, found.freedom, found.deviation
    winner = max(means, key=lambda name: means[name])
    if freedom == 0:
        return Comparison(means, math.nan, math.inf, math.inf, winner, tuple(means))
    half_width = float(t.ppf(0.5 + confidence / 2, freedom)) * deviation / math.sqrt(seeds)
    quantile = float(t.ppf(1 - (1 - confidence) / len(means), freedom))
    margin = quantile * deviation * math.sqrt(2 / seeds)
    ties = tuple(name for name, mean in means.items() if means[winner] - mean <= margin)
    return Comparison(means, deviation, half_width, margin, winner, ties)


def difference(
    table: Table, first: str, second: str, *, candidates: int = 1, confidence: float = 0.95
) -> tuple[float, float, float]:
    """By how much the mean of row `first` is above that of `second`, and the interval of that
    (infinite: not known).

    candidates: `first` is the best of so many rows, and partly by luck (Bonferroni).
    """
    from scipy.stats import t

    found = _layout(table)
    ahead = found.means[first] - found.means[second]
    if found.freedom == 0:
        return ahead, -math.inf, math.inf
    quantile = float(t.ppf(1 - (1 - confidence) / 2 / candidates, found.freedom))
    half_width = quantile * found.deviation * math.sqrt(2 / found.seeds)
    return ahead, ahead - half_width, ahead + half_width


def shown_chance(chance: float) -> str:
    """In words, and never 100%: it comes from a model."""
    return "over 99%" if chance > 0.99 else f"{chance:.0%}"


def chance_of_best(table: Table) -> float:
    """The probability that the row with the best mean is the best in truth; NaN where one training
    each tells nothing.

    Posterior draws of normal random effects: the variance within from chi-square of the residuals,
    that of the means from chi-square of their scatter, and each mean shrunk by what of the scatter
    is noise.
    """
    found = _layout(table)
    means = np.array(list(found.means.values()))
    if len(means) == 1:
        return 1.0
    if found.freedom == 0:
        return math.nan
    generator = np.random.default_rng(0)
    noise = (
        found.deviation**2
        * found.freedom
        / generator.chisquare(found.freedom, _DRAWS)
        / found.seeds
    )
    scatter = ((means - means.mean()) ** 2).sum() / generator.chisquare(len(means) - 1, _DRAWS)
    kept = np.clip(1 - noise / np.maximum(scatter, np.finfo(float).tiny), 0.0, 1.0)[:, None]
    drawn = means.mean() + kept * (means - means.mean())
    drawn = drawn + np.sqrt(kept * noise[:, None]) * generator.standard_normal((_DRAWS, len(means)))
    best = drawn == drawn.max(axis=1, keepdims=True)  # where nothing is kept all are
    return float((best[:, means.argmax()] / best.sum(axis=1)).mean())
