"""`search/proxy_check.yaml`: how reliably the short trainings of a search rank networks."""

from typing import ClassVar

from pydantic import Field

from phinas.experiment.artifacts.artifact import Artifact, Interval, Record
from phinas.experiment.artifacts.manifest import Count
from phinas.experiment.statistics.reliability import Estimate, Reliability


class CheckedNetwork(Record):
    """A network of the check, and its scores after the same number of epochs."""

    proposal: Count = Field(description="number of its trial among the proposals of the search")
    network_id: str
    score: float = Field(description="score of the training of the search, 0 to 1")
    is_repeated: bool = Field(description="it was trained again with another seed")
    repeated_score: float | None = Field(
        description="score of the second training; null: it failed, or there was none"
    )


class EstimateRecord(Record):
    """A median-unbiased estimate, and its exact 95% interval."""

    value: float
    interval: Interval

    @classmethod
    def of(cls, estimate: Estimate) -> "EstimateRecord":
        return cls(value=estimate.value, interval=estimate.interval)


class ReliabilityRecord(Record):
    """How reliably one training of each network ranks networks
    (phinas.experiment.statistics.reliability).
    """

    spread_std: float = Field(description="standard deviation between networks, trained once each")
    noise_std: float = Field(
        description="standard deviation between trainings of one network with different seeds"
    )
    degrees_of_freedom: Count = Field(description="degrees of freedom of noise_std")
    reliability: EstimateRecord = Field(
        description="signal variance divided by signal plus noise variance"
    )
    true_rank_correlation: EstimateRecord = Field(
        description="expected Kendall's tau with the ranking by means over many seeds"
    )
    repeated_rank_correlation: EstimateRecord = Field(
        description="expected Kendall's tau with the ranking of another seed"
    )

    @classmethod
    def of(cls, reliability: Reliability) -> "ReliabilityRecord":
        return cls(
            spread_std=reliability.spread_std,
            noise_std=reliability.noise_std,
            degrees_of_freedom=reliability.degrees_of_freedom,
            reliability=EstimateRecord.of(reliability.reliability),
            true_rank_correlation=EstimateRecord.of(reliability.true_rank_correlation),
            repeated_rank_correlation=EstimateRecord.of(reliability.repeated_rank_correlation),
        )


class ProxyCheckFile(Artifact):
    """The proxy check of a search."""

    FORMAT: ClassVar[str] = "phinas/proxy-check"

    metric: str = Field(description="name of the score: accuracy, balanced_accuracy, macro_f1, ...")
    epochs: Count = Field(description="epochs after which the networks are compared")
    recipe_epochs: Count = Field(description="epochs of a complete training of the search")
    networks: tuple[CheckedNetwork, ...]
    result: ReliabilityRecord | None = Field(
        description="the estimate; null: too few repeated trainings succeeded"
    )

    @property
    def num_pairs(self) -> int:
        """Number of networks with two trainings."""
        return sum(row.repeated_score is not None for row in self.networks)
