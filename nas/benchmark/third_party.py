"""Other libraries' searchers as they come: no gate, no memory of what was measured, nothing known
of cost.

Each is called with a space, an `evaluate(choices) -> reward`, how many evaluations, and a seed.
"""

from collections.abc import Callable

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler

from phinas.nas.problem import distributions_of
from phinas.space.search_spaces.search_space import Choices, SearchSpace

Evaluate = Callable[[Choices], float]
Peer = Callable[[SearchSpace, Evaluate, int, int], None]


def _optuna(sampler: Callable[[int], BaseSampler]) -> Peer:
    def run(space: SearchSpace, evaluate: Evaluate, evaluations: int, seed: int) -> None:
        study = optuna.create_study(direction="maximize", sampler=sampler(seed))
        distributions: dict[str, BaseDistribution] = {**distributions_of(space)}
        for _ in range(evaluations):
            trial = study.ask(distributions)
            study.tell(trial, evaluate(dict(trial.params)))

    return run


def _syne_tune_evolution(
    space: SearchSpace, evaluate: Evaluate, evaluations: int, seed: int
) -> None:
    """Syne Tune's regularized evolution (population 100, sample 10, its defaults). ImportError
    without syne-tune.
    """
    from syne_tune.config_space import choice
    from syne_tune.optimizer.schedulers.searchers.regularized_evolution import RegularizedEvolution

    np.random.seed(seed)
    # By position: it wants the values of a choice to be of one type.
    positions = {
        decision.name: choice(list(range(len(decision.values)))) for decision in space.decisions
    }
    searcher = RegularizedEvolution(positions, random_seed=seed)
    for number in range(evaluations):
        config = searcher.suggest()
        reward = evaluate(
            space.choices([int(config[decision.name]) for decision in space.decisions])
        )
        searcher.on_trial_complete(number, config, -reward)


PEERS: dict[str, Peer] = {
    "optuna-random": _optuna(lambda seed: RandomSampler(seed=seed)),
    "optuna-tpe": _optuna(lambda seed: TPESampler(seed=seed)),
    "optuna-nsga2": _optuna(lambda seed: NSGAIISampler(seed=seed)),
    "syne-tune-rea": _syne_tune_evolution,
}
