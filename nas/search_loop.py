"""The loop of a search: get the next trial, train its network and record the result, until the
budget is spent or no network is left.
"""

from collections.abc import Callable
from functools import partial

from phinas.experiment.errors import NoResultError
from phinas.experiment.executors import Executor, Job, Result
from phinas.experiment.job_list import read_result, summarize_reasons
from phinas.experiment.seeds import derive_seed
from phinas.nas.evaluators.interface import Evaluator
from phinas.nas.latency import LatencyCache
from phinas.nas.pareto import pareto_front
from phinas.nas.search_state.pauses import SearchPauses
from phinas.nas.search_state.state import SearchState
from phinas.nas.trial import LatencyTiming, RunningTrial
from phinas.space.network import Network
from phinas.space.search_spaces.search_space import Choices

ProgressCallback = Callable[[int, int, str], None]


class SearchLoop:
    """Runs the trials of a search on an executor."""

    def __init__(
        self,
        state: SearchState,
        executor: Executor,
        evaluator: Evaluator,
        latency_cache: LatencyCache | None,
        pauses: SearchPauses,
        *,
        seed: int,
    ) -> None:
        self.state, self.executor, self.evaluator = state, executor, evaluator
        self.latency_cache, self.pauses = latency_cache, pauses
        # One seed for all networks: they share initialization and data order as far as possible.
        self.training_seed = derive_seed(seed, "search")
        self.running_trials: dict[str, RunningTrial] = {}
        self.timing_trials: dict[str, RunningTrial] = {}

    def run(self, on_progress: ProgressCallback) -> None:
        """Run until the budget is spent or no network is left."""
        state, total = self.state, self.state.section.trials
        on_progress(state.num_done, total, describe_progress(state))
        while True:
            self._start_trials()
            if not self.running_trials and not self.timing_trials:
                self.state.close_paused()
                self.pauses.close()
                return
            message = self._process(self.executor.next_result())
            progress = describe_progress(state)
            on_progress(state.num_done, total, f"{message}; {progress}" if message else progress)

    def _start_trials(self) -> None:
        while len(self.running_trials) + len(self.timing_trials) < self.executor.max_workers:
            trial = self.state.next_trial(
                lambda network, choices: self._make_job(network, choices).key
            )
            if trial is None:
                return
            self._submit(trial)

    def _submit(self, trial: RunningTrial) -> None:
        if self.latency_cache is not None:
            timing_job = self.latency_cache.make_job(trial.spec)
            if timing_job is not None:
                self.timing_trials[timing_job.key] = trial
                self.executor.submit(timing_job)
                return
            self.state.record_latency(trial, self.latency_cache.timing(trial.spec))
        job = self.pauses.prepare(
            self._make_job(trial.spec, trial.choices, stop_epoch=trial.stop_epoch)
        )
        self.running_trials[job.key] = trial
        on_report = partial(self.state.report, trial) if self.state.needs_reports else None
        self.executor.submit(job, on_report)

    def _make_job(
        self, network: Network, choices: Choices, *, stop_epoch: int | None = None
    ) -> Job:
        return self.evaluator.make_job(
            network,
            self.state.section.recipe,
            self.training_seed,
            stop_epoch=stop_epoch,
            choices=self._canonical_choices(choices),
        )

    def _canonical_choices(self, choices: Choices) -> Choices | None:
        """The choices for the evaluator, if it asks for them."""
        if not self.evaluator.uses_choices:
            return None
        return self.state.problem.canonical_choices(choices)

    def _process(self, result: Result) -> str:
        """Record the result of a job.

        Returns:
            Why the trial has no objective value. Empty if it has one, or if it is not finished.
        """
        if result.key in self.timing_trials:
            return self._process_timing(result)
        trial = self.running_trials.pop(result.key)
        outcome = read_result(result)
        if outcome.measurement is None:
            self.pauses.remove(result)
            return self._fail(trial, outcome.reason, result)
        message = self.state.finish(trial, outcome.measurement, attempts=result.attempts)
        if trial.stop_epoch is not None and not message:
            self.pauses.store(result, trial, outcome.measurement)
        else:
            self.pauses.remove(result)
        if self.state.recent_failures:
            self._check_failures()
        return message

    def _process_timing(self, result: Result) -> str:
        """Record the timing of a network and start its training."""
        trial = self.timing_trials.pop(result.key)
        if result.value is None or self.latency_cache is None:
            reason = f"its latency could not be measured: {result.reason}"
            return self._fail(trial, reason, result)
        self.latency_cache.add(trial.spec, LatencyTiming.from_dict(result.value))
        self._submit(trial)
        return ""

    def _fail(self, trial: RunningTrial, reason: str, result: Result) -> str:
        self.state.fail(trial, reason, attempts=result.attempts, traceback=result.traceback)
        self._check_failures()
        return f"trial {trial.number} failed: {reason[:300]}"

    def _check_failures(self) -> None:
        """Raises NoResultError if too many trials in a row have failed."""
        reasons, section = self.state.recent_failures, self.state.section
        if len(reasons) < section.max_consecutive_failures:
            return
        num_remaining = section.trials - self.state.num_done
        advice = (
            f"then `phinas resume` runs the other {num_remaining} trials"
            if num_remaining
            else "and raise search.trials, or use a new --out"
        )
        raise NoResultError(
            f"{len(reasons)} trials in a row failed (search.max_consecutive_failures): "
            f"{summarize_reasons(reasons)}. Remove the cause, {advice}"
        )


def describe_progress(state: SearchState) -> str:
    """The best trial so far, or the range of the Pareto front."""
    if state.estimating_exponent and state.num_done:
        return (
            f"{state.num_done} of {state.budget} random networks from which the reward exponent is "
            "estimated"
        )
    if not state.trials:
        num_paused = state.num_paused
        paused = f", {num_paused} paused" if num_paused else ""
        return f"no trial is complete yet{paused}"
    reward = state.problem.reward
    if state.problem.pareto:
        front = pareto_front(state.trials, reward.cost_metric)
        return (
            f"Pareto front of {len(front)} networks, {front[0].score:.1%} to {front[-1].score:.1%}"
        )
    best = max(state.trials, key=lambda trial: trial.reward)
    latency = f", {best.latency_ms:.3g} ms" if best.latency_ms is not None else ""
    exponent = (
        f" (w = {reward.exponent:g}, estimated)" if state.section.reward_exponent == "auto" else ""
    )
    return (
        f"best so far {best.score:.1%} with {best.cost.flops / 1e6:.3g}M FLOPs{latency}{exponent}"
    )
