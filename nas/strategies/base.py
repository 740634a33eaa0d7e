"""The common part of strategies that settle all choices of a trial at once, and know its cost
before they propose it.

A trial of the study with choices is known, whatever became of it: finished, running, failed, or
refused for being known.
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
from phinas.space.search_spaces.inactive_choices import Indices
from phinas.space.search_spaces.search_space import Choices

_NUM_SAMPLES = 64


class JointSampler(BaseSampler, ABC):
    """A strategy is `propose`. rng, np_rng: its random numbers. pending_rows: choices of what
    is being measured.
    """

    def __init__(self, problem: Problem, seed: int) -> None:
        self.problem = problem
        self.rng = random.Random(seed)
        self.np_rng = np.random.default_rng(seed)
        self._known_spec_ids: set[str] = set()
        self.pending_rows = problem.to_indices([])

    @abstractmethod
    def propose(self, finished: list[FrozenTrial], rows: Indices) -> Choices:
        """The choices that follow upon the measured trials, which come in the order in which they
        were proposed, with the positions of their choices (trials, decisions)."""

    def first_new_feasible(self, rows: Indices) -> Choices | None:
        """The first of these positions (networks, decisions) whose network the cost constraint
        admits and no trial has had.
        """
        for row in rows[self.problem.feasible_mask(self.problem.costs(rows))]:
            if self.problem.get_spec_id(row.tolist()) not in self._known_spec_ids:
                return self.problem.space.from_indices(row.tolist())
        return None

    def sample_random(self) -> Choices:
        """Uniform among the fresh; any where a bounded number of draws met none of them, for the
        search to refuse.
        """
        rows = self.problem.sample(_NUM_SAMPLES, self.np_rng)
        return self.first_new_feasible(rows) or self.problem.space.from_indices(rows[0].tolist())

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
        self._known_spec_ids = {self.problem.get_spec_id(row) for row in rows.tolist()}
        is_complete = np.array(
            [past_trial.state == TrialState.COMPLETE for past_trial in past_trials], dtype=bool
        )
        self.pending_rows = rows[
            np.array(
                [past_trial.state == TrialState.RUNNING for past_trial in past_trials], dtype=bool
            )
        ]
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
            f"{param_name} is no decision of space {self.problem.space.name!r}"
        )
