"""A trial as it is read from the record."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Self

from optuna.trial import FrozenTrial, TrialState

from phinas.experiment.measurement import Measurement

ORPHAN_REASON = "interrupted: the run ended before this trial did, and it was started again"


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """A recorded trial.

    Attributes:
        number: Its number in the study, from 0.
        state: Optuna's state of the trial.
        params: Its choices.
        value: Its objective value. With several objectives, the value of the first one.
        user_attrs: Its other attributes.
        intermediate_values: Score by epoch.
    """

    number: int
    state: TrialState
    params: dict[str, Any]
    value: float | None
    user_attrs: dict[str, Any]
    intermediate_values: dict[int, float] = field(default_factory=dict)

    @classmethod
    def from_trial(cls, trial: FrozenTrial) -> Self:
        """Read one of Optuna's trials."""
        return cls(
            trial.number,
            trial.state,
            dict(trial.params),
            trial.values[0] if trial.values else None,
            dict(trial.user_attrs),
            dict(sorted(trial.intermediate_values.items())),
        )

    def with_reason(self, reason: str) -> Self:
        """The same record with another reason, and without the traceback."""
        attributes = {name: item for name, item in self.user_attrs.items() if name != "traceback"}
        return replace(self, user_attrs=attributes | {"reason": reason})

    @property
    def is_pruned(self) -> bool:
        return self.state == TrialState.PRUNED

    @property
    def is_complete(self) -> bool:
        return self.state == TrialState.COMPLETE

    @property
    def is_failed(self) -> bool:
        return self.state == TrialState.FAIL

    @property
    def is_interrupted(self) -> bool:
        """Whether it was interrupted and replaced by another trial."""
        return self.reason == ORPHAN_REASON

    @property
    def is_unscored(self) -> bool:
        """Whether it has a measurement and no objective value yet."""
        has_measurement = {"unscored", "measurement"} <= self.user_attrs.keys()
        has_outcome = {"value", "reason"} & self.user_attrs.keys()
        return self.state == TrialState.RUNNING and has_measurement and not has_outcome

    @property
    def is_paused(self) -> bool:
        """Whether its training has stopped at an epoch from which it can be resumed."""
        return (
            self.state == TrialState.RUNNING
            and not self.reason
            and bool(self.paused_epochs)
            and self.paused_epochs == self.target_epochs[-1:]
        )

    @property
    def was_closed_while_paused(self) -> bool:
        """Whether the search ended while it was paused."""
        return self.is_pruned and bool(self.user_attrs.get("closed"))

    @property
    def target_epochs(self) -> tuple[int, ...]:
        """The last epoch of each part of its training, rising. Empty if it cannot be paused."""
        return tuple(self.user_attrs.get("target_epochs", ()))

    @property
    def paused_epochs(self) -> tuple[int, ...]:
        """The epoch at which its training was last paused. Empty if it was never paused."""
        return (self.user_attrs["paused"]["epochs"],) if "paused" in self.user_attrs else ()

    @property
    def key(self) -> str | None:
        """The key of its job."""
        return self.user_attrs.get("key")

    @property
    def network_id(self) -> str | None:
        """The identity of its network."""
        return self.user_attrs.get("network_id")

    @property
    def flops(self) -> int | None:
        """Multiply-adds of its network."""
        return self.user_attrs.get("flops")

    @property
    def seed(self) -> int | None:
        """Seed of its training. None for a trial of the search without a measurement."""
        return self.user_attrs.get("seed")

    @property
    def reason(self) -> str:
        """Why it has no objective value. Empty if it has one or is running."""
        return str(self.user_attrs.get("reason", ""))

    @property
    def traceback(self) -> str:
        """The last part of the traceback of the error that it failed with. Empty if the error was
        expected, and without an error.
        """
        return str(self.user_attrs.get("traceback", ""))

    @property
    def attempts(self) -> int:
        """How many times its job was started. 0 before the job has ended."""
        return int(self.user_attrs.get("attempts", 0))

    @property
    def replaced_number(self) -> int | None:
        """The number of the trial that it replaces, if any."""
        return self.user_attrs.get("replaces")

    @property
    def has_measurement(self) -> bool:
        return "measurement" in self.user_attrs or "paused" in self.user_attrs

    @property
    def measurement(self) -> Measurement:
        """The result of its training. If the training is paused, the result so far."""
        data = self.user_attrs.get("measurement") or self.user_attrs["paused"]["measurement"]
        return Measurement.from_dict(data)


def drop_replaced(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The trials without those that another one replaces."""
    records = list(records)
    replaced_numbers = {record.replaced_number for record in records}
    return [
        record
        for record in records
        if record.number not in replaced_numbers and not record.is_interrupted
    ]
