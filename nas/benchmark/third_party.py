"""Strategies of other libraries, used as they are: without a check for networks that were evaluated
before, and without knowledge of the cost.

They know no cost limits. A network outside the limits is not evaluated: the library gets the lowest
reward so far for it, and proposes again.

Each is called with a search space, a function from choices to reward, the number of evaluations and
a seed.
"""

import itertools
import warnings
from collections.abc import Callable

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler

from phinas.nas.problem import make_distributions
from phinas.space.search_spaces.search_space import Choices, SearchSpace

# Returns the reward, and whether the network is within the cost limits and was evaluated.
EvaluateFn = Callable[[Choices], tuple[float, bool]]
ThirdPartyStrategy = Callable[[SearchSpace, EvaluateFn, int, int], None]


def _make_optuna_strategy(sampler: Callable[[int], BaseSampler]) -> ThirdPartyStrategy:
    def run(space: SearchSpace, evaluate: EvaluateFn, evaluations: int, seed: int) -> None:
        study = optuna.create_study(direction="maximize", sampler=sampler(seed))
        distributions: dict[str, BaseDistribution] = {**make_distributions(space)}
        while evaluations:
            trial = study.ask(distributions)
            reward, was_evaluated = evaluate(dict(trial.params))
            study.tell(trial, reward)
            evaluations -= was_evaluated

    return run


def _make_gp_sampler(seed: int) -> BaseSampler:
    """Optuna's Gaussian process sampler. It needs torch and scipy."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return GPSampler(seed=seed)


def _syne_tune_evolution(
    space: SearchSpace, evaluate: EvaluateFn, evaluations: int, seed: int
) -> None:
    """Syne Tune's regularized evolution with its defaults (population 100, sample 10).

    Raises:
        ImportError: syne-tune is not installed.
    """
    from syne_tune.config_space import choice
    from syne_tune.optimizer.schedulers.searchers.regularized_evolution import RegularizedEvolution

    np.random.seed(seed)
    # Indices, because all values of a choice must have the same type.
    value_indices = {
        decision.name: choice(list(range(len(decision.values)))) for decision in space.decisions
    }
    scheduler = RegularizedEvolution(value_indices, random_seed=seed)
    for number in itertools.count():
        config = scheduler.suggest()
        reward, was_evaluated = evaluate(
            space.from_indices([int(config[decision.name]) for decision in space.decisions])
        )
        scheduler.on_trial_complete(number, config, -reward)
        evaluations -= was_evaluated
        if not evaluations:
            return


THIRD_PARTY_STRATEGIES: dict[str, ThirdPartyStrategy] = {
    "optuna-random": _make_optuna_strategy(lambda seed: RandomSampler(seed=seed)),
    "optuna-tpe": _make_optuna_strategy(lambda seed: TPESampler(seed=seed)),
    "optuna-gp": _make_optuna_strategy(_make_gp_sampler),
    "optuna-nsga2": _make_optuna_strategy(lambda seed: NSGAIISampler(seed=seed)),
    "syne-tune-rea": _syne_tune_evolution,
}
