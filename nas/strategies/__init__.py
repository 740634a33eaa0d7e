"""The strategies by name. Each is an Optuna sampler, made anew for every proposal with the seed of that proposal.

What a strategy proposes is a function of that seed and of the history in the study, so a search that was killed and resumed
proposes what an uninterrupted one would.
"""

import warnings
from collections.abc import Callable

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from nas.strategies.evolution import EvolutionSampler


def _random(seed: int) -> BaseSampler:
    return RandomSampler(seed=seed)


def _tpe(seed: int) -> BaseSampler:
    """Bergstra et al., NeurIPS 2011; one joint density over all choices (multivariate), running trials taken as poor."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # both options are experimental up to Optuna 4
        return TPESampler(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=10)


def _evolution(seed: int) -> BaseSampler:
    return EvolutionSampler(seed=seed)


STRATEGIES: dict[str, Callable[[int], BaseSampler]] = {
    "random": _random,
    "tpe": _tpe,
    "evolution": _evolution,
}
