"""One trial of a search, as it is recorded and read back."""

from dataclasses import dataclass, field
from typing import Any

from experiment.measurement import Measurement
from experiment.store import Row
from space.cost import Cost, cost
from space.spec import ArchSpec


@dataclass(frozen=True, slots=True)
class Trial:
    """A finished and measured trial."""

    number: int
    proposal: int
    spec: ArchSpec
    cost: Cost
    reward: float
    measurement: Measurement

    @property
    def accuracy(self) -> float:
        return self.measurement.accuracy


@dataclass
class UnderWay:
    """A trial whose job runs. heard: the accuracies that it reported, by step; stopped_at: after which it was told to stop."""

    number: int
    proposal: int
    spec: ArchSpec
    heard: dict[int, float] = field(default_factory=dict)
    stopped_at: int | None = None


def trial_attributes(proposal: int, spec: ArchSpec, key: str, refused: int) -> dict[str, Any]:
    """What a search records with a trial when it begins. refused: proposals before this one that the gate or the memory of
    what was measured turned down."""
    price = cost(spec)
    return {
        "key": key,
        "proposal": proposal,
        "refused": refused,
        "spec_id": spec.spec_id,
        "spec": spec.to_dict(),
        "flops": price.flops,
        "params": price.params,
        "activations": price.activations,
    }


def measured_trials(rows: list[Row]) -> list[Trial]:
    """The complete trials among `rows`, in the order of their proposals."""
    trials = []
    for row in rows:
        if row.done and row.value is not None:
            facts = row.attributes
            spec = ArchSpec.from_dict(facts["spec"])
            trials.append(Trial(row.number, facts["proposal"], spec, cost(spec), row.value, row.measurement))
    return sorted(trials, key=lambda trial: trial.proposal)
