"""Comparison of learning rates: the one that is best for several networks on average, and the
networks that another one suits better.

The scores are a table of networks, rates and seeds. Their noise is the residual after the effects
of each network with each rate and of each seed, pooled over all networks, so that two seeds are
enough. Another rate replaces that of the recipe only if its mean score over all networks is
significantly higher (95%, Bonferroni-corrected for the number of other rates). So noise alone
changes the rate in at most 5% of checks. The mean over all networks decides, because a rate that is
selected for one network would favor it in comparisons with the others.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from phinas.experiment.statistics.intervals import Interval
from phinas.experiment.statistics.paired_comparison import ROUNDING_TOLERANCE
from phinas.experiment.statistics.training_noise import NoiseEstimate, estimate_noise

# Scores of a network by seed, for each learning rate.
ScoresByRate = Mapping[float, Sequence[float]]


@dataclass(frozen=True, slots=True)
class RateGain:
    """A learning rate in comparison with the one that is used.

    Attributes:
        rate: The learning rate.
        gain: Its mean score minus that of the rate that it is compared with.
        interval: The 95% interval of the gain; infinite if the noise is unknown.
    """

    rate: float
    gain: float
    interval: Interval

    @property
    def is_significant(self) -> bool:
        """Whether the rate is significantly better."""
        return self.interval[0] > ROUNDING_TOLERANCE


@dataclass(frozen=True, slots=True)
class RateComparison:
    """The result of `compare_rates`.

    Attributes:
        rate: The learning rate to use for all networks.
        over_recipe: The best other rate in comparison with that of the recipe, averaged over
            networks. None if there is no other one, or if trainings with that of the recipe failed.
        by_network: For each network, its best other rate in comparison with `rate`. Empty if there
            is no other one.
        noise_std: Standard deviation of one training; None if unknown.
    """

    rate: float
    over_recipe: RateGain | None
    by_network: dict[str, RateGain]
    noise_std: float | None


def compare_rates(
    scores: Mapping[str, ScoresByRate], *, recipe_rate: float
) -> RateComparison | None:
    """Compare learning rates.

    Args:
        scores: Scores of each network, one for each seed, by learning rate. A rate with a training
            that failed is left out, and is then not used for any network.
        recipe_rate: The learning rate of the recipe.

    Returns:
        None if no rate has scores of all networks.
    """
    rates = _common_rates(scores.values())
    if not rates:
        return None
    noise = estimate_noise(
        [dict(enumerate(by_rate[rate])) for by_rate in scores.values() for rate in rates]
    )
    means = {
        name: {rate: _mean(by_rate[rate]) for rate in rates} for name, by_rate in scores.items()
    }
    overall = {rate: _mean([by_rate[rate] for by_rate in means.values()]) for rate in rates}
    num_seeds = min(len(by_rate[rate]) for by_rate in scores.values() for rate in rates)
    over_recipe = None
    if recipe_rate not in rates:
        rate = max(rates, key=overall.__getitem__)
    else:
        num_trainings = num_seeds * len(scores)
        half_width = _half_width(noise, num_trainings, comparisons=len(rates) - 1)
        over_recipe = _best_other(overall, recipe_rate, half_width)
        is_better = over_recipe is not None and over_recipe.is_significant
        rate = over_recipe.rate if over_recipe is not None and is_better else recipe_rate
    half_width = _half_width(noise, num_seeds, comparisons=len(scores) * (len(rates) - 1))
    gains = {name: _best_other(by_rate, rate, half_width) for name, by_rate in means.items()}
    return RateComparison(
        rate,
        over_recipe,
        {name: gain for name, gain in gains.items() if gain is not None},
        None if noise is None else noise.std,
    )


def _common_rates(scores: Iterable[ScoresByRate]) -> list[float]:
    """The rates with which all networks were trained, in ascending order."""
    sets = [set(by_rate) for by_rate in scores]
    return sorted(set.intersection(*sets)) if sets else []


def _best_other(means: Mapping[float, float], rate: float, half_width: float) -> RateGain | None:
    """The best of the other rates in comparison with this one; None if there is no other one."""
    others = [other for other in means if other != rate]
    if not others:
        return None
    best = max(others, key=means.__getitem__)
    gain = means[best] - means[rate]
    return RateGain(best, gain, (gain - half_width, gain + half_width))


def _half_width(noise: NoiseEstimate | None, num_trainings: int, *, comparisons: int) -> float:
    """Half the width of the 95% interval of a difference of two means.

    Args:
        noise: The noise of one training; None if unknown.
        num_trainings: Number of trainings in each mean.
        comparisons: Number of differences of which the best is selected (Bonferroni).
    """
    from scipy.stats import t

    if noise is None:
        return math.inf
    quantile = float(t.ppf(1 - 0.025 / max(1, comparisons), noise.degrees_of_freedom))
    return quantile * noise.std * math.sqrt(2 / num_trainings)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
