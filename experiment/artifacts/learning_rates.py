"""`learning_rates/STAGE.yaml`: the check of the learning rate of a stage."""

from typing import ClassVar, Literal

from pydantic import Field

from phinas.experiment.artifacts.artifact import Artifact, Interval, Record
from phinas.experiment.artifacts.manifest import Count
from phinas.experiment.statistics.rate_comparison import RateGain

CheckedStage = Literal["finalists", "scaling", "validation"]
CHECKED_STAGES: tuple[CheckedStage, ...] = ("finalists", "scaling", "validation")


class CheckedRate(Record):
    """The trainings of a network with one learning rate."""

    learning_rate: float
    scores: tuple[float | None, ...] = Field(
        description="scores from 0 to 1, one for each seed; null: the training failed"
    )


class RateGainRecord(Record):
    """A learning rate in comparison with another one."""

    learning_rate: float
    gain: float = Field(description="its mean score minus that of the other one")
    interval: Interval | None = Field(description="95% interval; null: the noise is not known")

    @classmethod
    def of(cls, gain: RateGain | None) -> "RateGainRecord | None":
        """The record of a comparison, if there is one."""
        if gain is None:
            return None
        is_known = abs(gain.interval[0]) != float("inf")
        return cls(
            learning_rate=gain.rate, gain=gain.gain, interval=gain.interval if is_known else None
        )

    @property
    def is_significant(self) -> bool:
        """Whether the learning rate is significantly better than the other one."""
        if self.interval is None:
            return False
        return RateGain(self.learning_rate, self.gain, self.interval).is_significant


class RateCheckedNetwork(Record):
    """A network of the check."""

    name: str = Field(description="its name in sentences")
    network_id: str
    flops: Count
    rates: tuple[CheckedRate, ...] = Field(description="in ascending order")
    best_other: RateGainRecord | None = Field(
        description="its best other learning rate in comparison with the one that is used; null: "
        "not known"
    )


class LearningRatesFile(Artifact):
    """Some networks of a stage, trained briefly with several learning rates."""

    FORMAT: ClassVar[str] = "phinas/learning_rates"

    stage: CheckedStage
    metric: str = Field(description='metric of the scores, "" if all trainings failed')
    recipe_key: str = Field(description="hash of the recipe of the stage")
    recipe_rate: float = Field(description="learning rate of the recipe")
    epochs: Count = Field(description="epochs of a training of the check")
    recipe_epochs: Count = Field(description="epochs of a training of the stage")
    learning_rate: float = Field(description="learning rate of all trainings of the stage")
    over_recipe: RateGainRecord | None = Field(
        description="the best other rate in comparison with that of the recipe, averaged over the "
        "networks; null: not known"
    )
    noise_std: float | None = Field(
        description="standard deviation between trainings of one network with different seeds; "
        "null: not known"
    )
    networks: tuple[RateCheckedNetwork, ...]

    @property
    def rates(self) -> list[float]:
        """All learning rates that were tried, in ascending order."""
        return sorted({row.learning_rate for network in self.networks for row in network.rates})

    @property
    def num_seeds(self) -> int:
        """Number of trainings of each network with each learning rate."""
        return max((len(row.scores) for row in self.networks[0].rates), default=0)

    @property
    def compared_networks(self) -> list[RateCheckedNetwork]:
        """The networks with the scores of at least one rate."""
        return [
            network
            for network in self.networks
            if any(None not in row.scores for row in network.rates)
        ]

    @property
    def disagreeing(self) -> list[tuple[RateCheckedNetwork, RateGainRecord]]:
        """The networks that another rate than the one that is used suits significantly better."""
        return [
            (network, network.best_other)
            for network in self.networks
            if network.best_other is not None and network.best_other.is_significant
        ]
