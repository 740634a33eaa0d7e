"""Regularized evolution (Real et al., arXiv:1802.01548, algorithm 1) as an Optuna sampler.

The population is the latest `population_size` complete trials. `tournament_size` of them are
sampled, and the proposal is the best one with one choice mutated. The population follows from the
order of the trials in the study, so the sampler has no state. In a study with several objectives,
the best one is the least crowded member of the first front (the order of NSGA-II).
"""

import random
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from phinas.nas.pareto import ranks_and_crowding


class EvolutionSampler(BaseSampler):
    """Proposes a mutation of the winner of a tournament.

    Args:
        seed: Seed of the proposal.
        population_size: P of the paper, which uses 100. The default is smaller because a search has
            fewer trials.
        tournament_size: S of the paper, which uses 25.
    """

    def __init__(self, *, seed: int, population_size: int = 24, tournament_size: int = 8) -> None:
        self._generator = random.Random(seed)
        self._random_sampler = RandomSampler(seed=seed)
        self._population_size = population_size
        self._tournament_size = tournament_size

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Choose the parent and the mutated choice.

        There is no parent before the population is full.
        """
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        self._parent_params: dict[str, Any] = {}
        self._mutated_param = ""
        if len(finished) < self._population_size:
            return
        population = finished[-self._population_size :]
        fitness = _fitness(population, study.directions)
        tournament = self._generator.sample(range(len(population)), self._tournament_size)
        self._parent_params = population[max(tournament, key=fitness.__getitem__)].params
        mutable_params = [
            name for name, choices in population[0].distributions.items() if not choices.single()
        ]
        self._mutated_param = self._generator.choice(mutable_params) if mutable_params else ""

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        inherited_value = self._parent_params.get(param_name)
        if param_name not in self._parent_params:
            return self._random_sampler.sample_independent(
                study, trial, param_name, param_distribution
            )
        if param_name != self._mutated_param or not isinstance(
            param_distribution, CategoricalDistribution
        ):
            return inherited_value
        return self._generator.choice(
            [choice for choice in param_distribution.choices if choice != inherited_value]
        )


def _fitness(
    members: list[FrozenTrial], directions: list[StudyDirection]
) -> list[tuple[float, float]]:
    """The fitness of each member, larger is better.

    With one objective, it is the value. With several, it is the front and the crowding distance.
    """
    signs = [1.0 if direction == StudyDirection.MAXIMIZE else -1.0 for direction in directions]
    gains = np.array([member.values for member in members]) * signs
    if len(signs) == 1:
        return [(gain, 0.0) for gain in gains[:, 0].tolist()]
    ranks, crowding = ranks_and_crowding(-gains)
    return list(zip((-ranks).tolist(), crowding.tolist(), strict=True))
