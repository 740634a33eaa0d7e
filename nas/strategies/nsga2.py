"""NSGA-II (Deb et al., IEEE Transactions on Evolutionary Computation 6(2), 2002): high accuracy at
a low cost, both at once.

It sorts by accuracy (up) and cost (down) and never looks at the reward: what it finds is the whole
front, of which the reward then picks one network. Generations follow from the history: `population`
finished trials after another make one. Optuna's own keeps them in the study it runs on, which a
search that was killed does not have.
"""

import numpy as np
from optuna.trial import FrozenTrial

from phinas.nas.pareto import best_first
from phinas.nas.problem import ACCURACY, COST, Problem
from phinas.nas.strategies.base import WholeSampler
from phinas.space.search_spaces.inactive_choices import Indices
from phinas.space.search_spaces.search_space import Choices

_TRIES = 32  # children, to find one that is fresh


class NSGA2Sampler(WholeSampler):
    """population: N of the paper, which has 100; smaller here, since a search here has fewer trials
    (chosen by measurement).

    Binary tournaments, uniform crossover with probability 0.9, each choice mutated with probability
    1 / decisions.
    """

    def __init__(self, problem: Problem, seed: int, *, population: int = 16) -> None:
        super().__init__(problem, seed)
        self._population = population

    def propose(self, finished: list[FrozenTrial], rows: Indices) -> Choices:
        parents = self._parents(finished)
        if not parents:
            return self.draw()
        children = [self._child(parents) for _ in range(_TRIES)]
        return self.first_fresh(self.problem.positions(children)) or children[0]

    def _parents(self, finished: list[FrozenTrial]) -> list[Choices]:
        """The survivors of all generations that are full, best first."""
        aims = [(-trial.user_attrs[ACCURACY], trial.user_attrs[COST]) for trial in finished]
        losses = np.array(aims, dtype=np.float64).reshape(len(finished), 2)
        alive = np.array([], dtype=np.int64)
        for end in range(self._population, len(finished) + 1, self._population):
            alive = np.concatenate([alive, np.arange(end - self._population, end)])
            alive = alive[best_first(losses[alive])[: self._population]]
        return [finished[index].params for index in alive.tolist()]

    def _child(self, parents: list[Choices]) -> Choices:
        one, other = self._winner(parents), self._winner(parents)
        crossed = self.generator.random() < 0.9
        child = {
            name: other[name] if crossed and self.generator.random() < 0.5 else one[name]
            for name in one
        }
        for decision in self.problem.space.decisions:
            others = [value for value in decision.values if value != child[decision.name]]
            if others and self.generator.random() < 1 / len(child):
                child[decision.name] = self.generator.choice(others)
        return child

    def _winner(self, parents: list[Choices]) -> Choices:
        return parents[
            min(self.generator.randrange(len(parents)), self.generator.randrange(len(parents)))
        ]
