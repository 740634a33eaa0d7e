"""Proposers: they get proposals from a strategy, and report to it what becomes of the trials.

A sampler gets an in-memory Optuna study, because a proposal from SQLite takes one commit for each
choice (measured: 60 ms for 28 choices). The trials of that study, without rejected proposals, are
those of the record in the same order. So proposals depend on the record only, not on how often the
search was interrupted.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from phinas.experiment.errors import InputError
from phinas.experiment.executors.interface import describe_failure
from phinas.experiment.seeds import derive_seed
from phinas.experiment.storage.optuna_study import OptunaStudy
from phinas.experiment.storage.trial_store import Direction
from phinas.nas.problem import COST, SCORE, Problem, make_distributions
from phinas.nas.strategies.interface import Action, PastTrial, ResumeTraining, StartTraining
from phinas.nas.strategies.loading import LoadedStrategy
from phinas.space.search_spaces.search_space import Choices

_STATES = {
    "running": TrialState.RUNNING,
    "paused": TrialState.RUNNING,
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


class Proposer(Protocol):
    """Gets proposals from a strategy and reports trials to it.

    After `ask`, call either `accept` or `reject` before the next `ask`.
    """

    def ask(self, number: int, attempt: int) -> Action:
        """Get a proposal from the strategy.

        Args:
            number: Number of the proposal.
            attempt: Number of rejected attempts at this proposal. Each has another seed.

        Raises:
            InputError: A user's strategy raises an error, or its proposal is not legal.
        """

    def accept(self, trial: PastTrial) -> None:
        """Report that the last proposal has become this running trial."""

    def reject(self) -> None:
        """Report that the last proposal was rejected."""

    def add(self, trial: PastTrial) -> None:
        """Add a trial that the strategy did not propose, or that is read from the record."""

    def update(self, trial: PastTrial) -> None:
        """Report the new state of a trial."""


def make_proposer(problem: Problem, strategy: LoadedStrategy, *, seed: int) -> Proposer:
    proposer_class = SamplerProposer if strategy.is_sampler else StrategyProposer
    return proposer_class(problem, strategy, seed=seed)


class SamplerProposer:
    """The proposer of an Optuna sampler. Every proposal is trained to the end."""

    def __init__(self, problem: Problem, strategy: LoadedStrategy, *, seed: int) -> None:
        self._problem, self._strategy, self._seed = problem, strategy, seed
        self._distributions = make_distributions(problem.space)
        directions: list[Direction] = ["maximize", "minimize"] if problem.pareto else ["maximize"]
        self._study = OptunaStudy(optuna.create_study(directions=directions))
        self._study_numbers: dict[int, int] = {}  # by the number of the trial
        self._last_study_number = 0

    @property
    def trials(self) -> list[FrozenTrial]:
        """The trials in the study of the sampler."""
        return self._study.trials()

    def ask(self, number: int, attempt: int) -> StartTraining:
        seed = derive_seed(self._seed, "proposal", number, attempt)
        with _user_errors(self._strategy, number):
            sampler = self._strategy.make(self._problem, seed)
            self._last_study_number, choices = self._study.ask(sampler, self._distributions)
        return StartTraining(choices)

    def accept(self, trial: PastTrial) -> None:
        self._study_numbers[trial.number] = self._last_study_number

    def reject(self) -> None:
        # A failed trial: samplers ignore it as a result, and those of phinas do not repeat it.
        self._study.tell(self._last_study_number, None)

    def add(self, trial: PastTrial) -> None:
        is_complete = trial.status == "complete"
        frozen_trial = create_trial(
            state=_STATES[trial.status],
            params=trial.choices,
            distributions=dict(self._distributions),
            values=self._values(trial) if is_complete else None,
            user_attrs=_learnable_attributes(trial) if is_complete else {},
            intermediate_values=dict(trial.rewards) if trial.status == "pruned" else {},
        )
        self._study_numbers[trial.number] = self._study.add(frozen_trial)

    def update(self, trial: PastTrial) -> None:
        number = self._study_numbers[trial.number]
        if trial.status == "complete":
            self._study.write(number, _learnable_attributes(trial))
            self._study.tell(number, self._values(trial))
        elif trial.status == "failed":
            self._study.tell(number, None)
        elif trial.status == "pruned":
            # TPE ranks pruned trials behind the complete ones, by their last reward.
            self._study.write(number, {}, trial.rewards)
            self._study.finish(number, TrialState.PRUNED)

    def _values(self, trial: PastTrial) -> list[float]:
        if trial.reward is None or trial.cost is None:
            raise RuntimeError(f"trial {trial.number} is complete and has no reward")
        return [trial.reward, trial.cost] if self._problem.pareto else [trial.reward]


class StrategyProposer:
    """The proposer of a class with `propose`, which may pause and resume trainings."""

    def __init__(self, problem: Problem, strategy: LoadedStrategy, *, seed: int) -> None:
        self._problem, self._strategy, self._seed = problem, strategy, seed
        self._history: dict[int, PastTrial] = {}

    def ask(self, number: int, attempt: int) -> Action:
        seed = derive_seed(self._seed, "proposal", number, attempt)
        history = [self._history[trial] for trial in sorted(self._history)]
        with _user_errors(self._strategy, number):
            action: object = self._strategy.make(self._problem, seed).propose(history)
            if isinstance(action, StartTraining):
                action = self._check_start(action)
            elif isinstance(action, ResumeTraining):
                self._check_resume(action)
            else:
                raise TypeError(f"returned {action!r}; return StartTraining or ResumeTraining")
        return action

    def accept(self, trial: PastTrial) -> None:
        self.update(trial)

    def reject(self) -> None:
        """Nothing to undo: only `accept` changes the history."""

    def add(self, trial: PastTrial) -> None:
        self.update(trial)

    def update(self, trial: PastTrial) -> None:
        self._history[trial.number] = trial

    def _check_start(self, action: StartTraining) -> StartTraining:
        """Returns the action with the space's own values, such as 3 for numpy's int64(3)."""
        _check_choices(self._problem, action.choices)
        space = self._problem.space
        action = replace(action, choices=space.from_indices(space.to_indices(action.choices)))
        if action.epochs is None:
            return action
        _require_int("epochs", action.epochs)
        if not self._problem.can_pause and action.epochs != self._problem.epochs:
            raise ValueError('pauses a training; declare pausing = "required" in the class')
        if not 1 <= action.epochs <= self._problem.epochs:
            raise ValueError(f"epochs: {action.epochs} is not between 1 and {self._problem.epochs}")
        return action

    def _check_resume(self, action: ResumeTraining) -> None:
        _require_int("trial", action.trial)
        _require_int("epochs", action.epochs)
        trial = self._history.get(action.trial)
        if trial is None or trial.status != "paused":
            raise ValueError(f"trial: {action.trial} is not a paused trial")
        if not trial.epochs < action.epochs <= self._problem.epochs:
            raise ValueError(
                f"epochs: {action.epochs} is not between {trial.epochs + 1} and "
                f"{self._problem.epochs}"
            )


def _learnable_attributes(trial: PastTrial) -> dict[str, float | None]:
    return {SCORE: trial.score, COST: trial.cost}


def _require_int(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name}: {value!r} is not an int")


def _check_choices(problem: Problem, choices: Choices) -> None:
    """Raises ValueError naming the first choice that is not in the space."""
    decisions = {decision.name: decision.values for decision in problem.space.decisions}
    for name in [*decisions, *choices]:
        if name not in choices:
            raise ValueError(f"choices: {name} is missing")
        if name not in decisions:
            raise ValueError(f"choices: {name} is not a decision of space {problem.space.name!r}")
        if choices[name] not in decisions[name]:
            legal_values = ", ".join(map(repr, decisions[name]))
            raise ValueError(f"{name}: {choices[name]!r} is none of {legal_values}")


@contextmanager
def _user_errors(strategy: LoadedStrategy, number: int) -> Iterator[None]:
    """Convert an error of a user's strategy to an InputError. Errors of other strategies pass."""
    try:
        yield
    except (Exception, SystemExit) as error:
        if not strategy.is_user_supplied:
            raise
        raise InputError(
            f"search.strategy: {strategy.name!r} failed to make proposal {number} "
            f"({describe_failure(error)}); correct the class, then `phinas resume`"
        ) from error
