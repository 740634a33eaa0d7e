"""The search: ask, check the cost, train, tell, until the budget is spent or the space is
exhausted.

Under `reward_exponent: auto` the first trials are drawn at random and deferred: measured, but
without a value. When all of them have ended, the exponent is estimated from them and noted once and
for all, they get their rewards, and the strategy takes over. What is noted is never estimated
again, so a search that was killed anywhere goes on as an unbroken one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from optuna.trial import TrialState

from phinas.experiment.errors import InputError, NoResultError
from phinas.experiment.executors import Executor, Job, Result
from phinas.experiment.job_list import record_result, summarize_reasons
from phinas.experiment.measurement import Measurement
from phinas.experiment.schema.config import EXPONENT_ESTIMATION_TRIALS, SearchSection
from phinas.experiment.seeds import derive_seed
from phinas.experiment.trial_store import ORPHAN_REASON, ObjectiveValue, TrialStore
from phinas.nas.cost_constraint import CostConstraint, require_feasible
from phinas.nas.evaluators.interface import Evaluator
from phinas.nas.latency import LatencyCache
from phinas.nas.objective import (
    REWARD,
    make_latency_cache,
    make_search_reward,
    resolve_reward_exponent,
    score_unscored_trials,
)
from phinas.nas.pareto import pareto_front
from phinas.nas.problem import Problem, make_distributions
from phinas.nas.proposals import CandidateGenerator
from phinas.nas.pruning import TrialPruner, require_reports
from phinas.nas.reward import Reward
from phinas.nas.study import SPACE_CHANGED, InMemoryStudy
from phinas.nas.trial import (
    RunningTrial,
    Trial,
    analytic_cost,
    apply_reward,
    completed_trials,
    make_trial_attributes,
    recorded_cost,
)
from phinas.space.cost import network_cost
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.space.spec import ArchSpec
from phinas.training.timing.latency import LatencyTimer

ProgressCallback = Callable[[int, int, str], None]


@dataclass(frozen=True)
class SearchResult:
    """trials: the measured ones; reward: what their rewards follow, or, where the search was for a
    front, what is to choose from it; space_exhausted: the budget was not spent since no further
    network within the cost limits was found (in a space of at most MAX_ENUMERABLE networks: since
    there is none); exponent_explanation: where the exponent comes from, if it was estimated."""

    trials: list[Trial]
    reward: Reward
    space_exhausted: bool
    pareto: bool = False
    exponent_explanation: str = ""


def make_cost_constraint(section: SearchSection) -> CostConstraint:
    return CostConstraint(section.min_flops or 0.0, section.max_flops or math.inf)


class _SearchLoop:
    """A search while it runs. All of its state follows from the record, so a new one on the same
    record carries on.

    reward: None as long as its exponent is to be estimated: then the first trials are drawn at
    random, deferred, and never pruned.
    """

    def __init__(
        self,
        space: SearchSpace,
        section: SearchSection,
        reward: Reward | None,
        latency_cache: LatencyCache | None,
        *,
        seed: int,
        trial_store: TrialStore,
        executor: Executor,
        evaluator: Evaluator,
    ) -> None:
        self.section, self.seed = section, seed
        self.trial_store, self.executor = trial_store, executor
        self.evaluator, self.latency_cache = evaluator, latency_cache
        self.estimating_exponent = reward is None
        self.budget = EXPONENT_ESTIMATION_TRIALS if self.estimating_exponent else section.trials
        self.reward = reward or Reward("soft", 0.0, 1.0, section.cost)  # accuracy alone
        self.rows_to_restart = trial_store.recover()
        history = [
            row for row in trial_store.records() if row.user_attrs.get("reason") != ORPHAN_REASON
        ]
        self.problem = Problem(
            space, make_cost_constraint(section), self.reward, pareto=section.reward == "pareto"
        )
        self.study = InMemoryStudy(
            self.problem,
            "random" if self.estimating_exponent else section.strategy,
            seed=seed,
            history=history,
        )
        known_spec_ids = {row.user_attrs["spec_id"] for row in history}
        self.candidate_generator = CandidateGenerator(
            self.problem, self.study, known_spec_ids, seed=seed
        )
        self.next_proposal = len(history)
        self.num_finished = sum(row.state.is_finished() or row.is_unscored for row in history)
        self.trials = completed_trials(history)
        self.running_trials: dict[str, RunningTrial] = {}
        self.timing_trials: dict[str, RunningTrial] = {}
        self.space_exhausted = False
        # reasons since the last success; not from the record: its cause may have been removed
        self.recent_failures: list[str] = []
        self.pruner_name = "none" if self.estimating_exponent else section.pruner
        self.pruner = TrialPruner(self.pruner_name, epochs=section.recipe.epochs, seed=seed)
        self.pruner.replay(
            history,
            lambda row, accuracy: self.reward(
                accuracy, recorded_cost(self.reward.metric, row.user_attrs)
            ),
        )

    def run(self, on_progress: ProgressCallback) -> None:
        """Until the budget is spent or the space is exhausted."""
        on_progress(self.num_finished, self.section.trials, self.describe_progress())
        while True:
            self.start_trials()
            if not self.running_trials and not self.timing_trials:
                return
            text = self.process_next_result()
            on_progress(self.num_finished, self.section.trials, text)

    def start_trials(self) -> None:
        """Start trials in all free max_workers, those that a killed driver left first."""
        while len(self.running_trials) + len(self.timing_trials) < self.executor.max_workers:
            if self.rows_to_restart:
                row = self.rows_to_restart.pop(0)
                spec = ArchSpec.from_dict(row.user_attrs["spec"])
                self._submit(RunningTrial(row.number, row.user_attrs["proposal"], spec))
            elif self.next_proposal < self.budget and not self.space_exhausted:
                self._start_new_trial()
            else:
                return

    def process_next_result(self) -> str:
        """Wait for a job to end, record it and tell the strategy; says what it came to."""
        result = self.executor.next_result()
        if result.key in self.timing_trials:
            return self._process_timing(result)
        running_trial = self.running_trials.pop(result.key)
        trial_cost = self._get_cost(running_trial.spec)

        def compute_value(measurement: Measurement) -> ObjectiveValue | None:
            if self.estimating_exponent:
                return None
            reward = self.reward(measurement.accuracy, trial_cost)
            return [reward, trial_cost] if self.problem.pareto else reward

        outcome = record_result(
            self.trial_store,
            running_trial.number,
            result,
            compute_value=compute_value,
            intermediate_values=running_trial.reported_accuracies,
            pruning_reason=self._pruning_reason(running_trial),
        )
        if outcome.measurement is None:
            return self._record_failure(running_trial.proposal, outcome.reason)
        self.num_finished += 1
        self.recent_failures = []
        if outcome.reason:
            self.study.tell_pruned(
                running_trial.proposal,
                {
                    step: self.reward(accuracy, trial_cost)
                    for step, accuracy in running_trial.reported_accuracies.items()
                },
            )
            self.pruner.finish_trial(running_trial.proposal, TrialState.PRUNED)
            return f"{outcome.reason}; {self.describe_progress()}"
        reward = self.reward(outcome.measurement.accuracy, trial_cost)
        latency = self.latency_cache.latency_ms(running_trial.spec) if self.latency_cache else None
        trial = Trial(
            running_trial.number,
            running_trial.proposal,
            running_trial.spec,
            network_cost(running_trial.spec),
            reward,
            outcome.measurement,
            latency,
        )
        self.trials.append(trial)
        self.study.tell(running_trial.proposal, reward, outcome.measurement, trial_cost)
        self.pruner.finish_trial(running_trial.proposal, TrialState.COMPLETE)
        return self.describe_progress()

    def _process_timing(self, result: Result) -> str:
        """A network that was timed is trained now."""
        running_trial = self.timing_trials.pop(result.key)
        if result.value is None or self.latency_cache is None:
            reason = f"its latency could not be measured: {result.reason}"
            self.trial_store.fail(running_trial.number, reason, attempts=result.attempts)
            return self._record_failure(running_trial.proposal, reason)
        self.latency_cache.add(running_trial.spec, result.value)
        self._submit(running_trial)
        return self.describe_progress()

    def _record_failure(self, proposal: int, reason: str) -> str:
        """Tell the strategy of a failure. Raises NoResultError where there were too many in a
        row.
        """
        self.num_finished += 1
        self.study.tell(proposal, math.nan, None)
        self.pruner.finish_trial(proposal, TrialState.FAIL)
        self.recent_failures.append(reason)
        if len(self.recent_failures) < self.section.max_consecutive_failures:
            return f"a trial failed: {reason[:300]}"
        num_remaining = self.section.trials - self.num_finished
        advice = (
            f"then `phinas resume` goes on with the other {num_remaining}"
            if num_remaining
            else "and raise search.trials, or use a new --out"
        )
        raise NoResultError(
            f"{len(self.recent_failures)} trials in a row failed "
            "(search.max_consecutive_failures): "
            f"{summarize_reasons(self.recent_failures)}. "
            f"See to the cause, {advice}"
        )

    def describe_progress(self) -> str:
        """What the search has come to so far."""
        if not self.trials and not (self.estimating_exponent and self.num_finished):
            return "nothing measured yet"
        if self.estimating_exponent:
            return (
                f"{self.num_finished} of the first {self.budget} networks, drawn at random to "
                "estimate w from"
            )
        if self.problem.pareto:
            front = pareto_front(self.trials, self.reward.metric)
            return (
                f"front of {len(front)} networks, {front[0].accuracy:.1%} to "
                f"{front[-1].accuracy:.1%}"
            )
        best = max(self.trials, key=lambda trial: trial.reward)
        estimate_note = (
            f" (w = {self.reward.exponent:g}, estimated)"
            if self.section.reward_exponent == "auto"
            else ""
        )
        latency_text = f" and {best.latency_ms:.3g} ms" if best.latency_ms is not None else ""
        return (
            f"best {best.accuracy:.1%} at {best.cost.flops / 1e6:.3g}M "
            f"FLOPs{latency_text}{estimate_note}"
        )

    def _get_cost(self, spec: ArchSpec) -> float:
        return (
            self.latency_cache.latency_ms(spec)
            if self.latency_cache
            else analytic_cost(spec, self.reward.metric)
        )

    def _start_new_trial(self) -> None:
        candidate = self.candidate_generator.next_candidate(self.next_proposal)
        if candidate is None:
            self.space_exhausted = True
            return
        spec, choices, num_rejected = candidate
        proposal, self.next_proposal = self.next_proposal, self.next_proposal + 1
        self.pruner.add_trial(proposal)
        attributes = make_trial_attributes(proposal, spec, self._make_job(spec).key, num_rejected)
        number = self.trial_store.begin(
            choices, make_distributions(self.problem.space), **attributes
        )
        self._submit(RunningTrial(number, proposal, spec))

    def _submit(self, running_trial: RunningTrial) -> None:
        timing_job = self.latency_cache.make_job(running_trial.spec) if self.latency_cache else None
        if timing_job is not None:
            self.timing_trials[timing_job.key] = running_trial
            self.executor.submit(timing_job)
            return
        if self.latency_cache is not None:
            self.trial_store.set_user_attrs(
                running_trial.number, **self.latency_cache.trial_attributes(running_trial.spec)
            )
        job = self._make_job(running_trial.spec)
        self.running_trials[job.key] = running_trial
        self.executor.submit(
            job, None if self.pruner_name == "none" else partial(self._on_report, running_trial)
        )

    def _make_job(self, spec: ArchSpec) -> Job:
        # One seed for all: candidates share their luck with initial weights and data order as far
        # as they can.
        return self.evaluator.make_job(spec, self.section.recipe, derive_seed(self.seed, "search"))

    def _on_report(self, running_trial: RunningTrial, step: int, accuracy: float) -> bool:
        """Whether a trial goes on after what it reported. One that was begun again reports again,
        and is told the same.
        """
        if step not in running_trial.reported_accuracies:
            running_trial.reported_accuracies[step] = accuracy
            if self.pruner.should_prune(
                running_trial.proposal,
                step,
                self.reward(accuracy, self._get_cost(running_trial.spec)),
            ):
                running_trial.stop_step = step
        return running_trial.stop_step is None or step < running_trial.stop_step

    def _pruning_reason(self, running_trial: RunningTrial) -> str:
        if running_trial.stop_step is None:
            return ""
        accuracy, epochs = (
            running_trial.reported_accuracies[running_trial.stop_step],
            self.section.recipe.epochs,
        )
        return (
            f"pruned by {self.pruner_name} after {running_trial.stop_step} of {epochs} "
            f"epochs at {accuracy:.1%}"
        )


def search(
    space: SearchSpace,
    section: SearchSection,
    *,
    seed: int,
    trial_store: TrialStore,
    executor: Executor,
    evaluator: Evaluator,
    on_progress: ProgressCallback,
    latency_timer: LatencyTimer | None = None,
) -> SearchResult:
    """Spend the budget of `section.trials` on networks of `space`, carrying on from what
    `trial_store` has.

    `on_progress(done, total, text)` is called after each trial. latency_timer: times networks,
    where latency is the cost. Raises InputError where no network meets the constraint,
    NoResultError where trial after trial fails.
    """
    require_reports(section.pruner, section.evaluator, reports_progress=evaluator.reports_progress)
    if trial_store.distributions not in ({}, make_distributions(space)):
        raise InputError(f"search.space: {space.name!r} {SPACE_CHANGED}")
    if not trial_store.records():
        require_feasible(space, make_cost_constraint(section), seed=derive_seed(seed, "gate"))
    latency_cache = make_latency_cache(section, trial_store, latency_timer)
    target = (
        latency_cache.measure_now(space.base, executor)
        if latency_cache and section.target_cost is None
        else None
    )
    pareto = section.reward == "pareto"

    def run_loop(reward: Reward | None) -> bool:
        loop = _SearchLoop(
            space,
            section,
            reward,
            latency_cache,
            seed=seed,
            trial_store=trial_store,
            executor=executor,
            evaluator=evaluator,
        )
        loop.run(on_progress)
        return loop.space_exhausted

    estimate, space_exhausted = None, False
    if pareto:
        space_exhausted = run_loop(make_search_reward(section, space, exponent=0.0, target=target))
    elif section.reward_exponent == "auto" and REWARD not in trial_store.study_attrs:
        run_loop(None)
    if section.reward_exponent == "auto" or (pareto and section.reward_exponent is None):
        estimate = resolve_reward_exponent(trial_store, section, seed=seed)
    reward = make_search_reward(
        section, space, exponent=estimate.value if estimate else None, target=target
    )
    trial_store.set_study_attr(
        REWARD, reward.to_dict() | {"explanation": estimate.explanation if estimate else ""}
    )
    if not pareto:
        score_unscored_trials(trial_store, reward)
        space_exhausted = run_loop(reward)
    rows = trial_store.records()
    trials = completed_trials(rows)
    if not trials:
        reasons = [
            row.user_attrs["reason"] for row in rows if row.user_attrs["reason"] != ORPHAN_REASON
        ]
        raise NoResultError(f"no trial gave a measurement: {summarize_reasons(reasons)}")
    return SearchResult(
        apply_reward(trials, reward) if pareto else trials,
        reward,
        space_exhausted,
        pareto,
        estimate.explanation if estimate else "",
    )
