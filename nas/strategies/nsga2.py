"""NSGA-II (Deb et al., IEEE Transactions on Evolutionary Computation 6(2), 2002): a genetic
algorithm for a high score and a low cost.

It sorts by score and cost and ignores the reward. The reward then selects one network from the
Pareto front. The generations follow from the history: `population_size` consecutive complete trials
are one generation. Optuna's NSGA-II sampler stores them in its study, which an interrupted search
does not have.
"""

import numpy as np
from optuna.trial import FrozenTrial

from phinas.nas.pareto import crowded_comparison_order
from phinas.nas.problem import COST, SCORE, Problem
from phinas.nas.strategies.base import JointSampler
from phinas.space.search_spaces.inactive_choices import Indices
from phinas.space.search_spaces.search_space import Choices

_MAX_CHILDREN = 32  # number of children of one proposal; the first new one is proposed


class NSGA2Sampler(JointSampler):
    """Proposes children of the best networks: binary tournaments, uniform crossover with
    probability 0.9, mutation of each choice with probability 1 / decisions.

    Args:
        problem: The search problem.
        seed: Seed of the proposal.
        population_size: N of the paper, which uses 100. The default is smaller because a search has
            fewer trials (measured).
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
        """The survivors of all complete generations, best first."""
        objectives = [(-trial.user_attrs[SCORE], trial.user_attrs[COST]) for trial in finished]
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
