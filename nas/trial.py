"""One trial of a search, as it is recorded and read back."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from phinas.experiment.measurement import Measurement
from phinas.experiment.trial_store import TrialRecord
from phinas.nas.reward import Reward
from phinas.space.cost import Cost, network_cost
from phinas.space.spec import ArchSpec

LATENCY = "latency_ms"


def recorded_cost(metric: str, attributes: Mapping[str, Any]) -> float:
    """The cost of a network by what is recorded of it: flops, params, activations, or latency
    (ms).
    """
    return float(attributes[LATENCY if metric == "latency" else metric])


def analytic_cost(spec: ArchSpec, metric: str) -> float:
    """The same of any network, where it is known without measuring: not latency."""
    return float(getattr(network_cost(spec), metric))


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

    def get_cost(self, metric: str) -> float:
        return float(getattr(self, LATENCY) if metric == "latency" else getattr(self.cost, metric))


@dataclass
class RunningTrial:
    """A trial whose job runs. reported_accuracies: the accuracies that it reported, by step;
    stop_step: after which it was told to stop.
    """

    number: int
    proposal: int
    spec: ArchSpec
    reported_accuracies: dict[int, float] = field(default_factory=dict)
    stop_step: int | None = None


def make_trial_attributes(
    proposal: int, spec: ArchSpec, key: str, num_rejected: int
) -> dict[str, Any]:
    """What a search records with a trial when it begins. num_rejected: proposals before this one
    that the cost constraint or the memory of measured networks rejected."""
    cost = network_cost(spec)
    return {
        "key": key,
        "proposal": proposal,
        "num_rejected": num_rejected,
        "spec_id": spec.spec_id,
        "spec": spec.to_dict(),
        "flops": cost.flops,
        "params": cost.params,
        "activations": cost.activations,
    }


def completed_trials(rows: list[TrialRecord]) -> list[Trial]:
    """The complete trials among `rows`, in the order of their proposals. Of a search with two aims,
    the reward is accuracy.
    """
    trials = []
    for row in rows:
        if row.is_complete and row.value is not None:
            attributes = row.user_attrs
            spec = ArchSpec.from_dict(attributes["spec"])
            trial = Trial(
                row.number,
                attributes["proposal"],
                spec,
                network_cost(spec),
                row.value,
                row.measurement,
                attributes.get(LATENCY),
            )
            trials.append(trial)
    return sorted(trials, key=lambda trial: trial.proposal)


def apply_reward(trials: list[Trial], reward: Reward) -> list[Trial]:
    """The same trials, with what `reward` makes of each."""
    return [
        replace(trial, reward=reward(trial.accuracy, trial.get_cost(reward.metric)))
        for trial in trials
    ]
