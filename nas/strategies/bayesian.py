"""Bayesian optimization with a modeled score and an exact cost. This is the default strategy.

A Gaussian process models the score (`phinas.nas.surrogate`). The cost of every network is known
exactly, and the reward is linear in the score, so the expected improvement has a closed form. It is
maximized by local search over single changes, from the best measured networks and from random
samples, as in BANANAS (White et al., arXiv:1910.11858). The difference to BANANAS is that the cost
is known and only the score is modeled.
"""

from collections.abc import Callable

import numpy as np
from optuna.trial import FrozenTrial
from scipy.special import erfcx, logsumexp, ndtr

from phinas.nas.problem import COST, SCORE, Problem, unique_row_indices
from phinas.nas.strategies.base import JointSampler
from phinas.nas.surrogate.accuracy_model import (
    failed_to_learn,
    fit_accuracy_model,
    fit_log_cost_model,
)
from phinas.nas.surrogate.gaussian_process import (
    FloatArray,
    GaussianProcess,
    single_threaded_blas,
)
from phinas.space.search_spaces.cost_tables import METRICS
from phinas.space.search_spaces.inactive_choices import Indices
from phinas.space.search_spaces.search_space import Choices

CostFn = Callable[[Indices], FloatArray]  # (networks, decisions) -> (networks,)
AcquisitionFn = Callable[[Indices], FloatArray]

# Number of random trials at the start. Measured on the surrogate of Accel-NASBench with 8 seeds,
# before features were grouped: regret x100 after 100 evaluations. With noise: 0.73 for 8 trials,
# 0.75 for 12, 0.36 for 16, 0.43 for 24, 0.56 for 32. Without noise: 0.14 for 8, 0.10 for 16, 0.13
# for 24.
NUM_STARTUP_TRIALS = 16
_NUM_RANDOM_CANDIDATES = 1024
_NUM_CENTERS = 10
_MAX_NEIGHBORS = 600  # in one step of the local search
_MAX_STEPS = 12
_LOG_COST_MARGIN = 0.1  # beyond the logarithm of the largest measured cost


class BayesianSampler(JointSampler):
    """Proposes the network with the largest expected improvement of the reward, or of the
    hypervolume of the Pareto front.
    """

    def propose(self, finished: list[FrozenTrial], rows: Indices) -> Choices:
        if len(finished) < NUM_STARTUP_TRIALS:
            return self.sample_random()
        with single_threaded_blas():
            return self._maximize_acquisition(finished, rows) or self.sample_random()

    def _maximize_acquisition(self, finished: list[FrozenTrial], rows: Indices) -> Choices | None:
        scores = np.array([trial.user_attrs[SCORE] for trial in finished], dtype=np.float64)
        cost_fn = self._make_cost_fn(finished, rows)
        model = fit_accuracy_model(
            self.problem.features,
            rows,
            scores,
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
                self.problem, model, cost_fn, rows[~failed_to_learn(scores)]
            )
        candidates = np.concatenate(
            [rows, self.problem.sample(_NUM_RANDOM_CANDIDATES, self.np_rng)]
        )
        return self.first_new_feasible(
            optimize_acquisition(self.problem, acquisition, candidates, self.np_rng)
        )

    def _make_cost_fn(self, finished: list[FrozenTrial], rows: Indices) -> CostFn:
        """The cost in the reward: exact, or learned from the trials if it has to be measured."""
        problem = self.problem
        if problem.has_analytic_costs:
            metric_index = METRICS.index(problem.reward.cost_metric)
            return lambda indices: problem.costs(indices)[:, metric_index].astype(np.float64)
        model = fit_log_cost_model(
            problem.features, rows, np.array([trial.user_attrs[COST] for trial in finished])
        )
        return lambda indices: np.exp(model.mean(problem.features(indices)))


class ExpectedImprovement:
    """Logarithm of the expected improvement of the reward, (networks, decisions) -> (networks,).

    The improvement is over the best posterior mean of the measured networks, because their measured
    rewards contain training noise.
    """

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
    """Logarithm of the expected improvement of the hypervolume, (networks, decisions) ->
    (networks,).

    The hypervolume is the area under the front of score over log cost, up to _LOG_COST_MARGIN
    beyond the largest measured cost. The cost is exact, so the improvement is a sum over the
    segments between the costs of the front, each with its own expected improvement.
    """

    def __init__(
        self, problem: Problem, model: GaussianProcess, cost_fn: CostFn, measured_rows: Indices
    ) -> None:
        self._problem, self._model, self._cost_fn = problem, model, cost_fn
        costs, scores = (
            np.log(cost_fn(measured_rows)),
            model.mean(problem.features(measured_rows)),
        )
        order = np.argsort(costs, kind="stable")
        self._segment_ends = np.append(costs[order], costs.max() + _LOG_COST_MARGIN)
        self._segment_scores = np.append(scores.min(), np.maximum.accumulate(scores[order]))

    def __call__(self, indices: Indices) -> FloatArray:
        costs = np.log(self._cost_fn(indices))
        mean, std = self._model.predict(self._problem.features(indices))
        segment_starts = np.maximum(np.append(-np.inf, self._segment_ends[:-1]), costs[:, None])
        with np.errstate(divide="ignore"):  # a segment of width 0 does not improve
            log_widths = np.log(np.maximum(self._segment_ends - segment_starts, 0.0))
        log_improvements = log_expected_improvement(
            mean[:, None], std[:, None], self._segment_scores
        )
        return logsumexp(log_widths + log_improvements, axis=1)


def log_expected_improvement(
    mean: FloatArray, std: FloatArray, best: float | FloatArray
) -> FloatArray:
    """Logarithm of the expected improvement, log E[max(0, X - best)] for normal X (Jones et al.,
    1998).

    The form does not underflow far below `best` (Ament et al., arXiv:2310.20708, equation 9).

    Args:
        mean: Means of X.
        std: Standard deviations of X, above 0.
        best: The best value so far.
    """
    z = (mean - best) / std
    clipped_z = np.maximum(z, -1.0)
    log_direct = np.log(
        np.exp(-(clipped_z**2) / 2) / np.sqrt(2 * np.pi) + clipped_z * ndtr(clipped_z)
    )
    # Below -1000 the last term loses precision, and it changes little.
    far_z = np.clip(z, -1e3, -1.0)
    log_tail = (
        -(z**2) / 2
        - np.log(2 * np.pi) / 2
        + np.log1p(np.sqrt(np.pi / 2) * erfcx(-far_z / np.sqrt(2)) * far_z)
    )
    return np.log(std) + np.where(z > -1.0, log_direct, log_tail)


def optimize_acquisition(
    problem: Problem,
    acquisition: AcquisitionFn,
    candidates: Indices,
    generator: np.random.Generator,
) -> Indices:
    """Local search from the best candidates to their best neighbors, until none is better.

    Returns:
        All networks that were evaluated, best first, (networks, decisions).
    """
    # Neighbors of one center occur again at the next step, and are evaluated once.
    value_by_row: dict[bytes, float] = {}

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
    """The _NUM_CENTERS best distinct rows and their values, in falling order."""
    first_indices = unique_row_indices(indices)
    order = first_indices[np.argsort(-values[first_indices], kind="stable")[:_NUM_CENTERS]]
    return indices[order], values[order]
