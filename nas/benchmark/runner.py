"""The benchmark of one strategy with one seed, as a job of plain data.

Strategies of phinas and of a user run in the same search as in `phinas search`, with a record in
memory. Strategies of other libraries run in `third_party`. All get the scores of the evaluator with
noise, if noise is configured. `true_rewards` are without noise.
"""

import json
import time
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import optuna

from phinas.experiment.artifacts.bench import BenchRun
from phinas.experiment.errors import InputError
from phinas.experiment.executors import Executor, Job, Result
from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.executors.interface import ReportCallback, import_function
from phinas.experiment.measurement import Measurement
from phinas.experiment.schema.config import SearchSection
from phinas.experiment.seeds import derive_seed
from phinas.experiment.storage.trial_store import TrialStore
from phinas.nas.benchmark.third_party import THIRD_PARTY_STRATEGIES
from phinas.nas.evaluators import make_evaluator
from phinas.nas.evaluators.interface import Evaluator
from phinas.nas.objective import make_search_reward
from phinas.nas.problem import Problem, make_pool
from phinas.nas.search import make_cost_constraint, search
from phinas.nas.strategies import STRATEGIES
from phinas.nas.strategies.loading import load_strategy
from phinas.nas.trial import analytic_cost
from phinas.space.search_spaces.loading import load_space
from phinas.space.search_spaces.search_space import Choices, SearchSpace
from phinas.space.spec import ArchSpec

BENCHMARK_STRATEGIES = (*STRATEGIES, *THIRD_PARTY_STRATEGIES)
# A proposal of Optuna's Gaussian process takes several times as long as any other (793 ms next to
# 102 ms of `bayesian`, on a busy machine with 60 trials).
_SLOW_STRATEGIES = ("optuna-gp",)
# A strategy of another library that finds no network within the cost limits is stopped.
MAX_OUTSIDE_LIMITS = 1000


def default_strategies(evaluator: Evaluator, *, pruner: str) -> tuple[str, ...]:
    """The strategies that can be compared on an evaluator, but the slowest one."""
    return tuple(
        name
        for name in BENCHMARK_STRATEGIES
        if name not in _SLOW_STRATEGIES and not _find_obstacle(name, evaluator, pruner=pruner)
    )


def require_benchmark_strategy(name: str, evaluator: Evaluator, *, pruner: str, key: str) -> None:
    """Check that a strategy can be compared on an evaluator.

    Args:
        name: One of BENCHMARK_STRATEGIES, or "package.module:Class" for a user's strategy.
        evaluator: The evaluator.
        pruner: The value of `search.pruner`.
        key: The option that names the strategy, for error messages.

    Raises:
        InputError: The strategy does not exist, or the benchmark does not suit it.
    """
    if ":" not in name and name not in BENCHMARK_STRATEGIES:
        names = ", ".join(BENCHMARK_STRATEGIES)
        raise InputError(f"{key}: {name!r} is none of {names}, package.module:Class")
    obstacle = _find_obstacle(name, evaluator, pruner=pruner, key=key)
    if obstacle:
        raise InputError(f"{key}: {name} {obstacle}; leave it out")


def _find_obstacle(
    name: str, evaluator: Evaluator, *, pruner: str, key: str = "search.strategy"
) -> str:
    """Why a strategy cannot be compared. Empty if it can."""
    if name in THIRD_PARTY_STRATEGIES:
        if evaluator.pool is not None:
            return "proposes any network, and the evaluator knows only some"
        return "" if pruner == "none" else f"cannot be pruned (search.pruner: {pruner})"
    if load_strategy(name, key=key).pausing != "required":
        return ""
    if not evaluator.supports_pausing:
        return "pauses and resumes trainings, and the evaluator cannot pause"
    return "" if pruner == "none" else f"decides itself which trainings end, not {pruner}"


@dataclass(frozen=True, slots=True)
class _Evaluation:
    """An evaluated network: its choices, its spec, the key of its job and its reward with noise."""

    choices: Choices
    spec: ArchSpec
    key: str
    reward: float


class _CountingExecutor(InlineExecutor):
    """Counts the epochs of all jobs, and measures the time from a result to the next job: recording
    the result and proposing the next network.

    Args:
        epochs: Epochs of a full training.

    Attributes:
        seconds: The times.
        spent: For the key of each job, the full trainings that all jobs together had taken when its
            result came.
    """

    def __init__(self, epochs: int) -> None:
        super().__init__(1)
        self.seconds: list[float] = []
        self.spent: dict[str, float] = {}
        self._full_epochs, self._total_epochs = epochs, 0
        self._trained_epochs: dict[str, int] = {}  # by training, paused or not
        self._training = ""
        self._last_result_time = time.perf_counter()

    def submit(self, job: Job, on_report: ReportCallback | None = None) -> None:
        self.seconds.append(time.perf_counter() - self._last_result_time)
        self._training = json.dumps(job.payload | {"stop_epoch": None}, sort_keys=True)
        super().submit(job, on_report)

    def next_result(self) -> Result:
        result = super().next_result()
        epochs = (result.value or {}).get("epochs") or self._full_epochs
        before = self._trained_epochs.get(self._training, 0)
        self._trained_epochs[self._training] = max(epochs, before)
        self._total_epochs += max(0, epochs - before)
        self.spent[result.key] = self._total_epochs / self._full_epochs
        self._last_result_time = time.perf_counter()
        return result


def run_strategy(
    *, strategy: str, space: str, section: dict[str, Any], seed: int
) -> dict[str, Any]:
    """The job: search with one strategy and one seed.

    Args:
        strategy: One of BENCHMARK_STRATEGIES, or "package.module:Class".
        space: The name or path of the search space.
        section: A SearchSection as plain data.
        seed: The random seed of the strategy.

    Returns:
        A BenchRun as plain data. Failed evaluations are left out.
    """
    options = SearchSection(**section)
    search_space = load_space(space)
    noisy_evaluator = make_evaluator(options, None, limit_seconds=3600.0)
    noiseless_evaluator = make_evaluator(
        options.model_copy(update={"noise_std": 0.0}), None, limit_seconds=3600.0
    )
    with closing(_CountingExecutor(options.recipe.epochs)) as executor:
        is_third_party = strategy in THIRD_PARTY_STRATEGIES
        run_fn = _run_third_party_strategy if is_third_party else _run_phinas_strategy
        evaluations = run_fn(strategy, search_space, options, noisy_evaluator, executor, seed)
    reward = make_search_reward(options, search_space, exponent=None)
    rewards = [evaluation.reward for evaluation in evaluations]
    true_rewards = rewards
    problem = _make_problem(search_space, options, noisy_evaluator)
    if options.noise_std:
        true_rewards = [
            reward(
                _look_up_score(noiseless_evaluator, evaluation, options, problem),
                analytic_cost(evaluation.spec, reward.cost_metric),
            )
            for evaluation in evaluations
        ]
    run = BenchRun(
        rewards=tuple(rewards),
        true_rewards=tuple(true_rewards),
        flops=tuple(evaluation.spec.cost().flops for evaluation in evaluations),
        spent=tuple(executor.spent[evaluation.key] for evaluation in evaluations),
        seconds=tuple(executor.seconds),
        network_ids=tuple(evaluation.spec.network_id for evaluation in evaluations),
        decisions=tuple(decision.name for decision in search_space.decisions),
        choices=tuple(
            tuple(evaluation.choices[decision.name] for decision in search_space.decisions)
            for evaluation in evaluations
        ),
    )
    return run.to_file_dict()


def _make_problem(space: SearchSpace, options: SearchSection, evaluator: Evaluator) -> Problem:
    return Problem(
        space,
        make_cost_constraint(options),
        make_search_reward(options, space),
        scores_choices=evaluator.uses_choices,
        pool=make_pool(space, evaluator.pool),
    )


def _look_up_score(
    evaluator: Evaluator, evaluation: _Evaluation, options: SearchSection, problem: Problem
) -> float:
    """The score of a network, computed in this process."""
    choices = problem.canonical_choices(evaluation.choices) if evaluator.uses_choices else None
    job = evaluator.make_job(evaluation.spec, options.recipe, 0, choices=choices)
    return Measurement.from_dict(import_function(job.function)(**job.payload)).score


def _run_phinas_strategy(
    strategy: str,
    space: SearchSpace,
    options: SearchSection,
    evaluator: Evaluator,
    executor: Executor,
    seed: int,
) -> list[_Evaluation]:
    result = search(
        space,
        options.model_copy(update={"strategy": strategy}),
        seed=seed,
        trial_store=TrialStore(optuna.create_study(direction="maximize")),
        executor=executor,
        evaluator=evaluator,
        on_progress=lambda *_: None,
    )
    problem = _make_problem(space, options, evaluator)
    evaluations = []
    for trial in result.trials:
        choices = trial.choices or {}
        job = _make_job(evaluator, trial.spec, choices, problem, options, seed)
        evaluations.append(_Evaluation(choices, trial.spec, job.key, trial.reward))
    return evaluations


def _make_job(
    evaluator: Evaluator,
    spec: ArchSpec,
    choices: Choices,
    problem: Problem,
    options: SearchSection,
    seed: int,
) -> Job:
    """The job of a full training in the search of a run."""
    canonical_choices = problem.canonical_choices(choices) if evaluator.uses_choices else None
    return evaluator.make_job(
        spec, options.recipe, derive_seed(seed, "search"), choices=canonical_choices
    )


def _run_third_party_strategy(
    name: str,
    space: SearchSpace,
    options: SearchSection,
    evaluator: Evaluator,
    executor: Executor,
    seed: int,
) -> list[_Evaluation]:
    problem = _make_problem(space, options, evaluator)
    reward = problem.reward
    evaluations: list[_Evaluation] = []
    num_outside = 0  # proposals in a row that are outside the cost limits

    def evaluate(choices: Choices) -> tuple[float, bool]:
        nonlocal num_outside
        spec = space.decode(choices)
        if not problem.cost_constraint.is_satisfied(spec.cost().flops):
            num_outside += 1
            if num_outside > MAX_OUTSIDE_LIMITS:
                raise RuntimeError(
                    f"{MAX_OUTSIDE_LIMITS} proposals in a row are outside search.min_flops and "
                    "search.max_flops; leave the strategy out, or widen the limits"
                )
            return min((evaluation.reward for evaluation in evaluations), default=0.0), False
        num_outside = 0
        executor.submit(_make_job(evaluator, spec, choices, problem, options, seed))
        result = executor.next_result()
        if result.value is None:
            raise RuntimeError(f"the evaluator failed: {result.reason}")
        observed_reward = reward(
            Measurement.from_dict(result.value).score, analytic_cost(spec, reward.cost_metric)
        )
        evaluations.append(_Evaluation(choices, spec, result.key, observed_reward))
        return observed_reward, True

    THIRD_PARTY_STRATEGIES[name](space, evaluate, options.trials, seed)
    return evaluations
