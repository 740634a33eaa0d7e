"""Ours: learn the accuracy, know the cost, and measure next what promises most.

A Gaussian process learns accuracy from the trials so far (`accuracy_model`), every network's cost is known exactly, and the
reward is a straight line in accuracy, so the improvement that a network promises has a closed form. It is climbed over
single changes, from the best networks measured and from fresh samples. Bayesian optimisation of architectures with a local
search of what they promise is BANANAS' (White et al., arXiv:1910.11858); that cost is known and only accuracy learned is the
difference.
"""

from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from nas.accuracy_model import learn
from nas.acquisition import log_expected_improvement
from nas.gaussian_process import Floats, GaussianProcess
from nas.problem import ACCURACY, Problem, distinct
from space.idle import Idleness, Indices, Mask

FIRST = 8  # trials drawn at random (measured: 4, 8 and 16 do alike)
_FRESH = 1024  # random networks looked at for a proposal
_CENTRES = 10
_AROUND = 600  # neighbours looked at in a step of the climb
_STEPS = 12


class PredictorSampler(BaseSampler):
    """Proposes the network whose reward promises the greatest expected improvement."""

    def __init__(self, problem: Problem, *, seed: int) -> None:
        self._problem = problem
        self._generator = np.random.default_rng(seed)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Decide on all choices at once."""
        others = [other for other in study.get_trials(deepcopy=False) if other.number != trial.number]
        self._chosen = self._problem.space.choices(self._propose(others).tolist())

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._chosen[param_name]

    def _propose(self, others: list[FrozenTrial]) -> Indices:
        """The positions of the network to measure next."""
        problem = self._problem
        known = Known(problem, problem.indices(other.params for other in others))
        done = [other for other in others if other.state == TrialState.COMPLETE]
        fresh = problem.draw(_FRESH, self._generator)
        if len(done) < FIRST:
            new = fresh[~known.among(fresh)]
            return new[0] if len(new) else fresh[0]
        measured = problem.indices(other.params for other in done)
        accuracies = np.array([other.user_attrs[ACCURACY] for other in done])
        pending = problem.indices(other.params for other in others if other.state == TrialState.RUNNING)
        promise = Promise(problem, learn(problem, measured, accuracies, pending=pending), measured)
        return climb(problem, promise, known, np.concatenate([measured, fresh]), self._generator)


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


class Known:
    """The networks that need no second look: measured, under way or refused."""

    def __init__(self, problem: Problem, indices: Indices) -> None:
        self._idleness = Idleness(problem.space)
        self._rows = set(map(bytes, self._idleness.canonical(indices)))

    def among(self, indices: Indices) -> Mask:
        """Which of these are known."""
        return np.array([bytes(row) in self._rows for row in self._idleness.canonical(indices)], dtype=bool)


def climb(problem: Problem, promise: Promise, known: Known, pool: Indices, generator: np.random.Generator) -> Indices:
    """The unknown network of the greatest promise that was met: from the best of `pool` to the best around them, until
    nothing better is met."""
    centres, values = _best_of(pool, promise(pool))
    chosen, most = pool[-1], -np.inf
    for _ in range(_STEPS):
        around = np.concatenate([centres, problem.neighbours(centres, _AROUND, generator)])
        promised = promise(around)
        unknown = np.where(known.among(around), -np.inf, promised)
        if unknown.max() > most:
            chosen, most = around[unknown.argmax()], unknown.max()
        centres, reached = _best_of(around, promised)
        if np.array_equal(reached, values):
            break
        values = reached
    return chosen


def _best_of(indices: Indices, values: Floats) -> tuple[Indices, Floats]:
    """The _CENTRES best different rows and their values, falling."""
    first = distinct(indices)
    order = first[np.argsort(-values[first], kind="stable")[:_CENTRES]]
    return indices[order], values[order]
