"""NSGA-II (Deb et al., IEEE Transactions on Evolutionary Computation 6(2), 2002): high accuracy and few FLOPs, both at once.

It sorts by accuracy (up) and FLOPs (down) and never looks at the reward: what it finds is the whole front, of which the
reward then picks one network. Generations follow from the history: `population` finished trials after another make one.
Optuna's own keeps them in the study it runs on, which a search that was killed does not have.
"""

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial

from nas.problem import ACCURACY, Problem
from nas.strategies.whole import FLOPS, WholeSampler
from space.idle import Indices
from space.search_space import Choices

_TRIES = 32  # children, to find one that is fresh


def ranks(losses: NDArray[np.float64]) -> NDArray[np.int64]:
    """The front that each of (members, objectives) is on: 0 if no other dominates it, 1 if only those on front 0 do, ..."""
    no_worse: NDArray[np.bool_] = np.all(losses[:, None] <= losses[None], axis=2)
    dominates = no_worse & ~no_worse.T
    found = np.full(len(losses), -1)
    while (found < 0).any():
        left = found < 0
        found[left & ~dominates[left].any(0)] = found.max() + 1
    return found


def crowding(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each member of one front is from its two neighbours, over all objectives; infinite at the ends."""
    distance = np.zeros(len(losses))
    for column in losses.T:
        order = np.argsort(column, kind="stable")
        distance[order[[0, -1]]] = np.inf
        width = column[order[-1]] - column[order[0]]
        if width > 0:
            distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / width
    return distance


def best_first(losses: NDArray[np.float64]) -> NDArray[np.int64]:
    """Members by the paper's crowded comparison: the earlier front first, and on one front the less crowded."""
    front = ranks(losses)
    distance = np.zeros(len(losses))
    for rank in range(front.max() + 1):
        distance[front == rank] = crowding(losses[front == rank])
    return np.lexsort((-distance, front))


class NSGA2Sampler(WholeSampler):
    """population: N of the paper, which has 100; smaller here, since a search here has fewer trials (chosen by measurement).

    Binary tournaments, uniform crossover with probability 0.9, each choice mutated with probability 1 / decisions.
    """

    def __init__(self, problem: Problem, seed: int, *, population: int = 16) -> None:
        super().__init__(problem, seed)
        self._population = population

    def propose(self, finished: list[FrozenTrial], rows: Indices) -> Choices:
        parents = self._parents(finished, rows)
        if not parents:
            return self.draw()
        children = [self._child(parents) for _ in range(_TRIES)]
        return self.first_fresh(self.problem.positions(children)) or children[0]

    def _parents(self, finished: list[FrozenTrial], rows: Indices) -> list[Choices]:
        """The survivors of all generations that are full, best first."""
        flops = self.problem.costs(rows)[:, FLOPS]
        accuracies = np.array([trial.user_attrs[ACCURACY] for trial in finished], dtype=np.float64)
        losses = np.stack([-accuracies, flops.astype(np.float64)], axis=1)
        alive = np.array([], dtype=np.int64)
        for end in range(self._population, len(finished) + 1, self._population):
            alive = np.concatenate([alive, np.arange(end - self._population, end)])
            alive = alive[best_first(losses[alive])[: self._population]]
        return [finished[index].params for index in alive.tolist()]

    def _child(self, parents: list[Choices]) -> Choices:
        one, other = self._winner(parents), self._winner(parents)
        crossed = self.generator.random() < 0.9
        child = {name: other[name] if crossed and self.generator.random() < 0.5 else one[name] for name in one}
        for decision in self.problem.space.decisions:
            others = [value for value in decision.values if value != child[decision.name]]
            if others and self.generator.random() < 1 / len(child):
                child[decision.name] = self.generator.choice(others)
        return child

    def _winner(self, parents: list[Choices]) -> Choices:
        return parents[min(self.generator.randrange(len(parents)), self.generator.randrange(len(parents)))]
