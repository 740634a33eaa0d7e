"""One trial of a search, as it is recorded and read back."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from phinas.experiment.measurement import Measurement
from phinas.experiment.trial_store import Row
from phinas.nas.reward import Reward
from phinas.space.cost import Cost, cost
from phinas.space.spec import ArchSpec

LATENCY = "latency_ms"


def cost_in(metric: str, facts: Mapping[str, Any]) -> float:
    """The cost of a network by what is recorded of it: flops, params, activations, or latency
    (ms).
    """
    return float(facts[LATENCY if metric == "latency" else metric])


def price_of(spec: ArchSpec, metric: str) -> float:
    """The same of any network, where it is known without measuring: not latency."""
    return float(getattr(cost(spec), metric))


@dataclass(frozen=True, slots=True)
class Trial:
    """A finished and measured trial. latency_ms: where it was measured."""

    number: int
    proposal: int
    spec: ArchSpec
    cost: Cost
    reward: float
    measurement: Measurement
    latency_ms: float | None = None

    @property
    def accuracy(self) -> float:
        return self.measurement.accuracy

    def cost_in(self, metric: str) -> float:
        return float(getattr(self, LATENCY) if metric == "latency" else getattr(self.cost, metric))


@dataclass
class UnderWay:
    """A trial whose job runs. heard: the accuracies that it reported, by step; stopped_at: after
    which it was told to stop.
    """

    number: int
    proposal: int
    spec: ArchSpec
    heard: dict[int, float] = field(default_factory=dict)
    stopped_at: int | None = None


def trial_attributes(proposal: int, spec: ArchSpec, key: str, refused: int) -> dict[str, Any]:
    """What a search records with a trial when it begins. refused: proposals before this one that
    the gate or the memory of what was measured turned down."""
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
    """The complete trials among `rows`, in the order of their proposals. Of a search with two aims,
    the reward is accuracy.
    """
    trials = []
    for row in rows:
        if row.done and row.value is not None:
            facts = row.attributes
            spec = ArchSpec.from_dict(facts["spec"])
            trial = Trial(
                row.number,
                facts["proposal"],
                spec,
                cost(spec),
                row.value,
                row.measurement,
                facts.get(LATENCY),
            )
            trials.append(trial)
    return sorted(trials, key=lambda trial: trial.proposal)


def judged(trials: list[Trial], reward: Reward) -> list[Trial]:
    """The same trials, with what `reward` makes of each."""
    return [
        replace(trial, reward=reward(trial.accuracy, trial.cost_in(reward.metric)))
        for trial in trials
    ]
