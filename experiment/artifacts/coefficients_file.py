"""`scaling/coefficients.yaml`: the compound coefficients of a run, searched or user-supplied."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from phinas.experiment.artifacts.artifact import Artifact, Interval, Record
from phinas.experiment.artifacts.network_field import NetworkField
from phinas.experiment.schema.scaling import DepthRounding

Factor = Annotated[float, Field(ge=1, le=10)]  # the range of the option, scaling.coefficients
# How the winner compares with the other compared networks.
RaceOutcome = Literal["best", "some_tied", "all_tied"]
MemberStatus = Literal["winner", "tied", "open", "excluded", "failed"]


class GridMemberRecord(Record):
    """A network of the grid, and the intervals of alpha, beta, gamma that round to it."""

    network_id: str
    flops: int = Field(description="multiply-adds per image")
    ratio: float = Field(description="FLOPs over the baseline's")
    alpha: Interval
    beta: Interval
    gamma: Interval
    resolution: int = Field(description="px")
    depths: tuple[int, ...] = Field(description="blocks by stage")
    widths: tuple[int, ...] = Field(description="channels by stage")
    stem_width: int
    head_width: int = Field(description="0: no head convolution")
    built_network: NetworkField | None = Field(
        default=None, description="the network of a model builder; null: a network in stages"
    )

    @property
    def intervals(self) -> dict[str, Interval]:
        """By name: alpha, beta, gamma."""
        return {"alpha": self.alpha, "beta": self.beta, "gamma": self.gamma}


class RacedMember(GridMemberRecord):
    """A network of the grid that was trained."""

    scores: tuple[float, ...] = Field(description="scores of full trainings by seed, 0 to 1")
    short_run_score: float | None = Field(
        description="score of the short training, of two the better one; null: none"
    )
    num_diverged: int = Field(
        ge=0,
        description="trainings that are left out since their scores are far below what the others "
        "predict",
    )
    score: float | None = Field(
        description="mean of scores, without diverged trainings; null: no full training"
    )
    adjusted_score: float | None = Field(description="score at the mean FLOPs of the race")
    score_gap: float | None = Field(
        description="expected score of the winner minus that of this network; null: every "
        "training failed"
    )
    score_gap_interval: Interval | None = Field(
        description="95% interval of score_gap; null: no full training"
    )
    status: MemberStatus = Field(
        description="open: tied and not trained with every seed; excluded: not tied; failed: a "
        "training failed"
    )
    tied: bool = Field(
        description="one of these networks is the best (95%); a failed network is tied unless its "
        "other trainings show that it is worse"
    )
    winner: bool = Field(description="the network to use at the FLOPs of the compared networks")
    probability_of_best: float = Field(
        ge=0, le=1, description="probability to be the best of the compared networks"
    )


class CoefficientIntervals(Record):
    """The values of alpha, beta and gamma that have 95% of the probability of being the best
    network's. Each includes the coefficient.
    """

    alpha: Interval
    beta: Interval
    gamma: Interval

    @property
    def by_name(self) -> dict[str, Interval]:
        return {"alpha": self.alpha, "beta": self.beta, "gamma": self.gamma}


class MoreTrainings(Record):
    """What as many epochs again would add, on average over the posterior."""

    trainings: int = Field(description="full trainings")
    num_tied: float = Field(description="networks tied with the winner after them")
    gain: float = Field(description="increase of the true score of the winner")
    max_gain: float = Field(description="the same after any number of trainings")
    max_gain_of_grid: float | None = Field(
        description="the same if all networks of the grid were compared; null: all were"
    )


class RaceRecord(Record):
    """The race that the coefficients come from."""

    metric: str = Field(description="name of the score: accuracy, balanced_accuracy, macro_f1, ...")
    outcome: RaceOutcome
    intervals: CoefficientIntervals
    published_fraction: float = Field(
        ge=0,
        le=1,
        description="fraction of the published 1.2, 1.1, 1.15 in the coefficients; the remainder "
        "is the mean of the compared networks, weighted by probability_of_best",
    )
    flops_multiple: float = Field(description="FLOPs over the baseline's at phi 1")
    grid_phi: float = Field(description="phi of the grid's networks")
    constraint: Literal["measured", "nominal"]
    tolerance: float = Field(
        description="measured: relative deviation of FLOPs; nominal: of alpha beta^2 gamma^2"
    )
    evaluator: str
    grid_size: int = Field(description="networks of the grid")
    seeds: int = Field(description="full trainings of a network at most")
    early_elimination: bool = Field(description="the race dropped networks before the last seed")
    noise_std: float = Field(description="standard deviation of the score of one training")
    chance: float | None = Field(
        description="score of guessing a class; null: the winner's score is significantly higher"
    )
    slope: float = Field(description="score per unit of log FLOPs that is subtracted")
    margin: float = Field(description="expected score of the winner minus that of the runner-up")
    margin_interval: Interval | None = Field(description="95% interval of margin; null: unknown")
    epochs: int = Field(description="epochs that were trained")
    full_grid_epochs: int = Field(description="epochs of every network with every seed")
    more_trainings: MoreTrainings | None = Field(description="null: nothing is left to decide")
    members: tuple[RacedMember, ...]

    @property
    def target_ratio(self) -> float:
        """Target FLOPs of the networks, as a multiple of the baseline's."""
        return self.flops_multiple**self.grid_phi

    @property
    def winner(self) -> RacedMember:
        return next(row for row in self.members if row.winner)

    @property
    def winner_number(self) -> int:
        """Position of the winner in `members`, from 1: its name in commands is grid-NUMBER."""
        return 1 + next(number for number, row in enumerate(self.members) if row.winner)

    @property
    def num_tied(self) -> int:
        """Networks tied with the winner, without it."""
        return sum(row.tied for row in self.members) - 1

    @property
    def num_tied_failed(self) -> int:
        """Networks tied with the winner because a training of them failed."""
        return sum(row.tied and row.status == "failed" for row in self.members)

    @property
    def num_diverged(self) -> int:
        """Trainings that are left out."""
        return sum(row.num_diverged for row in self.members)


class CoefficientsFile(Artifact):
    """alpha, beta and gamma: what depth, width and resolution are multiplied by at phi 1."""

    FORMAT: ClassVar[str] = "phinas/coefficients"

    alpha: Factor = Field(description="depth")
    beta: Factor = Field(description="width")
    gamma: Factor = Field(description="resolution")
    divisor: int = Field(ge=1, description="channels are rounded to a multiple of this")
    rounding: DepthRounding = Field(description="how depths are rounded")
    max_resolution: int | None = Field(
        default=None, ge=1, description="highest resolution of the family in px; null: no maximum"
    )
    before_depth_limit: tuple[Factor, Factor, Factor] | None = Field(
        default=None,
        description="alpha, beta, gamma of the race, before alpha was lowered so that no stage "
        "more than doubles its depth from one member to the next; null: not lowered",
    )
    source: str | None = Field(description="what the user named; null: the race found them")
    race: RaceRecord | None = Field(description="null: the user supplied the coefficients")

    @property
    def factors(self) -> dict[str, float]:
        """By name: alpha, beta, gamma."""
        return {"alpha": self.alpha, "beta": self.beta, "gamma": self.gamma}

    @property
    def nominal(self) -> float:
        """alpha * beta^2 * gamma^2: the multiple of FLOPs without rounding."""
        return self.alpha * self.beta**2 * self.gamma**2
