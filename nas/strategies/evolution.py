"""Regularized evolution (Real et al., arXiv:1802.01548, algorithm 1) as an Optuna sampler.

A tournament of `sample` among the youngest `population` finished trials; the winner's choices with
one mutated. The age of a member is its place in the study, so the population needs no state beside
it. In a study with several aims the winner is the one on the first front of the population, of
those the least crowded (NSGA-II's order).
"""

import random
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from phinas.nas.pareto import crowded


class EvolutionSampler(BaseSampler):
    """population, sample: P and S of the paper, which has 100 and 25; smaller here, since a search
    here has fewer trials.
    """

    def __init__(self, *, seed: int, population: int = 24, sample: int = 8) -> None:
        self._generator = random.Random(seed)
        self._fresh = RandomSampler(seed=seed)
        self._population = population
        self._sample = sample

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Choose parent and mutation; without a full first population the trial is drawn afresh."""
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        self._parent: dict[str, Any] = {}
        self._mutated = ""
        if len(finished) < self._population:
            return
        youngest = finished[-self._population :]
        merits = _merits(youngest, study.directions)
        contenders = self._generator.sample(range(len(youngest)), self._sample)
        self._parent = youngest[max(contenders, key=merits.__getitem__)].params
        mutable = [
            name for name, choices in youngest[0].distributions.items() if not choices.single()
        ]
        self._mutated = self._generator.choice(mutable) if mutable else ""

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        inherited = self._parent.get(param_name)
        if param_name not in self._parent:
            return self._fresh.sample_independent(study, trial, param_name, param_distribution)
        if param_name != self._mutated or not isinstance(
            param_distribution, CategoricalDistribution
        ):
            return inherited
        return self._generator.choice(
            [choice for choice in param_distribution.choices if choice != inherited]
        )


def _merits(
    members: list[FrozenTrial], directions: list[StudyDirection]
) -> list[tuple[float, float]]:
    """By what each member is compared, the greater the better: its value, or its front and how
    alone it is there.
    """
    signs = [1.0 if direction == StudyDirection.MAXIMIZE else -1.0 for direction in directions]
    gains = np.array([member.values for member in members]) * signs
    if len(signs) == 1:
        return [(gain, 0.0) for gain in gains[:, 0].tolist()]
    front, alone = crowded(-gains)
    return list(zip((-front).tolist(), alone.tolist(), strict=True))
