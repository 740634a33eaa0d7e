"""Ours: learn the accuracy, know the cost, and measure next what promises most.

A Gaussian process learns accuracy from the trials so far (`accuracy_model`), every network's cost is known exactly, and the
reward is a straight line in accuracy, so the improvement that a network promises has a closed form. It is climbed over
single changes, from the best networks measured and from fresh samples. Bayesian optimisation of architectures with a local
search of what they promise is BANANAS' (White et al., arXiv:1910.11858); that cost is known and only accuracy learned is the
difference.
"""

import numpy as np
from optuna.trial import FrozenTrial

from nas.accuracy_model import learn
from nas.acquisition import log_expected_improvement
from nas.gaussian_process import Floats, GaussianProcess
from nas.problem import ACCURACY, Problem, distinct
from nas.strategies.whole import WholeSampler
from space.idle import Indices
from space.search_space import Choices

FIRST = 8  # trials drawn at random (measured: 4, 8 and 16 do alike)
_FRESH = 1024  # random networks looked at for a proposal
_CENTRES = 10
_AROUND = 600  # neighbours looked at in a step of the climb
_STEPS = 12


class PredictorSampler(WholeSampler):
    """Proposes the network whose reward promises the greatest expected improvement."""

    def propose(self, finished: list[FrozenTrial], rows: Indices) -> Choices:
        if len(finished) < FIRST:
            return self.draw()
        accuracies = np.array([trial.user_attrs[ACCURACY] for trial in finished])
        promise = Promise(self.problem, learn(self.problem, rows, accuracies, pending=self.pending), rows)
        pool = np.concatenate([rows, self.problem.draw(_FRESH, self.numbers)])
        return self.first_fresh(climb(self.problem, promise, pool, self.numbers)) or self.draw()


class Promise:
    """How much a network promises, given what was learned: the logarithm of its reward's expected improvement over the best
    that is believed of those measured (their own rewards are partly luck)."""

    def __init__(self, problem: Problem, model: GaussianProcess, measured: Indices) -> None:
        self._problem, self._model = problem, model
        slope, intercept = problem.lines(problem.costs(measured))
        self._best = float((slope * model.mean(problem.features(measured)) + intercept).max())

    def __call__(self, indices: Indices) -> Floats:
        """(networks, decisions) -> (networks,); minus infinity outside the gate."""
        costs = self._problem.costs(indices)
        slope, intercept = self._problem.lines(costs)
        mean, deviation = self._model.predict(self._problem.features(indices))
        value = log_expected_improvement(slope * mean + intercept, slope * deviation, self._best)
        return np.where(self._problem.admits(costs), value, -np.inf)


def climb(problem: Problem, promise: Promise, pool: Indices, generator: np.random.Generator) -> Indices:
    """All networks met on the way from the best of `pool` to the best around them and so on, until none is better; those
    that promise most come first."""
    met, promised = [pool], [promise(pool)]
    centres, values = _best_of(pool, promised[0])
    for _ in range(_STEPS):
        around = problem.neighbours(centres, _AROUND, generator)
        met.append(around)
        promised.append(promise(around))
        centres, reached = _best_of(np.concatenate([centres, around]), np.concatenate([values, promised[-1]]))
        if np.array_equal(reached, values):
            break
        values = reached
    return np.concatenate(met)[np.argsort(-np.concatenate(promised), kind="stable")]


def _best_of(indices: Indices, values: Floats) -> tuple[Indices, Floats]:
    """The _CENTRES best different rows and their values, falling."""
    first = distinct(indices)
    order = first[np.argsort(-values[first], kind="stable")[:_CENTRES]]
    return indices[order], values[order]
