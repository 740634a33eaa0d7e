"""Which of several networks, trained with the same seeds, is best, and which can't be told from it.

Accuracies form a table of networks by seeds. A seed's luck (weights, data order) shifts all networks alike as far as it can,
so the noise is what is left after the means of rows and columns: a two-way layout with one pooled residual deviation,
which has (networks - 1)(seeds - 1) degrees of freedom even when a network has only two or three seeds. Networks are then
compared with the best (Hsu, "Multiple Comparisons", 1996) by t quantiles, Bonferroni-corrected for each being the best by
luck: where all are equally good, one is said to beat the others in at most 5 of 100 comparisons.

The held-out images are the same for all and are taken as given: what another draw of images would add is not in here.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Comparison:
    """means: by name; deviation: of one training (NaN: not known); half_width: of the 95% interval of a mean; margin: means
    closer to the best than this are ties with it (inf: not known); ties: the best and all that can't be told from it."""

    means: dict[str, float]
    deviation: float
    half_width: float
    margin: float
    winner: str
    ties: tuple[str, ...]


def compare(table: Mapping[str, Sequence[float]], *, confidence: float = 0.95) -> Comparison:
    """Compare rows of equal length (one value a seed, the same seeds for all). ValueError for an empty or ragged table."""
    from scipy.stats import t

    if not table or len({len(row) for row in table.values()}) != 1 or not len(next(iter(table.values()))):
        raise ValueError("a comparison needs at least one row, and rows of one length")
    means = {name: sum(row) / len(row) for name, row in table.items()}
    winner = max(means, key=lambda name: means[name])
    rows, seeds = len(table), len(next(iter(table.values())))
    freedom = (rows - 1) * (seeds - 1)
    if freedom == 0:
        return Comparison(means, math.nan, math.inf, math.inf, winner, tuple(means))
    grand = sum(means.values()) / rows
    columns = [sum(row[seed] for row in table.values()) / rows for seed in range(seeds)]
    squares = sum(
        (row[seed] - means[name] - columns[seed] + grand) ** 2 for name, row in table.items() for seed in range(seeds)
    )
    deviation = math.sqrt(squares / freedom)
    half_width = float(t.ppf(0.5 + confidence / 2, freedom)) * deviation / math.sqrt(seeds)
    quantile = float(t.ppf(1 - (1 - confidence) / rows, freedom))
    margin = quantile * deviation * math.sqrt(2 / seeds)
    ties = tuple(name for name, mean in means.items() if means[winner] - mean <= margin)
    return Comparison(means, deviation, half_width, margin, winner, ties)
