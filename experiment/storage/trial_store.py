"""The record of the trials of one study. Only the driver writes it.

A trial is begun in one commit with all its choices, so an interruption leaves all of them or no
trial. Its measurement is written before its state, so an interruption between the two loses
nothing. A paused training is a running trial with the attribute `paused`, which has the epoch that
it has reached.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import TrialState

from phinas.experiment.measurement import Measurement
from phinas.experiment.storage.optuna_study import OptunaStudy
from phinas.experiment.storage.paused_trainings import PausedTrainings
from phinas.experiment.storage.trial_record import ORPHAN_REASON, TrialRecord

optuna.logging.set_verbosity(optuna.logging.WARNING)

# Attributes that are not copied to a trial that replaces another one.
_RESULT_ATTRS = ("value", "unscored", "measurement", "reason", "closed")

Direction = Literal["maximize", "minimize"]
ObjectiveValue = float | Sequence[float]  # one number, or one for each objective of the study


class TrialStore:
    """The trials of one study: begin a trial, pause and resume it, and complete, prune or fail it.

    Args:
        study: Optuna's study.
        paused_trainings: The states of paused trainings. None if they are not stored: a training
            that is resumed then starts from its first epoch.

    Attributes:
        name: The name of the study.
    """

    def __init__(
        self, study: optuna.Study, paused_trainings: PausedTrainings | None = None
    ) -> None:
        self._study = OptunaStudy(study)
        self.name, self.paused_trainings = study.study_name, paused_trainings

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """The distributions of the parameters, which are the same for all trials. Empty without
        trials.
        """
        trials = self._study.trials()
        return dict(trials[0].distributions) if trials else {}

    def begin(
        self,
        params: Mapping[str, Any],
        distributions: Mapping[str, BaseDistribution],
        intermediate_values: Mapping[int, float] | None = None,
        /,
        **user_attrs: Any,
    ) -> int:
        """Record a running trial with all its choices in one commit.

        Args:
            params: Its choices.
            distributions: The distributions of the choices.
            intermediate_values: Score by epoch so far.
            user_attrs: What else to record.

        Returns:
            The number of the trial.
        """
        trial = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=dict(params),
            distributions=dict(distributions),
            user_attrs=user_attrs,
            intermediate_values=dict(intermediate_values or {}),
        )
        return self._study.add(trial)

    def complete(
        self,
        number: int,
        value: ObjectiveValue | None,
        measurement: Measurement,
        intermediate_values: Mapping[int, float] | None = None,
        **user_attrs: Any,
    ) -> None:
        """Record the result of a trial.

        Args:
            number: The trial.
            value: Its objective value. None leaves the trial unscored until `set_value`.
            measurement: The result of its training.
            intermediate_values: Score by epoch. The default is the learning curve of the
                measurement.
            user_attrs: What else to record.

        Raises:
            ValueError: The value is not finite. Optuna would accept infinity as the best value.
        """
        if value is None:
            user_attrs["unscored"] = True
        else:
            _check_finite(value)
            user_attrs["value"] = value
        curve = intermediate_values or dict(enumerate(measurement.curve, start=1))
        self._study.write(number, user_attrs | {"measurement": measurement.to_dict()}, curve)
        if value is not None:
            self._study.tell(number, value)

    def set_value(self, number: int, value: ObjectiveValue) -> None:
        """Record the value of an unscored trial.

        Raises:
            ValueError: The value is not finite.
        """
        _check_finite(value)
        self.set_user_attrs(number, value=value)
        self._study.tell(number, value)

    def set_user_attrs(self, number: int, **user_attrs: Any) -> None:
        """Record more attributes of a running trial."""
        self._study.write(number, user_attrs)

    @property
    def study_attrs(self) -> dict[str, Any]:
        """The attributes of the study."""
        return self._study.attributes

    def set_study_attr(self, name: str, value: Any) -> None:
        self._study.set_attribute(name, value)

    def prune(
        self,
        number: int,
        reason: str,
        measurement: Measurement,
        intermediate_values: Mapping[int, float],
        **user_attrs: Any,
    ) -> None:
        """Record that a training was stopped early. The trial has no value.

        Args:
            number: The trial.
            reason: Why it was stopped.
            measurement: Its result so far.
            intermediate_values: Score by epoch.
            user_attrs: What else to record.
        """
        attributes = user_attrs | {"measurement": measurement.to_dict(), "reason": reason}
        self._study.write(number, attributes, intermediate_values)
        self._study.finish(number, TrialState.PRUNED)

    def pause(
        self,
        number: int,
        measurement: Measurement,
        *,
        epochs: int,
        intermediate_values: Mapping[int, float],
        **user_attrs: Any,
    ) -> None:
        """Record that a training was paused at its target epoch and may be resumed.

        Args:
            number: The trial. It was begun with the attribute `target_epochs`.
            measurement: Its result so far.
            epochs: The epoch that it has reached.
            intermediate_values: Score by epoch.
            user_attrs: What else to record.
        """
        self._study.write(number, user_attrs, intermediate_values)
        # Last, in one commit: without this attribute the training counts as interrupted.
        paused = {"epochs": epochs, "measurement": measurement.to_dict()}
        self._study.write(number, {"paused": paused})

    def resume(self, record: TrialRecord, epochs: int) -> int:
        """Record that a paused training is resumed.

        Args:
            record: The trial.
            epochs: The epoch up to which it is trained.

        Returns:
            The number of the trial. It is a new one if the trial was closed at the end of an
            earlier search.
        """
        targets = [*record.target_epochs, epochs]
        if record.was_closed_while_paused:
            return self._begin_copy(record, target_epochs=targets)
        self.set_user_attrs(record.number, target_epochs=targets)
        return record.number

    def close_paused(self, record: TrialRecord, reason: str) -> None:
        """Record that the search ended while a training was paused."""
        # No measurement: the attribute `paused` has it, and the training may be resumed.
        self._study.write(record.number, {"closed": True, "reason": reason})
        self._study.finish(record.number, TrialState.PRUNED)

    def fail(
        self,
        number: int,
        reason: str,
        intermediate_values: Mapping[int, float] | None = None,
        *,
        traceback: str = "",
        **user_attrs: Any,
    ) -> None:
        """Record that a trial failed.

        Args:
            number: The trial.
            reason: Why it has no result.
            intermediate_values: Scores by epoch that it had reported.
            traceback: Of the error, if it was unexpected.
            user_attrs: What else to record.
        """
        if traceback:
            user_attrs["traceback"] = traceback
        self._study.write(number, user_attrs | {"reason": reason}, intermediate_values)
        self._study.tell(number, None)

    def records(self) -> list[TrialRecord]:
        """Every trial, in the order in which they were begun."""
        trials = self._study.trials()
        return [TrialRecord.from_trial(trial) for trial in trials]

    def recover(self) -> list[TrialRecord]:
        """Recover the trials that an interrupted driver left running.

        A trial is finished if its result, or the reason why it has none, was written. Unscored and
        paused trials do not change. A training that was interrupted after a pause is run again in
        the same trial. Any other trial is recorded as failed and replaced by a new one with the
        same choices. An interruption of this method neither loses nor duplicates a trial.

        Returns:
            The trials whose jobs have to be run.
        """
        restarted_trials = []
        records = self.records()
        replaced_numbers = {record.replaced_number for record in records}
        for record in records:
            if record.state != TrialState.RUNNING or record.is_unscored or record.is_paused:
                continue
            if self._finish_written(record):
                continue
            if record.paused_epochs:
                restarted_trials.append(record)
                continue
            if record.number not in replaced_numbers:
                number = self._begin_copy(record)
                restarted_trials.append(self.record(number))
            self.fail(record.number, ORPHAN_REASON)
        return restarted_trials

    def record(self, number: int) -> TrialRecord:
        """One trial."""
        return TrialRecord.from_trial(self._study.trials()[number])

    def find_record(self, number: int) -> TrialRecord | None:
        """One trial, without reading the others. None if it does not exist."""
        try:
            return TrialRecord.from_trial(self._study.trial(number))
        except KeyError:
            return None

    def _finish_written(self, record: TrialRecord) -> bool:
        """Finish a running trial whose result, or the reason why it has none, was written."""
        if {"measurement", "value"} <= record.user_attrs.keys():
            self._study.tell(record.number, record.user_attrs["value"])
        elif {"measurement", "reason"} <= record.user_attrs.keys() or (
            {"closed", "reason"} <= record.user_attrs.keys()
        ):
            self._study.finish(record.number, TrialState.PRUNED)
        elif record.reason:
            self.fail(record.number, record.reason)
        else:
            return False
        return True

    def _begin_copy(self, record: TrialRecord, **changed_attrs: Any) -> int:
        """Begin a trial that replaces another one. It does not copy the result."""
        distributions = self._study.trials()[record.number].distributions
        copied_attrs = {
            name: value for name, value in record.user_attrs.items() if name not in _RESULT_ATTRS
        }
        intermediate_values = record.intermediate_values if record.paused_epochs else {}
        user_attrs = copied_attrs | changed_attrs | {"replaces": record.number}
        return self.begin(record.params, distributions, intermediate_values, **user_attrs)


def _check_finite(value: ObjectiveValue) -> None:
    for number in (value,) if isinstance(value, float | int) else value:
        if not math.isfinite(number):
            raise ValueError(f"the value {number} is not a finite number")
