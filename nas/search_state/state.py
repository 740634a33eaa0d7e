"""The state of a search: one object that owns the record, the strategy's view and the pruner's view
of every trial, and keeps them consistent.

All of it follows from the record, so a new state on the same record continues the search.
"""

import math
from collections.abc import Callable, Mapping

from optuna.trial import TrialState

from phinas.experiment.measurement import Measurement
from phinas.experiment.schema.config import EXPONENT_ESTIMATION_TRIALS, SearchSection
from phinas.experiment.storage.trial_record import TrialRecord, drop_replaced
from phinas.experiment.storage.trial_store import TrialStore
from phinas.nas.problem import Problem, make_distributions
from phinas.nas.search_state.candidates import Candidate, CandidateGenerator
from phinas.nas.search_state.history import PastTrials
from phinas.nas.search_state.proposer import make_proposer
from phinas.nas.search_state.pruner import TrialPruner
from phinas.nas.strategies.interface import PastTrial, ResumeTraining
from phinas.nas.strategies.loading import load_strategy
from phinas.nas.trial import LatencyTiming, RunningTrial, Trial, TrialAttributes, completed_trials
from phinas.space.network import Network
from phinas.space.search_spaces.search_space import Choices
from phinas.space.spec import ArchSpec

MakeKey = Callable[[Network, Choices], str]


class SearchState:
    """Proposes trials and records their results.

    Args:
        problem: The search problem.
        section: The configuration of the search.
        trial_store: The record. Trials that an interrupted search left running are first
            marked to run again or to be replaced.
        seed: Seed of the search.
        estimating_exponent: The first trials are sampled at random to estimate the exponent of the
            reward. They get no objective value yet and are not pruned.

    Raises:
        InputError: The record is of another search space.
    """

    def __init__(
        self,
        problem: Problem,
        section: SearchSection,
        trial_store: TrialStore,
        *,
        seed: int,
        estimating_exponent: bool = False,
    ) -> None:
        self.problem, self.section = problem, section
        self._distributions = make_distributions(problem.space)
        self.estimating_exponent = estimating_exponent
        self._store = trial_store
        self._strategy = load_strategy("random" if estimating_exponent else section.strategy)
        self.budget = EXPONENT_ESTIMATION_TRIALS if estimating_exponent else section.trials
        self._restarts = [self._restart(record) for record in trial_store.recover()]
        records = drop_replaced(trial_store.records())
        self._past = PastTrials(problem, records)
        self._proposer = make_proposer(problem, self._strategy, seed=seed)
        for trial in self._past.in_order():
            self._proposer.add(trial)
        self._candidates = CandidateGenerator(
            problem, self._proposer, self._past.identities, seed=seed
        )
        self._pruner: TrialPruner | None = None
        if section.pruner != "none" and not estimating_exponent:
            self._pruner = TrialPruner(section.pruner, epochs=problem.epochs, seed=seed)
            self._pruner.replay(records, problem.reward)
        self._num_finished = sum(
            record.state.is_finished() or record.is_unscored for record in records
        )
        self.trials = completed_trials(records)
        self.space_exhausted = False
        # Reasons since the last success. Not from the record: the cause may have been removed.
        self.recent_failures: list[str] = []

    @property
    def num_done(self) -> int:
        """How much of the budget is done: finished trials, or the epochs of as many full trainings
        if trainings are paused and resumed.
        """
        if self.problem.can_pause:
            return self._past.finished_epochs // self.problem.epochs
        return self._num_finished

    @property
    def num_paused(self) -> int:
        return sum(trial.status == "paused" for trial in self._past.in_order())

    def next_trial(self, make_key: MakeKey) -> RunningTrial | None:
        """Record the next trial as running: one that was interrupted, or else a proposal.

        Args:
            make_key: The key of the training job of a network and its choices, for the record.

        Returns:
            The trial to train. None if the budget is spent, no network is left, or the strategy
            has no proposal within the rest of the budget.
        """
        if self._restarts:
            return self._restarts.pop(0)
        if self.space_exhausted and not self.problem.can_pause:
            return None
        remaining_epochs = self.budget * self.problem.epochs - self._past.spent_epochs
        if remaining_epochs < (1 if self.problem.can_pause else self.problem.epochs):
            return None
        proposal = self._candidates.next_candidate(self._past.num_actions)
        if proposal is None:
            self.space_exhausted = True
            return None
        if isinstance(proposal, ResumeTraining):
            return self._resume(proposal, remaining_epochs)
        return self._start(proposal, remaining_epochs, make_key)

    def _start(
        self, candidate: Candidate, remaining_epochs: int, make_key: MakeKey
    ) -> RunningTrial | None:
        epochs = candidate.epochs or self.problem.epochs
        if epochs > remaining_epochs:
            return None
        attributes = TrialAttributes.of(
            candidate.spec,
            proposal=len(self._past),
            key=make_key(candidate.spec, candidate.choices),
            num_rejected=candidate.num_rejected,
        )
        trial = self._past.start(attributes, candidate.choices, epochs)
        (self._proposer.accept if candidate.is_proposed else self._proposer.add)(trial)
        if self._pruner:
            self._pruner.add_trial(attributes.proposal)
        targets = {"target_epochs": [epochs]} if self.problem.can_pause else {}
        number = self._store.begin(
            candidate.choices,
            self._distributions,
            **attributes.to_dict(),
            **targets,
        )
        return RunningTrial(
            number, candidate.spec, candidate.choices, attributes, self._stop_epoch(epochs)
        )

    def _resume(self, action: ResumeTraining, remaining_epochs: int) -> RunningTrial | None:
        if action.epochs - self._past.target_epochs(action.trial) > remaining_epochs:
            return None
        record = self._record_of(action.trial)
        number = self._store.resume(record, action.epochs)
        self._proposer.update(self._past.resume(action.trial, action.epochs))
        return self._restart(self._store.record(number))

    def _restart(self, record: TrialRecord) -> RunningTrial:
        """The training of a trial that is recorded as running."""
        attributes = TrialAttributes.from_record(record)
        stop_epoch = self._stop_epoch(record.target_epochs[-1]) if record.target_epochs else None
        spec = ArchSpec.from_dict(attributes.spec)
        return RunningTrial(record.number, spec, record.params, attributes, stop_epoch)

    def _stop_epoch(self, epochs: int) -> int | None:
        return epochs if epochs < self.problem.epochs else None

    def _record_of(self, proposal: int) -> TrialRecord:
        return next(
            record
            for record in drop_replaced(self._store.records())
            if TrialAttributes.from_record(record).proposal == proposal
        )

    def record_latency(self, trial: RunningTrial, timing: LatencyTiming) -> None:
        """Record the latency of a trial's network, before its training."""
        self._store.set_user_attrs(trial.number, **timing.to_dict())
        trial.attributes = self._past.add_latency(trial.attributes, timing)

    @property
    def needs_reports(self) -> bool:
        """Whether `report` has to be called after each epoch."""
        return self._pruner is not None

    def report(self, trial: RunningTrial, epoch: int, score: float) -> bool:
        """Record a reported score.

        A training that is retried reports the same epochs again and gets the same answers.

        Returns:
            Whether the training continues.
        """
        if self._pruner and epoch not in trial.reported_scores:
            trial.reported_scores[epoch] = score
            reward = self._past.reward(trial.proposal, score)
            if self._pruner.should_prune(trial.proposal, epoch, reward):
                trial.pruned_at = epoch
        return trial.pruned_at is None or epoch < trial.pruned_at

    def finish(self, trial: RunningTrial, measurement: Measurement, *, attempts: int) -> str:
        """Record the result of a training: it is complete, paused or pruned, or it fails because
        its reward is not a finite number or its metric is not that of the other trials.

        Returns:
            Why the trial has no objective value; empty if it is complete or paused.
        """
        reward = self._past.reward(trial.proposal, measurement.score)
        reason = self._find_defect(measurement, reward)
        if reason:
            self.fail(trial, reason, attempts=attempts)
            return reason
        self.recent_failures = []
        if trial.pruned_at is not None:
            return self._prune(trial, trial.pruned_at, measurement, attempts=attempts)
        if trial.stop_epoch is not None:
            self._pause(trial, trial.stop_epoch, measurement, attempts=attempts)
        else:
            self._complete(trial, reward, measurement, attempts=attempts)
        return ""

    def _find_defect(self, measurement: Measurement, reward: float) -> str:
        """Why a measurement cannot be compared with the others; empty if it can."""
        if not math.isfinite(reward):
            return f"its reward {reward} is not a finite number"
        metric = self.trials[0].measurement.metric if self.trials else measurement.metric
        if measurement.metric != metric:
            return f"its metric {measurement.metric!r} is not {metric!r}, that of the other trials"
        return ""

    def _complete(
        self, trial: RunningTrial, reward: float, measurement: Measurement, *, attempts: int
    ) -> None:
        value = [reward, self._past.cost(trial.proposal)] if self.problem.pareto else reward
        scores = trial.reported_scores or dict(enumerate(measurement.curve, start=1))
        self._store.complete(
            trial.number,
            None if self.estimating_exponent else value,
            measurement,
            scores,
            attempts=attempts,
        )
        self.trials.append(
            Trial.of(trial.number, trial.spec, trial.choices, trial.attributes, reward, measurement)
        )
        past_trial = self._past.complete(trial.proposal, scores, measurement.score, reward)
        self._end(past_trial, TrialState.COMPLETE)

    def _end(self, trial: PastTrial, state: TrialState) -> None:
        """Tell the strategy and the pruner that a trial is finished."""
        self._num_finished += 1
        self._proposer.update(trial)
        if self._pruner:
            self._pruner.finish_trial(trial.number, state)

    def _prune(
        self, trial: RunningTrial, epoch: int, measurement: Measurement, *, attempts: int
    ) -> str:
        reason = (
            f"pruned by {self.section.pruner} after {epoch} of {self.problem.epochs} epochs at "
            f"{trial.reported_scores[epoch]:.1%}"
        )
        self._store.prune(
            trial.number, reason, measurement, trial.reported_scores, attempts=attempts
        )
        past_trial = self._past.end(trial.proposal, "pruned", trial.reported_scores)
        self._end(past_trial, TrialState.PRUNED)
        return reason

    def _pause(
        self, trial: RunningTrial, epochs: int, measurement: Measurement, *, attempts: int
    ) -> None:
        curve = trial.reported_scores or dict(enumerate(measurement.curve, start=1))
        scores: Mapping[int, float] = curve | {epochs: measurement.score}
        self._store.pause(
            trial.number, measurement, epochs=epochs, intermediate_values=scores, attempts=attempts
        )
        self._proposer.update(self._past.end(trial.proposal, "paused", scores))

    def fail(self, trial: RunningTrial, reason: str, *, attempts: int, traceback: str = "") -> None:
        """Record why a trial has no result."""
        self._store.fail(
            trial.number, reason, trial.reported_scores, attempts=attempts, traceback=traceback
        )
        past_trial = self._past.end(trial.proposal, "failed", trial.reported_scores)
        self._end(past_trial, TrialState.FAIL)
        self.recent_failures.append(reason)

    def close_paused(self) -> None:
        """Record the paused trainings as pruned, at the end of the search. A search with a larger
        budget may still resume them.
        """
        for record in self._store.records():
            if not record.is_paused:
                continue
            (epochs,) = record.paused_epochs
            self._store.close_paused(
                record,
                f"paused after {epochs} of {self.problem.epochs} epochs at "
                f"{record.measurement.score:.1%} when the search ended",
            )
