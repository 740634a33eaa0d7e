"""Bayesian optimization with a modeled score and an exact cost. This is the default strategy.

A Gaussian process models -log(1 - score) (`phinas.nas.surrogate`), in a search for a Pareto front
the score. The cost of every network is known exactly, and the reward is linear in the score, so the
expected improvement has a closed form. It is maximized by local search over single changes, from
the best measured networks and from random samples, as in BANANAS (White et al., arXiv:1910.11858).
The difference to BANANAS is that the cost is known and only the score is modeled.
"""

from collections.abc import Callable

import numpy as np
from optuna.trial import FrozenTrial
from scipy.special import logsumexp

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
from phinas.nas.surrogate.score_scale import LINEAR_SCALE, ScoreScale, choose_scale
from phinas.space.search_spaces.cost_tables import METRICS
from phinas.space.search_spaces.inactive_choices import Indices
from phinas.space.search_spaces.search_space import Choices

CostFn = Callable[[Indices], FloatArray]  # (networks, decisions) -> (networks,)
AcquisitionFn = Callable[[Indices], FloatArray]

# Number of random trials at the start. With 8 and -log(1 - score), the regret is 0.81 times that of
# 16 and the score itself after 25 evaluations, 0.86 times after 50 and 0.98 times after 100 (8
# settings on 4 landscapes, "Variants of bayesian" in benchmarks/strategies.md).
NUM_STARTUP_TRIALS = 8
_NUM_PARETO_STARTUP_TRIALS = 16
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
        pareto = self.problem.pareto
        if len(finished) < (_NUM_PARETO_STARTUP_TRIALS if pareto else NUM_STARTUP_TRIALS):
            return self.sample_random()
        with single_threaded_blas():
            maximize = self._maximize_hypervolume if pareto else self._maximize_reward
            return maximize(finished, rows) or self.sample_random()

    def _maximize_reward(self, finished: list[FrozenTrial], rows: Indices) -> Choices | None:
        scores = _scores(finished)
        scale = choose_scale(scores)
        model = fit_accuracy_model(
            self.problem.features, rows, scores, scale=scale, pending_rows=self.pending_rows
        )
        acquisition = ExpectedImprovement(
            self.problem,
            model,
            self._make_cost_fn(finished, rows),
            rows[~failed_to_learn(scores)],
            scale,
        )
        return self._best_new(acquisition, rows)

    def _maximize_hypervolume(self, finished: list[FrozenTrial], rows: Indices) -> Choices | None:
        model = fit_accuracy_model(
            self.problem.features,
            rows,
            _scores(finished),
            pending_rows=self.pending_rows,
            floor_failures=False,  # a small, poor network may lie on the Pareto front
        )
        cost_fn = self._make_cost_fn(finished, rows)
        return self._best_new(
            ExpectedHypervolumeImprovement(self.problem, model, cost_fn, rows), rows
        )

    def _best_new(self, acquisition: AcquisitionFn, measured_rows: Indices) -> Choices | None:
        """The best new network that a search from measured and random networks finds."""
        random_rows = self.problem.sample(_NUM_RANDOM_CANDIDATES, self.np_rng)
        candidates = np.concatenate([measured_rows, random_rows])
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

    The improvement is over the best predicted reward of the measured networks, because their
    measured rewards contain training noise.

    Args:
        problem: The search problem.
        model: Predicts the score on `scale`.
        cost_fn: Computes the cost in the reward.
        measured_rows: The measured networks, (networks, decisions).
        scale: The scale of the model.
    """

    def __init__(
        self,
        problem: Problem,
        model: GaussianProcess,
        cost_fn: CostFn,
        measured_rows: Indices,
        scale: ScoreScale = LINEAR_SCALE,
    ) -> None:
        self._problem, self._model, self._cost_fn, self._scale = problem, model, cost_fn, scale
        self._best = float(self.predict_rewards(measured_rows).max())

    def predict_rewards(self, indices: Indices) -> FloatArray:
        """The reward of each network at its median predicted score."""
        slope, intercept = self._problem.linear_coefficients(self._cost_fn(indices))
        scores = self._scale.invert(self._model.mean(self._problem.features(indices)))
        return slope * scores + intercept

    def __call__(self, indices: Indices) -> FloatArray:
        slope, intercept = self._problem.linear_coefficients(self._cost_fn(indices))
        mean, std = self._model.predict(self._problem.features(indices))
        return self._scale.log_expected_improvement(
            mean, std, self._best, slope=slope, intercept=intercept
        )


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
        log_improvements = LINEAR_SCALE.log_expected_improvement(
            mean[:, None], std[:, None], self._segment_scores
        )
        return logsumexp(log_widths + log_improvements, axis=1)


def _scores(finished: list[FrozenTrial]) -> FloatArray:
    return np.array([trial.user_attrs[SCORE] for trial in finished], dtype=np.float64)


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
