"""`search/baseline.yaml`: the baseline network of a run, and how it was selected."""

from typing import ClassVar, Literal

from pydantic import Field

from phinas.experiment.artifacts.artifact import Artifact, Interval, Record
from phinas.experiment.artifacts.network_field import NetworkField
from phinas.space.loading import SPEC_FILE_VERSIONS

CostMetric = Literal["flops", "params", "activations", "latency"]
# How the finalists compare with the selected one, which has the highest mean reward.
SelectionOutcome = Literal[
    "only_finalist",  # there was one finalist
    "others_failed",  # no other finalist could be trained with every seed
    "all_tied",  # no other finalist is significantly worse
    "some_tied",
    "best_without_noise",  # all others are worse, and repeated measurements were identical
    "best",  # all others are significantly worse
]
# Why the reference network was not trained.
ExclusionCase = Literal[
    "not_buildable",  # not for the images of this search
    "outside_cost_limits",
    "too_large",  # against the largest network of the search
    "not_timed",
    "not_in_space",  # the evaluator scores choices
    "training_failed",
]


# How the exponent was determined (phinas.nas.reward_exponent).
ExponentCase = Literal[
    "estimated",  # minus the slope
    "clipped",  # minus the slope, clipped to the legal range
    "not_significant",  # the interval of the slope includes 0: a default
    "too_few_networks",  # a default
    "equal_costs",  # all networks have the same cost: a default
]


class ExponentEstimate(Record):
    """The exponent w of the soft reward, estimated from measured networks."""

    value: float = Field(description="w")
    case: ExponentCase
    num_networks: int = Field(description="measured networks with a score above 0")
    slope: float | None = Field(
        description="s of score ~ cost^s along the upper edge of the networks; null: not fitted"
    )
    interval: Interval | None = Field(description="95% interval of slope; null: not fitted")


class RewardRecord(Record):
    """The reward that networks are compared by (phinas.nas.reward)."""

    kind: Literal["soft", "hard", "absolute", "accuracy"]
    exponent: float = Field(description="w of the reward")
    target: float = Field(description="T of the reward, in the unit of the cost")
    cost_metric: CostMetric = Field(description="what the cost counts; latency is in ms")
    exponent_estimate: ExponentEstimate | None = Field(
        description="how the exponent was estimated; null: it was configured"
    )


class FinalistRecord(Record):
    """A finalist that was trained with every seed."""

    network_id: str
    trial: int = Field(description="number of its trial in the search")
    flops: int = Field(description="multiply-adds per image")
    latency_ms: float | None = Field(description="ms per inference, where latency is the cost")
    search_reward: float = Field(description="reward of its trial in the search")
    expected_score: float | None = Field(
        description="score expected from all trials together, 0 to 1; null: too few trials"
    )
    scores: tuple[float, ...] = Field(description="scores by seed, 0 to 1")
    reward: float = Field(description="mean reward over the seeds")
    tied_with_selected: bool = Field(description="not significantly worse than the selected one")

    @property
    def mean_score(self) -> float:
        return sum(self.scores) / len(self.scores)


class ReferenceRecord(Record):
    """The published network that was trained with the finalists' recipe and seeds."""

    name: str
    network_id: str
    flops: int = Field(description="multiply-adds per image")
    params: int
    activations: int
    latency_ms: float | None = Field(description="ms per inference, where latency is the cost")
    search_score: float | None = Field(
        description="score of a training like those of the search; null: that training failed"
    )
    search_reward: float | None = Field(description="the reward of search_score")
    scores: tuple[float, ...] = Field(description="scores by seed, 0 to 1")
    reward: float = Field(description="mean reward over the seeds")
    reward_difference: float = Field(
        description="mean reward of the selected network minus that of this one"
    )
    interval: Interval | None = Field(
        description="95% interval of reward_difference; null: unknown after one training each"
    )
    rediscovered: bool | None = Field(
        description="whether the selected network reaches its reward; null: not significant"
    )
    is_selected_network: bool = Field(description="the selected network is this one")

    @property
    def mean_score(self) -> float:
        return sum(self.scores) / len(self.scores)

    def cost(self, cost_metric: CostMetric) -> float:
        """Its cost in the unit of `cost_metric`."""
        if cost_metric == "latency":
            assert self.latency_ms is not None
            return self.latency_ms
        costs = {"flops": self.flops, "params": self.params, "activations": self.activations}
        return float(costs[cost_metric])


class ExcludedReference(Record):
    """A reference network that was not trained, and why."""

    name: str
    case: ExclusionCase
    flops: int | None = Field(default=None, description="its multiply-adds at `resolution`")
    resolution: int | None = Field(default=None, description="resolution of the search in px")
    max_cost_ratio: float | None = Field(
        default=None, description="the limit, in FLOPs of the largest network of the search"
    )
    reason: str = Field(default="", description="the error, where there was one")


class SelectionRecord(Record):
    """How the search chose the baseline among its finalists."""

    trial: int = Field(description="number of the selected trial")
    metric: str = Field(description="name of the score: accuracy, balanced_accuracy, macro_f1, ...")
    from_training: bool = Field(description="scores are of trainings, not of a table or function")
    num_trials: int = Field(description="networks that the search measured")
    searched_front: bool = Field(description="the search maximized a Pareto front, not a reward")
    pareto_trials: tuple[int, ...] = Field(description="numbers of the trials on the Pareto front")
    reward: RewardRecord
    outcome: SelectionOutcome
    finalists: tuple[FinalistRecord, ...]
    margin: float | None = Field(
        description="mean rewards closer than this are ties (95%); null: unknown"
    )
    probability_of_best: float | None = Field(
        description="probability that the selected finalist is the best; null: unknown"
    )
    reference: ReferenceRecord | None
    excluded_reference: ExcludedReference | None
    space_exhausted: bool = Field(description="no further network was within the cost limits")
    num_unscalable: int = Field(
        default=0, description="networks passed over, because scaling.* has no grid for them"
    )

    @property
    def selected(self) -> FinalistRecord:
        return next(row for row in self.finalists if row.trial == self.trial)

    @property
    def tied_finalists(self) -> tuple[FinalistRecord, ...]:
        """The finalists other than the selected one that are tied with it."""
        return tuple(
            row for row in self.finalists if row.tied_with_selected and row.trial != self.trial
        )


class BaselineFile(Artifact):
    """The baseline of a run, selected by its search or supplied by the user."""

    FORMAT: ClassVar[str] = "phinas/baseline"
    VERSION: ClassVar[int] = SPEC_FILE_VERSIONS[FORMAT]

    spec: NetworkField
    network_id: str
    flops: int = Field(description="multiply-adds per image")
    params: int
    latency_ms: float | None = Field(description="ms per inference, where latency is the cost")
    source: str | None = Field(description="what the user named; null: the search chose it")
    selection: SelectionRecord | None = Field(description="null: the user supplied the baseline")
