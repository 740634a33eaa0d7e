"""Ours: learn the accuracy, know the cost, and measure next what promises most.

A Gaussian process learns accuracy from the trials so far (`phinas.nas.surrogate`), every network's
cost is known exactly, and the reward is a straight line in accuracy, so the improvement that a
network promises has a closed form. It is climbed over single changes, from the best networks
measured and from fresh samples. Bayesian optimisation of architectures with a local search of what
they promise is BANANAS' (White et al., arXiv:1910.11858); that cost is known and only accuracy
learned is the difference.
"""

from collections.abc import Callable

import numpy as np
from optuna.trial import FrozenTrial
from scipy.special import logsumexp

from phinas.nas.problem import ACCURACY, COST, Problem, distinct
from phinas.nas.strategies.base import WholeSampler
from phinas.nas.surrogate.accuracy_model import learn_accuracy, learn_log_cost, went_wrong
from phinas.nas.surrogate.acquisition import log_expected_improvement
from phinas.nas.surrogate.blas_threads import single_threaded_blas
from phinas.nas.surrogate.gaussian_process import Floats, GaussianProcess
from phinas.space.search_spaces.cost_tables import METRICS
from phinas.space.search_spaces.inactive_choices import Indices
from phinas.space.search_spaces.search_space import Choices

Prices = Callable[[Indices], Floats]  # (networks, decisions) -> (networks,)
Promise = Callable[[Indices], Floats]

# Trials drawn at random. Measured on Accel-NASBench's surrogate, 8 seeds, before features were
# grouped, regret x100 after 100 evaluations: with noise 8 0.73, 12 0.75, 16 0.36, 24 0.43, 32 0.56;
# without noise 8 0.14, 16 0.10, 24 0.13.
FIRST = 16
_FRESH = 1024  # random networks looked at for a proposal
_CENTRES = 10
_AROUND = 600  # neighbours looked at in a step of the climb
_STEPS = 12
_MARGIN = 0.1  # of the logarithm of cost, beyond the dearest network measured


class PredictorSampler(WholeSampler):
    """Proposes the network that promises most: for one reward its expected improvement, for a front
    that of its hypervolume.
    """

    @single_threaded_blas()
    def propose(self, finished: list[FrozenTrial], rows: Indices) -> Choices:
        if len(finished) < FIRST:
            return self.draw()
        accuracies = np.array([trial.user_attrs[ACCURACY] for trial in finished], dtype=np.float64)
        prices = self._prices(finished, rows)
        model = learn_accuracy(
            self.problem.features,
            rows,
            accuracies,
            pending=self.pending,
            # A small, poor network may lie on the Pareto front.
            floor_failures=not self.problem.pareto,
        )
        if self.problem.pareto:
            promise: Promise = Hypervolume(self.problem, model, prices, rows)
        else:
            promise = Improvement(self.problem, model, prices, rows[~went_wrong(accuracies)])
        pool = np.concatenate([rows, self.problem.draw(_FRESH, self.numbers)])
        return self.first_fresh(climb(self.problem, promise, pool, self.numbers)) or self.draw()

    def _prices(self, finished: list[FrozenTrial], rows: Indices) -> Prices:
        """The cost that the reward weighs: known, or learned from the trials where it has to be
        measured.
        """
        problem = self.problem
        if problem.known_costs:
            column = METRICS.index(problem.reward.metric)
            return lambda indices: problem.costs(indices)[:, column].astype(np.float64)
        model = learn_log_cost(
            problem.features, rows, np.array([trial.user_attrs[COST] for trial in finished])
        )
        return lambda indices: np.exp(model.mean(problem.features(indices)))


class Improvement:
    """The logarithm of the reward's expected improvement over the best that is believed of those
    measured (their own rewards are partly luck): (networks, decisions) -> (networks,)."""

    def __init__(
        self, problem: Problem, model: GaussianProcess, prices: Prices, measured: Indices
    ) -> None:
        self._problem, self._model, self._prices = problem, model, prices
        slope, intercept = problem.line(prices(measured))
        self._best = float((slope * model.mean(problem.features(measured)) + intercept).max())

    def __call__(self, indices: Indices) -> Floats:
        slope, intercept = self._problem.line(self._prices(indices))
        mean, deviation = self._model.predict(self._problem.features(indices))
        return log_expected_improvement(slope * mean + intercept, slope * deviation, self._best)


class Hypervolume:
    """The logarithm of the expected growth of the area under the front of accuracy over the
    logarithm of cost, up to a little beyond the dearest network measured. Cost is not in doubt, so
    the area is a sum of strips, each with an improvement of its own to be expected."""

    def __init__(
        self, problem: Problem, model: GaussianProcess, prices: Prices, measured: Indices
    ) -> None:
        self._problem, self._model, self._prices = problem, model, prices
        costs, accuracies = np.log(prices(measured)), model.mean(problem.features(measured))
        order = np.argsort(costs, kind="stable")
        self._ends = np.append(costs[order], costs.max() + _MARGIN)
        self._heights = np.append(accuracies.min(), np.maximum.accumulate(accuracies[order]))

    def __call__(self, indices: Indices) -> Floats:
        costs = np.log(self._prices(indices))
        mean, deviation = self._model.predict(self._problem.features(indices))
        begins = np.maximum(np.append(-np.inf, self._ends[:-1]), costs[:, None])
        with np.errstate(divide="ignore"):  # no strip, no growth
            widths = np.log(np.maximum(self._ends - begins, 0.0))
        grown = log_expected_improvement(mean[:, None], deviation[:, None], self._heights)
        return logsumexp(widths + grown, axis=1)


def climb(
    problem: Problem, promise: Promise, pool: Indices, generator: np.random.Generator
) -> Indices:
    """All networks met on the way from the best of `pool` to the best around them and so on, until
    none is better; those that promise most come first."""

    known: dict[
        bytes, float
    ] = {}  # the neighbours of one centre are met again at the next step, and looked at once

    def inside(indices: Indices) -> Floats:
        keys = [row.tobytes() for row in indices]
        fresh = {key: place for place, key in enumerate(keys) if key not in known}
        if fresh:
            rows = indices[list(fresh.values())]
            found = np.where(problem.admits(problem.costs(rows)), promise(rows), -np.inf)
            known.update(zip(fresh, found.tolist(), strict=True))
        return np.array([known[key] for key in keys])

    met, promised = [pool], [inside(pool)]
    centres, values = _best_of(pool, promised[0])
    for _ in range(_STEPS):
        around = problem.neighbours(centres, _AROUND, generator)
        met.append(around)
        promised.append(inside(around))
        centres, reached = _best_of(
            np.concatenate([centres, around]), np.concatenate([values, promised[-1]])
        )
        if np.array_equal(reached, values):
            break
        values = reached
    return np.concatenate(met)[np.argsort(-np.concatenate(promised), kind="stable")]


def _best_of(indices: Indices, values: Floats) -> tuple[Indices, Floats]:
    """The _CENTRES best different rows and their values, falling."""
    first = distinct(indices)
    order = first[np.argsort(-values[first], kind="stable")[:_CENTRES]]
    return indices[order], values[order]
