"""Base class of samplers that choose all decisions of a trial at once and know its cost before they
propose it.
"""

import random
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from phinas.nas.problem import Problem, make_distributions
from phinas.nas.strategies.known_networks import KnownNetworks
from phinas.space.search_spaces.inactive_choices import Indices
from phinas.space.search_spaces.search_space import Choices


class JointSampler(BaseSampler, ABC):
    """A sampler that implements `propose`.

    Args:
        problem: The search problem.
        seed: Seed of the proposal.

    Attributes:
        rng: Random numbers.
        np_rng: Random numbers of NumPy.
    """

    def __init__(self, problem: Problem, seed: int) -> None:
        self.problem = problem
        self.rng = random.Random(seed)
        self.np_rng = np.random.default_rng(seed)
        self._known = KnownNetworks(problem, problem.to_indices([]))

    @abstractmethod
    def propose(self, finished: list[FrozenTrial], rows: Indices) -> Choices:
        """The next choices.

        Args:
            finished: The complete trials in the order of their proposals.
            rows: Indices of their choices, (trials, decisions).
        """

    def first_new_feasible(self, rows: Indices) -> Choices | None:
        """`KnownNetworks.first_new_feasible`."""
        return self._known.first_new_feasible(rows)

    def sample_random(self) -> Choices:
        """`KnownNetworks.sample_new`."""
        return self._known.sample_new(self.np_rng)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return dict(make_distributions(self.problem.space))

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        past_trials = [
            past_trial
            for past_trial in study.get_trials(deepcopy=False)
            if len(past_trial.params) == len(search_space)
        ]
        rows = self.problem.to_indices([past_trial.params for past_trial in past_trials])
        self._known = KnownNetworks(self.problem, rows)
        is_complete = np.array(
            [past_trial.state == TrialState.COMPLETE for past_trial in past_trials], dtype=bool
        )
        return self.propose(
            [past_trial for past_trial in past_trials if past_trial.state == TrialState.COMPLETE],
            rows[is_complete],
        )

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        raise NotImplementedError(
            f"{param_name} is not a decision of space {self.problem.space.name!r}"
        )
