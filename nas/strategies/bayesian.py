"""Bayesian optimization with a modeled score and an exact cost. This is the default strategy.

A Gaussian process models -log(1 - score) (`phinas.nas.surrogate`), in a search for a Pareto front
the score. The cost of every network is known exactly, and the reward is linear in the score, so the
expected improvement has a closed form. It is maximized by local search over single changes, from
the best measured networks and from random samples, as in BANANAS (White et al., arXiv:1910.11858).
The difference to BANANAS is that the cost is known and only the score is modeled.
"""

from collections.abc import Callable
from functools import cached_property

import numpy as np
from optuna.trial import FrozenTrial
from scipy.special import logsumexp

from phinas.nas.problem import COST, SCORE, Problem
from phinas.nas.strategies.base import JointSampler
from phinas.nas.strategies.local_search import Acquisition, optimize_acquisition
from phinas.nas.surrogate.accuracy_model import (
    failed_to_learn,
    fit_accuracy_model,
    fit_log_cost_model,
    select_trials,
)
from phinas.nas.surrogate.approximate_process import ApproximateProcess
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

# Number of random trials at the start. With 8 and -log(1 - score), the regret is 0.81 times that of
# 16 and the score itself after 25 evaluations, 0.86 times after 50 and 0.98 times after 100 (8
# settings on 4 landscapes, "Variants of bayesian" in benchmarks/strategies.md).
NUM_STARTUP_TRIALS = 8
_NUM_PARETO_STARTUP_TRIALS = 16
_NUM_RANDOM_CANDIDATES = 1024
# Measured networks with the best predicted rewards, from which the local search starts.
_NUM_MEASURED_CANDIDATES = 100
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
        selected = select_trials(scores)
        has_learned = ~failed_to_learn(scores)[selected]
        trial_rows = rows[selected][has_learned]
        acquisition = ExpectedImprovement(
            self.problem,
            model,
            self._make_cost_fn(finished, rows),
            trial_rows,
            model.trial_means[: len(selected)][has_learned],
            scale,
        )
        best_first = np.argsort(-acquisition.trial_rewards, kind="stable")
        return self._best_new(acquisition, trial_rows[best_first[:_NUM_MEASURED_CANDIDATES]])

    def _maximize_hypervolume(self, finished: list[FrozenTrial], rows: Indices) -> Choices | None:
        scores = _scores(finished)
        model = fit_accuracy_model(
            self.problem.features,
            rows,
            scores,
            pending_rows=self.pending_rows,
            floor_failures=False,  # a small, poor network may lie on the Pareto front
        )
        selected = select_trials(scores)
        acquisition = ExpectedHypervolumeImprovement(
            self.problem,
            model,
            self._make_cost_fn(finished, rows),
            rows[selected],
            model.trial_means[: len(selected)],
        )
        return self._best_new(acquisition, rows[selected])

    def _best_new(self, acquisition: Acquisition, measured_rows: Indices) -> Choices | None:
        """The best new network that a search from measured and random networks finds."""
        random_rows = self.problem.sample(_NUM_RANDOM_CANDIDATES, self.np_rng)
        return self.first_new_feasible(
            optimize_acquisition(self.problem, acquisition, measured_rows, random_rows, self.np_rng)
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
    """Logarithm of the expected improvement of the reward.

    The improvement is over the best predicted reward of the trials, because their measured rewards
    contain training noise.

    Args:
        problem: The search problem.
        model: Predicts the score on `scale`.
        cost_fn: Computes the cost in the reward.
        trial_rows: Trials of the model, (trials, decisions).
        trial_means: Their predictions, (trials,).
        scale: The scale of the model.

    Attributes:
        trial_rewards: The reward of each trial at its median predicted score, (trials,).
    """

    def __init__(
        self,
        problem: Problem,
        model: GaussianProcess,
        cost_fn: CostFn,
        trial_rows: Indices,
        trial_means: FloatArray,
        scale: ScoreScale = LINEAR_SCALE,
    ) -> None:
        self._problem, self._model, self._cost_fn, self._scale = problem, model, cost_fn, scale
        slope, intercept = problem.linear_coefficients(cost_fn(trial_rows))
        self.trial_rewards = slope * scale.invert(trial_means) + intercept
        self._best = float(self.trial_rewards.max())

    def __call__(self, indices: Indices) -> FloatArray:
        return self._value(self._model, indices)

    def approximate(self, indices: Indices) -> FloatArray:
        return self._value(self._approximate_model, indices)

    @cached_property
    def _approximate_model(self) -> ApproximateProcess:
        return ApproximateProcess(self._model)

    def _value(self, model: GaussianProcess | ApproximateProcess, indices: Indices) -> FloatArray:
        slope, intercept = self._problem.linear_coefficients(self._cost_fn(indices))
        mean, std = model.predict(self._problem.features(indices))
        return self._scale.log_expected_improvement(
            mean, std, self._best, slope=slope, intercept=intercept
        )


class ExpectedHypervolumeImprovement:
    """Logarithm of the expected improvement of the hypervolume.

    The hypervolume is the area under the front of score over log cost, up to _LOG_COST_MARGIN
    beyond the largest measured cost. The cost is exact, so the improvement is a sum over the
    segments between the costs of the front, each with its own expected improvement.

    Args:
        problem: The search problem.
        model: Predicts the score.
        cost_fn: Computes the cost.
        trial_rows: Trials of the model, (trials, decisions).
        trial_means: Their predictions, (trials,).
    """

    def __init__(
        self,
        problem: Problem,
        model: GaussianProcess,
        cost_fn: CostFn,
        trial_rows: Indices,
        trial_means: FloatArray,
    ) -> None:
        self._problem, self._model, self._cost_fn = problem, model, cost_fn
        costs = np.log(cost_fn(trial_rows))
        order = np.argsort(costs, kind="stable")
        self._segment_ends = np.append(costs[order], costs.max() + _LOG_COST_MARGIN)
        self._segment_scores = np.append(
            trial_means.min(), np.maximum.accumulate(trial_means[order])
        )

    def __call__(self, indices: Indices) -> FloatArray:
        return self._value(self._model, indices)

    def approximate(self, indices: Indices) -> FloatArray:
        return self._value(self._approximate_model, indices)

    @cached_property
    def _approximate_model(self) -> ApproximateProcess:
        return ApproximateProcess(self._model)

    def _value(self, model: GaussianProcess | ApproximateProcess, indices: Indices) -> FloatArray:
        costs = np.log(self._cost_fn(indices))
        mean, std = model.predict(self._problem.features(indices))
        segment_starts = np.maximum(np.append(-np.inf, self._segment_ends[:-1]), costs[:, None])
        with np.errstate(divide="ignore"):  # a segment of width 0 does not improve
            log_widths = np.log(np.maximum(self._segment_ends - segment_starts, 0.0))
        log_improvements = LINEAR_SCALE.log_expected_improvement(
            mean[:, None], std[:, None], self._segment_scores
        )
        return logsumexp(log_widths + log_improvements, axis=1)


def _scores(finished: list[FrozenTrial]) -> FloatArray:
    return np.array([trial.user_attrs[SCORE] for trial in finished], dtype=np.float64)
