"""A trial of a search: its recorded attributes, its state while it runs, and its result."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self

from phinas.experiment.measurement import Measurement
from phinas.experiment.storage.trial_record import TrialRecord
from phinas.nas.reward import Reward
from phinas.space.cost import Cost
from phinas.space.network import Network
from phinas.space.search_spaces.search_space import Choices
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
        values = {item.name: data[item.name] for item in fields(cls) if item.name in data}
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
    def of(cls, network: Network, *, proposal: int, key: str, num_rejected: int) -> Self:
        """The attributes of a new trial of this network."""
        cost = network.cost()
        return cls(
            key=key,
            proposal=proposal,
            num_rejected=num_rejected,
            network_id=network.network_id,
            spec=network.to_dict(),
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
        names = [item.name for item in fields(cls) if item.name != "latency"]
        timing = LatencyTiming.from_dict(attributes) if "latency_ms" in attributes else None
        return cls(**{name: attributes[name] for name in names}, latency=timing)

    def to_dict(self) -> dict[str, Any]:
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        del values["latency"]
        return values | (self.latency.to_dict() if self.latency else {})

    def get_cost(self, cost_metric: str) -> float:
        """The cost of the network.

        Args:
            cost_metric: What the cost counts: flops, params, activations, or latency (in ms).

        Raises:
            ValueError: The latency has not been measured.
        """
        latency_ms = self.latency.latency_ms if self.latency else None
        return _select_cost(self, latency_ms, cost_metric, network_id=self.network_id)


def analytic_cost(network: Network, cost_metric: str) -> float:
    """The cost of a network that is computed, not measured.

    Args:
        network: The network.
        cost_metric: What the cost counts: flops, params or activations.
    """
    return float(getattr(network.cost(), cost_metric))


def _select_cost(
    costs: Cost | TrialAttributes, latency_ms: float | None, cost_metric: str, *, network_id: str
) -> float:
    if cost_metric != "latency":
        return float(getattr(costs, cost_metric))
    if latency_ms is None:
        raise ValueError(f"the latency of network {network_id} has not been measured")
    return latency_ms


@dataclass
class RunningTrial:
    """A trial whose training runs.

    Attributes:
        number: Its number in the record.
        spec: The network.
        choices: Its choices.
        attributes: Its recorded attributes.
        stop_epoch: The epoch at which its training pauses. None if it runs to the end.
        reported_scores: Scores that it has reported, by epoch.
        pruned_at: The epoch after which the pruner has stopped it. None if it has not.
    """

    number: int
    spec: ArchSpec
    choices: Choices
    attributes: TrialAttributes
    stop_epoch: int | None = None
    reported_scores: dict[int, float] = field(default_factory=dict)
    pruned_at: int | None = None

    @property
    def proposal(self) -> int:
        return self.attributes.proposal


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
        choices: Its choices. None for a network that is not of a search.
    """

    number: int
    proposal: int
    spec: ArchSpec
    cost: Cost
    reward: float
    measurement: Measurement
    latency_ms: float | None = None
    choices: Choices | None = None

    @classmethod
    def of(
        cls,
        number: int,
        spec: ArchSpec,
        choices: Choices,
        attributes: TrialAttributes,
        reward: float,
        measurement: Measurement,
    ) -> Self:
        """A trial from its attributes and its result."""
        latency_ms = attributes.latency.latency_ms if attributes.latency else None
        return cls(
            number,
            attributes.proposal,
            spec,
            spec.cost(),
            reward,
            measurement,
            latency_ms,
            choices,
        )

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
        return _select_cost(
            self.cost, self.latency_ms, cost_metric, network_id=self.spec.network_id
        )


def completed_trials(records: Iterable[TrialRecord]) -> list[Trial]:
    """The complete trials among the records of a search, in the order of their proposals.

    In a search for a Pareto front, their reward is the score.
    """
    trials = []
    for record in records:
        if record.is_complete and record.value is not None:
            attributes = TrialAttributes.from_record(record)
            trial = Trial.of(
                record.number,
                ArchSpec.from_dict(attributes.spec),
                record.params,
                attributes,
                record.value,
                record.measurement,
            )
            trials.append(trial)
    return sorted(trials, key=lambda trial: trial.proposal)


def apply_reward(trials: Iterable[Trial], reward: Reward) -> list[Trial]:
    """The same trials with the values of another reward."""
    return [
        replace(trial, reward=reward(trial.score, trial.get_cost(reward.cost_metric)))
        for trial in trials
    ]
