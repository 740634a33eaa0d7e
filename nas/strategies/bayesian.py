"""Ours: learn the accuracy, know the cost, and measure next what promises most.

A Gaussian process learns accuracy from the trials so far (`phinas.nas.surrogate`), every network's
cost is known exactly, and the reward is a straight line in accuracy, so the improvement that a
network promises has a closed form. It is climbed over single changes, from the best networks
measured and from fresh samples. Bayesian optimization of architectures with a local search of what
they promise is BANANAS' (White et al., arXiv:1910.11858); that cost is known and only accuracy
learned is the difference.
"""

from collections.abc import Callable

import numpy as np
from optuna.trial import FrozenTrial
from scipy.special import logsumexp

from phinas.nas.problem import ACCURACY, COST, Problem, unique_row_indices
from phinas.nas.strategies.base import JointSampler
from phinas.nas.surrogate.accuracy_model import (
    failed_to_learn,
    fit_accuracy_model,
    fit_log_cost_model,
)
from phinas.nas.surrogate.acquisition import log_expected_improvement
from phinas.nas.surrogate.blas_threads import single_threaded_blas
from phinas.nas.surrogate.gaussian_process import FloatArray, GaussianProcess
from phinas.space.search_spaces.cost_tables import METRICS
from phinas.space.search_spaces.inactive_choices import Indices
from phinas.space.search_spaces.search_space import Choices

CostFn = Callable[[Indices], FloatArray]  # (networks, decisions) -> (networks,)
AcquisitionFn = Callable[[Indices], FloatArray]

# Trials drawn at random. Measured on Accel-NASBench's surrogate, 8 seeds, before features were
# grouped, regret x100 after 100 evaluations: with noise 8 0.73, 12 0.75, 16 0.36, 24 0.43, 32 0.56;
# without noise 8 0.14, 16 0.10, 24 0.13.
NUM_STARTUP_TRIALS = 16
_NUM_RANDOM_CANDIDATES = 1024  # random networks looked at for a proposal
_NUM_CENTERS = 10
_MAX_NEIGHBORS = 600  # neighbors looked at in a step of the climb
_MAX_STEPS = 12
_LOG_COST_MARGIN = 0.1  # of the logarithm of cost, beyond the largest cost measured


class BayesianSampler(JointSampler):
    """Proposes the network that promises most: for one reward its expected improvement, for a front
    that of its hypervolume.
    """

    @single_threaded_blas()
    def propose(self, finished: list[FrozenTrial], rows: Indices) -> Choices:
        if len(finished) < NUM_STARTUP_TRIALS:
            return self.sample_random()
        accuracies = np.array([trial.user_attrs[ACCURACY] for trial in finished], dtype=np.float64)
        cost_fn = self._make_cost_fn(finished, rows)
        model = fit_accuracy_model(
            self.problem.features,
            rows,
            accuracies,
            pending_rows=self.pending_rows,
            # A small, poor network may lie on the Pareto front.
            floor_failures=not self.problem.pareto,
        )
        if self.problem.pareto:
            acquisition: AcquisitionFn = ExpectedHypervolumeImprovement(
                self.problem, model, cost_fn, rows
            )
        else:
            acquisition = ExpectedImprovement(
                self.problem, model, cost_fn, rows[~failed_to_learn(accuracies)]
            )
        candidates = np.concatenate(
            [rows, self.problem.sample(_NUM_RANDOM_CANDIDATES, self.np_rng)]
        )
        return (
            self.first_new_feasible(
                optimize_acquisition(self.problem, acquisition, candidates, self.np_rng)
            )
            or self.sample_random()
        )

    def _make_cost_fn(self, finished: list[FrozenTrial], rows: Indices) -> CostFn:
        """The cost that the reward weighs: known, or learned from the trials where it has to be
        measured.
        """
        problem = self.problem
        if problem.has_analytic_costs:
            metric_index = METRICS.index(problem.reward.metric)
            return lambda indices: problem.costs(indices)[:, metric_index].astype(np.float64)
        model = fit_log_cost_model(
            problem.features, rows, np.array([trial.user_attrs[COST] for trial in finished])
        )
        return lambda indices: np.exp(model.mean(problem.features(indices)))


class ExpectedImprovement:
    """The logarithm of the reward's expected improvement over the best that is believed of those
    measured (their own rewards are partly luck): (networks, decisions) -> (networks,)."""

    def __init__(
        self, problem: Problem, model: GaussianProcess, cost_fn: CostFn, measured_rows: Indices
    ) -> None:
        self._problem, self._model, self._cost_fn = problem, model, cost_fn
        slope, intercept = problem.linear_coefficients(cost_fn(measured_rows))
        self._best = float((slope * model.mean(problem.features(measured_rows)) + intercept).max())

    def __call__(self, indices: Indices) -> FloatArray:
        slope, intercept = self._problem.linear_coefficients(self._cost_fn(indices))
        mean, std = self._model.predict(self._problem.features(indices))
        return log_expected_improvement(slope * mean + intercept, slope * std, self._best)


class ExpectedHypervolumeImprovement:
    """The logarithm of the expected growth of the area under the front of accuracy over the
    logarithm of cost, up to a little beyond the largest cost measured. Cost is not in doubt, so
    the area is a sum of strips, each with an improvement of its own to be expected."""

    def __init__(
        self, problem: Problem, model: GaussianProcess, cost_fn: CostFn, measured_rows: Indices
    ) -> None:
        self._problem, self._model, self._cost_fn = problem, model, cost_fn
        costs, accuracies = (
            np.log(cost_fn(measured_rows)),
            model.mean(problem.features(measured_rows)),
        )
        order = np.argsort(costs, kind="stable")
        self._segment_ends = np.append(costs[order], costs.max() + _LOG_COST_MARGIN)
        self._segment_accuracies = np.append(
            accuracies.min(), np.maximum.accumulate(accuracies[order])
        )

    def __call__(self, indices: Indices) -> FloatArray:
        costs = np.log(self._cost_fn(indices))
        mean, std = self._model.predict(self._problem.features(indices))
        segment_starts = np.maximum(np.append(-np.inf, self._segment_ends[:-1]), costs[:, None])
        with np.errstate(divide="ignore"):  # no strip, no growth
            log_widths = np.log(np.maximum(self._segment_ends - segment_starts, 0.0))
        log_improvements = log_expected_improvement(
            mean[:, None], std[:, None], self._segment_accuracies
        )
        return logsumexp(log_widths + log_improvements, axis=1)


def optimize_acquisition(
    problem: Problem,
    acquisition: AcquisitionFn,
    candidates: Indices,
    generator: np.random.Generator,
) -> Indices:
    """All networks met on the way from the best of `candidates` to the best around them and so on,
    until none is better; those that promise most come first."""

    value_by_row: dict[
        bytes, float
    ] = {}  # the neighbors of one center are met again at the next step, and looked at once

    def evaluate(indices: Indices) -> FloatArray:
        keys = [row.tobytes() for row in indices]
        new_positions = {
            key: position for position, key in enumerate(keys) if key not in value_by_row
        }
        if new_positions:
            rows = indices[list(new_positions.values())]
            new_values = np.where(
                problem.feasible_mask(problem.costs(rows)), acquisition(rows), -np.inf
            )
            value_by_row.update(zip(new_positions, new_values.tolist(), strict=True))
        return np.array([value_by_row[key] for key in keys])

    visited, acquisition_values = [candidates], [evaluate(candidates)]
    centers, values = _best_rows(candidates, acquisition_values[0])
    for _ in range(_MAX_STEPS):
        neighbors = problem.neighbors(centers, _MAX_NEIGHBORS, generator)
        visited.append(neighbors)
        acquisition_values.append(evaluate(neighbors))
        centers, updated_values = _best_rows(
            np.concatenate([centers, neighbors]), np.concatenate([values, acquisition_values[-1]])
        )
        if np.array_equal(updated_values, values):
            break
        values = updated_values
    return np.concatenate(visited)[np.argsort(-np.concatenate(acquisition_values), kind="stable")]


def _best_rows(indices: Indices, values: FloatArray) -> tuple[Indices, FloatArray]:
    """The _NUM_CENTERS best different rows and their values, falling."""
    first_indices = unique_row_indices(indices)
    order = first_indices[np.argsort(-values[first_indices], kind="stable")[:_NUM_CENTERS]]
    return indices[order], values[order]
