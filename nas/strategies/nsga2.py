"""NSGA-II (Deb et al., IEEE Transactions on Evolutionary Computation 6(2), 2002): high accuracy at
a low cost, both at once.

It sorts by accuracy (up) and cost (down) and never looks at the reward: what it finds is the whole
front, of which the reward then picks one network. Generations follow from the history: `population`
finished trials after another make one. Optuna's own keeps them in the study it runs on, which a
search that was killed does not have.
"""

import numpy as np
from optuna.trial import FrozenTrial

from phinas.nas.pareto import crowded_comparison_order
from phinas.nas.problem import ACCURACY, COST, Problem
from phinas.nas.strategies.base import JointSampler
from phinas.space.search_spaces.inactive_choices import Indices
from phinas.space.search_spaces.search_space import Choices

_MAX_CHILDREN = 32  # children, to find one that is fresh


class NSGA2Sampler(JointSampler):
    """population_size: N of the paper, which has 100; smaller here, since a search here has fewer
    trials (chosen by measurement).

    Binary tournaments, uniform crossover with probability 0.9, each choice mutated with probability
    1 / decisions.
    """

    def __init__(self, problem: Problem, seed: int, *, population_size: int = 16) -> None:
        super().__init__(problem, seed)
        self._population_size = population_size

    def propose(self, finished: list[FrozenTrial], rows: Indices) -> Choices:
        parents = self._parents(finished)
        if not parents:
            return self.sample_random()
        children = [self._child(parents) for _ in range(_MAX_CHILDREN)]
        return self.first_new_feasible(self.problem.to_indices(children)) or children[0]

    def _parents(self, finished: list[FrozenTrial]) -> list[Choices]:
        """The survivors of all generations that are full, best first."""
        objectives = [(-trial.user_attrs[ACCURACY], trial.user_attrs[COST]) for trial in finished]
        losses = np.array(objectives, dtype=np.float64).reshape(len(finished), 2)
        survivors = np.array([], dtype=np.int64)
        for end in range(self._population_size, len(finished) + 1, self._population_size):
            survivors = np.concatenate([survivors, np.arange(end - self._population_size, end)])
            survivors = survivors[
                crowded_comparison_order(losses[survivors])[: self._population_size]
            ]
        return [finished[index].params for index in survivors.tolist()]

    def _child(self, parents: list[Choices]) -> Choices:
        first_parent, second_parent = (
            self._tournament_winner(parents),
            self._tournament_winner(parents),
        )
        has_crossover = self.rng.random() < 0.9
        child = {
            name: second_parent[name]
            if has_crossover and self.rng.random() < 0.5
            else first_parent[name]
            for name in first_parent
        }
        for decision in self.problem.space.decisions:
            other_values = [value for value in decision.values if value != child[decision.name]]
            if other_values and self.rng.random() < 1 / len(child):
                child[decision.name] = self.rng.choice(other_values)
        return child

    def _tournament_winner(self, parents: list[Choices]) -> Choices:
        return parents[min(self.rng.randrange(len(parents)), self.rng.randrange(len(parents)))]
