"""A trial of a search: its recorded attributes, and its result."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from phinas.experiment.measurement import Measurement
from phinas.experiment.storage.trial_record import TrialRecord
from phinas.nas.reward import Reward
from phinas.space.cost import Cost
from phinas.space.network import Network
from phinas.space.spec import ArchSpec


@dataclass(frozen=True, slots=True)
class LatencyTiming:
    """The measured latency of one network.

    Attributes:
        latency_ms: Median time of one inference in ms.
        latency_quartiles_ms: Lower and upper quartile in ms.
        latency_runs: Number of timed inferences.
        latency_hardware: Device, number of threads and batch size, as text.
        latency_runs_excluded: Number of timed inferences that were excluded as disturbed.
    """

    latency_ms: float
    latency_quartiles_ms: tuple[float, float]
    latency_runs: int
    latency_hardware: str
    latency_runs_excluded: int = 0

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read the result of a timing job or the attributes of a trial. Other keys are ignored."""
        values = {field.name: data[field.name] for field in fields(cls) if field.name in data}
        low, high = values["latency_quartiles_ms"]
        return cls(**values | {"latency_quartiles_ms": (low, high)})

    def to_dict(self) -> dict[str, Any]:
        """Plain data. The median comes last, so a record with a median has all other values."""
        values = asdict(self) | {"latency_quartiles_ms": list(self.latency_quartiles_ms)}
        return {name: values[name] for name in sorted(values, key="latency_ms".__eq__)}


@dataclass(frozen=True, slots=True)
class TrialAttributes:
    """The attributes that a search records with a trial, next to its choices and its result.

    Attributes:
        key: Key of the training job.
        proposal: Number of the trial among the proposals, from 0. A trial that replaces an
            interrupted one has the same number.
        num_rejected: Number of proposals that were rejected before this one, because they violated
            the cost constraint or repeated a network.
        network_id: Identity of the network.
        spec: The network as plain data.
        flops: FLOPs (multiply-adds) of one inference.
        params: Number of parameters.
        activations: Number of activations.
        latency: The timing of the network. None if latency is not the cost, or before the timing.
    """

    key: str
    proposal: int
    num_rejected: int
    network_id: str
    spec: dict[str, Any]
    flops: int
    params: int
    activations: int
    latency: LatencyTiming | None = None

    @classmethod
    def of(cls, spec: Network, *, proposal: int, key: str, num_rejected: int) -> Self:
        """The attributes of a new trial of this network."""
        cost = spec.cost()
        return cls(
            key=key,
            proposal=proposal,
            num_rejected=num_rejected,
            network_id=spec.network_id,
            spec=spec.to_dict(),
            flops=cost.flops,
            params=cost.params,
            activations=cost.activations,
        )

    @staticmethod
    def are_recorded(record: TrialRecord) -> bool:
        """Whether a record is a trial of a search. The training of a finalist is not."""
        return "proposal" in record.user_attrs

    @classmethod
    def from_record(cls, record: TrialRecord) -> Self:
        attributes = record.user_attrs
        names = [field.name for field in fields(cls) if field.name != "latency"]
        timing = LatencyTiming.from_dict(attributes) if "latency_ms" in attributes else None
        return cls(**{name: attributes[name] for name in names}, latency=timing)

    def to_dict(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        del values["latency"]
        return values | (self.latency.to_dict() if self.latency else {})

    def get_cost(self, cost_metric: str) -> float:
        """The cost of the network.

        Args:
            cost_metric: What the cost counts: flops, params, activations, or latency (in ms).

        Raises:
            ValueError: The latency has not been measured.
        """
        if cost_metric != "latency":
            return float(getattr(self, cost_metric))
        if self.latency is None:
            raise ValueError(f"the latency of network {self.network_id} has not been measured")
        return self.latency.latency_ms


def analytic_cost(spec: Network, cost_metric: str) -> float:
    """The cost of a network that is computed, not measured.

    Args:
        spec: The network.
        cost_metric: What the cost counts: flops, params or activations.
    """
    return float(getattr(spec.cost(), cost_metric))


@dataclass(frozen=True, slots=True)
class Trial:
    """A complete trial.

    Attributes:
        number: Number of the trial in the study.
        proposal: Number of the trial among the proposals.
        spec: The network.
        cost: Its exact cost.
        reward: Its reward. In a search for a Pareto front, the score, until `apply_reward`.
        measurement: The result of its training.
        latency_ms: Its latency in ms. None if latency is not the cost.
    """

    number: int
    proposal: int
    spec: ArchSpec
    cost: Cost
    reward: float
    measurement: Measurement
    latency_ms: float | None = None

    @property
    def score(self) -> float:
        return self.measurement.score

    def get_cost(self, cost_metric: str) -> float:
        """The cost of the network.

        Args:
            cost_metric: What the cost counts: flops, params, activations, or latency (in ms).

        Raises:
            ValueError: The latency has not been measured.
        """
        if cost_metric != "latency":
            return float(getattr(self.cost, cost_metric))
        if self.latency_ms is None:
            raise ValueError(f"the latency of network {self.spec.network_id} was not measured")
        return self.latency_ms


def completed_trials(records: Iterable[TrialRecord]) -> list[Trial]:
    """The complete trials among the records of a search, in the order of their proposals.

    In a search for a Pareto front, their reward is the score.
    """
    trials = []
    for record in records:
        if record.is_complete and record.value is not None:
            attributes = TrialAttributes.from_record(record)
            spec = ArchSpec.from_dict(attributes.spec)
            trial = Trial(
                record.number,
                attributes.proposal,
                spec,
                spec.cost(),
                record.value,
                record.measurement,
                attributes.latency.latency_ms if attributes.latency else None,
            )
            trials.append(trial)
    return sorted(trials, key=lambda trial: trial.proposal)


def apply_reward(trials: Iterable[Trial], reward: Reward) -> list[Trial]:
    """The same trials with the values of another reward."""
    return [
        replace(trial, reward=reward(trial.score, trial.get_cost(reward.cost_metric)))
        for trial in trials
    ]
