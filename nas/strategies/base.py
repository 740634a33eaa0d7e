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

from phinas.nas.problem import Problem, distributions_of
from phinas.space.search_spaces.inactive_choices import Indices
from phinas.space.search_spaces.search_space import Choices

_DRAWS = 64


class WholeSampler(BaseSampler, ABC):
    """A strategy is `propose`. numbers, generator: its random numbers. pending: positions of what
    is being measured.
    """

    def __init__(self, problem: Problem, seed: int) -> None:
        self.problem = problem
        self.generator = random.Random(seed)
        self.numbers = np.random.default_rng(seed)
        self._known: set[str] = set()
        self.pending = problem.positions([])

    @abstractmethod
    def propose(self, finished: list[FrozenTrial], rows: Indices) -> Choices:
        """The choices that follow upon the measured trials, which come in the order in which they
        were proposed, with the positions of their choices (trials, decisions)."""

    def first_fresh(self, rows: Indices) -> Choices | None:
        """The first of these positions (networks, decisions) whose network the gate admits and no
        trial has had.
        """
        for row in rows[self.problem.admits(self.problem.costs(rows))]:
            if self.problem.network(row.tolist()) not in self._known:
                return self.problem.space.choices(row.tolist())
        return None

    def draw(self) -> Choices:
        """Uniform among the fresh; any where a bounded number of draws met none of them, for the
        search to refuse.
        """
        rows = self.problem.draw(_DRAWS, self.numbers)
        return self.first_fresh(rows) or self.problem.space.choices(rows[0].tolist())

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return dict(distributions_of(self.problem.space))

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        begun = [
            past
            for past in study.get_trials(deepcopy=False)
            if len(past.params) == len(search_space)
        ]
        rows = self.problem.positions([past.params for past in begun])
        self._known = {self.problem.network(row) for row in rows.tolist()}
        complete = np.array([past.state == TrialState.COMPLETE for past in begun], dtype=bool)
        self.pending = rows[
            np.array([past.state == TrialState.RUNNING for past in begun], dtype=bool)
        ]
        return self.propose(
            [past for past in begun if past.state == TrialState.COMPLETE], rows[complete]
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
