"""Bayesian optimization with a modeled score and an exact cost. This is the default strategy.

A Gaussian process models -log(1 - score) (`phinas.nas.surrogate`), in a search for a Pareto front
the score. The cost of every network is known exactly, and the reward is linear in the score, so the
expected improvement has a closed form. It is maximized by local search over single changes, from
the best measured networks and from random samples, as in BANANAS (White et al., arXiv:1910.11858).
The difference to BANANAS is that the cost is known and only the score is modeled.

The scores of paused and pruned trainings are measurements of the final ones with an error
(`phinas.nas.surrogate.curve_model`). Where trainings can be paused, `freeze_thaw` decides how far
each one runs.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from scipy.special import logsumexp

from phinas.nas.problem import Problem
from phinas.nas.strategies.freeze_thaw import (
    ImprovementFn,
    Training,
    choose_option,
    stop_epochs,
)
from phinas.nas.strategies.interface import Action, PastTrial, ResumeTraining, StartTraining
from phinas.nas.strategies.known_networks import KnownNetworks
from phinas.nas.strategies.local_search import Acquisition, optimize_acquisition
from phinas.nas.strategies.measured_trials import MeasuredTrials
from phinas.nas.surrogate.accuracy_model import (
    AccuracyModel,
    final_score_error_variances,
    fit_accuracy_model,
    fit_log_cost_model,
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
# The trials at the start that continue an earlier search, if there is one. The others are random.
_EARLIER_SEARCH_TRIALS = (1, 3)
_NUM_PARETO_STARTUP_TRIALS = 16
_NUM_RANDOM_CANDIDATES = 1024
# Measured networks with the best predicted rewards, from which the local search starts.
_NUM_MEASURED_CANDIDATES = 100
_MIN_ERROR_VARIANCE = 1e-12
_LOG_COST_MARGIN = 0.1  # beyond the logarithm of the largest measured cost


class BayesianStrategy:
    """Proposes the network with the largest expected improvement of the reward, or of the
    hypervolume of the Pareto front.

    Args:
        problem: The search problem.
        seed: Seed of the proposal, or its random numbers.
    """

    def __init__(self, problem: Problem, seed: int | np.random.Generator) -> None:
        self._problem = problem
        self._generator = np.random.default_rng(seed)

    def propose(self, history: Sequence[PastTrial]) -> Action:
        problem = self._problem
        known = KnownNetworks(problem, problem.to_indices([trial.choices for trial in history]))
        trials = MeasuredTrials.of(problem, history)
        num_startup = _NUM_PARETO_STARTUP_TRIALS if problem.pareto else NUM_STARTUP_TRIALS
        choices, acquisition = None, None
        with single_threaded_blas():
            if len(trials.rows) >= num_startup:
                acquisition, starts = self._make_acquisition(trials)
                choices = known.first_new_feasible(self._maximize(acquisition, starts))
            elif _continues_earlier_search(problem, history):
                choices = known.first_new_feasible(self._continue_earlier_search(history))
            if isinstance(acquisition, ExpectedImprovement) and problem.can_pause:
                action = self._choose_training(acquisition, trials, choices)
                if action is not None:
                    return action
        return StartTraining(choices or known.sample_new(self._generator))

    def _choose_training(
        self, acquisition: "ExpectedImprovement", trials: MeasuredTrials, choices: Choices | None
    ) -> Action | None:
        """Start a training or resume a paused one, whichever promises more per epoch.

        Args:
            acquisition: Fitted to the trials.
            trials: The trials so far.
            choices: A network that is not known. None if there is none.
        """
        problem = self._problem
        is_paused = trials.paused_epochs > 0
        rows = trials.rows[is_paused]
        numbers: list[int | None] = [*trials.numbers[is_paused].tolist()]
        epochs = trials.paused_epochs[is_paused].tolist()
        if choices is not None:
            rows = np.concatenate([rows, problem.to_indices([choices])])
            numbers.append(None)
            epochs.append(0)
        if not numbers:
            return None
        option = choose_option(
            acquisition.make_trainings(rows, numbers, epochs),
            problem.epochs,
            self._error_variances(acquisition, trials),
        )
        if option.training.trial is not None:
            return ResumeTraining(option.training.trial, option.epochs)
        assert choices is not None
        return StartTraining(choices, option.epochs if option.epochs < problem.epochs else None)

    def _error_variances(
        self, acquisition: "ExpectedImprovement", trials: MeasuredTrials
    ) -> dict[int, float]:
        """The variances for `choose_option`."""
        problem = self._problem
        variances = final_score_error_variances(
            problem.score_features,
            trials.rows,
            trials.curves,
            [
                *stop_epochs(problem.epochs),
                *np.unique(trials.paused_epochs[trials.paused_epochs > 0]).tolist(),
            ],
            scale=acquisition.scale,
        )
        return {
            epoch: max(acquisition.noise**2 + variance, _MIN_ERROR_VARIANCE)
            for epoch, variance in variances.items()
        }

    def _continue_earlier_search(self, history: Sequence[PastTrial]) -> Indices:
        """Networks that an earlier search would train next, the best one first. The searches take
        turns.
        """
        problem = self._problem
        search = problem.earlier_searches[len(history) // 2 % len(problem.earlier_searches)]
        known_rows = problem.to_indices([trial.choices for trial in history])
        # Without the predictions of earlier searches: the model is that of the search alone.
        strategy = BayesianStrategy(replace(problem, earlier_searches=()), self._generator)
        trials = MeasuredTrials.of_earlier_search(search, known_rows)
        return strategy._maximize(*strategy._make_acquisition(trials))

    def _make_acquisition(self, trials: MeasuredTrials) -> tuple[Acquisition, Indices]:
        """The acquisition function, and networks from which its local search starts."""
        return self._hypervolume(trials) if self._problem.pareto else self._improvement(trials)

    def _maximize(self, acquisition: Acquisition, starts: Indices) -> Indices:
        """Networks with large acquisition values, the largest one first."""
        random_rows = self._problem.sample(_NUM_RANDOM_CANDIDATES, self._generator)
        return optimize_acquisition(
            self._problem, acquisition, starts, random_rows, self._generator
        )

    def _improvement(self, trials: MeasuredTrials) -> tuple["ExpectedImprovement", Indices]:
        """The acquisition function of the reward, and the best measured networks."""
        scale = choose_scale(trials.curves[~np.isnan(trials.curves)])
        model = self._fit(trials, scale=scale)
        is_candidate = trials.can_be_best[model.trials]
        rows = trials.rows[model.trials][is_candidate]
        acquisition = ExpectedImprovement(
            self._problem,
            model.process,
            self._make_cost_fn(trials),
            rows,
            model.trial_means[is_candidate],
            scale,
        )
        best_first = np.argsort(-acquisition.trial_rewards, kind="stable")
        return acquisition, rows[best_first[:_NUM_MEASURED_CANDIDATES]]

    def _hypervolume(self, trials: MeasuredTrials) -> tuple[Acquisition, Indices]:
        """The acquisition function of the front, and the measured networks."""
        # No floor: a small, poor network may lie on the Pareto front.
        model = self._fit(trials, floor_failures=False)
        rows = trials.rows[model.trials]
        cost_fn = self._make_cost_fn(trials)
        return ExpectedHypervolumeImprovement(
            self._problem, model.process, cost_fn, rows, model.trial_means
        ), rows

    def _fit(
        self,
        trials: MeasuredTrials,
        *,
        scale: ScoreScale = LINEAR_SCALE,
        floor_failures: bool = True,
    ) -> AccuracyModel:
        return fit_accuracy_model(
            self._problem.score_features,
            trials.rows,
            trials.curves,
            scale=scale,
            pending_rows=trials.pending_rows,
            floor_failures=floor_failures,
        )

    def _make_cost_fn(self, trials: MeasuredTrials) -> CostFn:
        """The cost in the reward: exact, or learned from the trials if it has to be measured."""
        problem = self._problem
        if problem.has_analytic_costs:
            metric_index = METRICS.index(problem.reward.cost_metric)
            return lambda indices: problem.costs(indices)[:, metric_index].astype(np.float64)
        model = fit_log_cost_model(problem.features, trials.rows, trials.costs)
        return lambda indices: np.exp(model.mean(problem.features(indices)))


def _continues_earlier_search(problem: Problem, history: Sequence[PastTrial]) -> bool:
    """Whether the next trial at the start is one that an earlier search would train. A latency is
    not known before the first trials.
    """
    is_possible = bool(problem.earlier_searches) and problem.has_analytic_costs
    return is_possible and len(history) in _EARLIER_SEARCH_TRIALS


class _ModelAcquisition(ABC):
    """An acquisition function of the predicted score and the cost."""

    def __init__(self, problem: Problem, model: GaussianProcess) -> None:
        self._problem, self._model = problem, model

    def __call__(self, indices: Indices) -> FloatArray:
        return self._value(indices, *self._model.predict(self._problem.score_features(indices)))

    def approximate(self, indices: Indices) -> FloatArray:
        return self._value(
            indices, *self._approximate_model.predict(self._problem.score_features(indices))
        )

    @cached_property
    def _approximate_model(self) -> ApproximateProcess:
        return ApproximateProcess(self._model)

    @abstractmethod
    def _value(self, indices: Indices, mean: FloatArray, std: FloatArray) -> FloatArray:
        """The value of each network, from mean and standard deviation of its predicted score."""


class ExpectedImprovement(_ModelAcquisition):
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
        scale: The scale of the model.
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
        super().__init__(problem, model)
        self._cost_fn, self.scale = cost_fn, scale
        slope, intercept = problem.linear_coefficients(cost_fn(trial_rows))
        self.trial_rewards = slope * scale.invert(trial_means) + intercept
        self._best = float(self.trial_rewards.max())

    @property
    def noise(self) -> float:
        """Standard deviation of the noise of a final score on the scale."""
        return self._model.noise

    def make_trainings(
        self, rows: Indices, numbers: Sequence[int | None], epochs: Sequence[int]
    ) -> list[Training]:
        """Trainings of networks, for `choose_option`.

        Args:
            rows: (networks, decisions).
            numbers: Number of the paused trial of each network, or None.
            epochs: Epochs of each network so far.
        """
        means, stds = self._model.predict(self._problem.score_features(rows))
        slopes, intercepts = self._problem.linear_coefficients(self._cost_fn(rows))

        def improvement_fn(slope: float, intercept: float) -> ImprovementFn:
            def improvement(mean: FloatArray, std: FloatArray) -> FloatArray:
                log_improvement = self.scale.log_expected_improvement(
                    mean, std, self._best, slope=slope, intercept=intercept
                )
                return np.exp(log_improvement)

            return improvement

        return [
            Training(number, num_epochs, mean, std, improvement_fn(slope, intercept))
            for number, num_epochs, mean, std, slope, intercept in zip(
                numbers,
                epochs,
                means.tolist(),
                stds.tolist(),
                slopes.tolist(),
                intercepts.tolist(),
                strict=True,
            )
        ]

    def _value(self, indices: Indices, mean: FloatArray, std: FloatArray) -> FloatArray:
        slope, intercept = self._problem.linear_coefficients(self._cost_fn(indices))
        return self.scale.log_expected_improvement(
            mean, std, self._best, slope=slope, intercept=intercept
        )


class ExpectedHypervolumeImprovement(_ModelAcquisition):
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
        super().__init__(problem, model)
        self._cost_fn = cost_fn
        costs = np.log(cost_fn(trial_rows))
        order = np.argsort(costs, kind="stable")
        self._segment_ends = np.append(costs[order], costs.max() + _LOG_COST_MARGIN)
        self._segment_scores = np.append(
            trial_means.min(), np.maximum.accumulate(trial_means[order])
        )

    def _value(self, indices: Indices, mean: FloatArray, std: FloatArray) -> FloatArray:
        costs = np.log(self._cost_fn(indices))
        segment_starts = np.maximum(np.append(-np.inf, self._segment_ends[:-1]), costs[:, None])
        with np.errstate(divide="ignore"):  # a segment of width 0 does not improve
            log_widths = np.log(np.maximum(self._segment_ends - segment_starts, 0.0))
        log_improvements = LINEAR_SCALE.log_expected_improvement(
            mean[:, None], std[:, None], self._segment_scores
        )
        return logsumexp(log_widths + log_improvements, axis=1)
