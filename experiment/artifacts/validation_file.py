"""`scaling/validation.yaml`: the family and its controls on the test split."""

from typing import ClassVar, Literal

from pydantic import Field

from phinas.experiment.artifacts.artifact import Artifact, Interval, Record
from phinas.experiment.artifacts.network_field import NetworkField
from phinas.experiment.artifacts.pretrained_reference import PretrainedReference
from phinas.experiment.artifacts.trained_weights import SavedWeights

# Why a network was not trained.
SkipCase = Literal[
    "image_size",  # the images are smaller than its resolution
    "max_flops_multiple",  # it has more FLOPs than validation.max_flops_multiple allows
    "no_scaled_member",  # no member but B0 is trained
    "no_member",  # no member at all is trained
    "flops_gap",  # its FLOPs are too far from its member's
    "same_network",  # it is its member
    "training_failed",
]
# Why the score of a member that was not trained is not predicted.
MissingPrediction = Literal[
    "image_size",  # the images are smaller than its resolution
    "extrapolation",  # it has too many times the FLOPs of the largest trained member
    "wide_interval",  # the interval of the prediction says little
]
ControlKind = Literal[
    "depth",  # depth-only scaling
    "width",
    "resolution",
    "paper",  # the coefficients of the EfficientNet paper
    "coefficients",  # those of another run or a file
    "published",  # a published network
    "spec_file",
]
# On the member of the family that a control is compared with.
ControlVerdict = Literal["better", "worse", "tied"]


class SkipReason(Record):
    """Why a network was not trained, or not compared."""

    case: SkipCase
    resolution: int | None = Field(default=None, description="of the network in px")
    image_size: float | None = Field(default=None, description="of the images in px")
    flops: int | None = Field(default=None, description="of the network, multiply-adds")
    flops_ratio: float | None = Field(
        default=None, description="FLOPs over B0's, or over those of the member compared with"
    )
    limit: float | None = Field(default=None, description="of flops_ratio")
    member: str | None = Field(default=None, description="the member compared with")
    member_flops: int | None = Field(default=None, description="of that member, multiply-adds")
    reason: str = Field(default="", description="the error, where a training failed")


class TestResult(Record):
    """Scores of one network on the test split."""

    __test__ = False  # not a test of pytest's

    scores: tuple[float, ...] = Field(description="by seed, 0 to 1")
    score: float = Field(description="mean of scores")
    interval: Interval = Field(description="95% interval of score for the number of test images")
    images: int = Field(description="images of the test split")
    train_seconds: float = Field(description="training time of all seeds, in seconds")
    failure_reason: str = Field(description='why other seeds failed; "": none did')


class Prediction(Record):
    """The prediction of the curve for a number of FLOPs."""

    flops: float = Field(description="multiply-adds per image")
    score: float = Field(description="median, 0 to 1")
    interval: Interval = Field(description="95% interval")
    extrapolation: float = Field(description="FLOPs over those of the largest trained network")

    @property
    def low(self) -> float:
        return self.interval[0]

    @property
    def high(self) -> float:
        return self.interval[1]


class MemberRecord(Record):
    """A member of the family: trained (`result`), or not and why (`skip`)."""

    name: str
    phi: float
    network_id: str
    flops: int = Field(description="multiply-adds per image")
    params: int
    ratio: float = Field(description="FLOPs over B0's")
    result: TestResult | None
    skip: SkipReason | None
    prediction: Prediction | None = Field(description="null: trained, or not predicted")
    missing_prediction: MissingPrediction | None = Field(
        default=None, description="why the curve gives no prediction; null: it does, or no curve"
    )
    weights: SavedWeights | None = Field(
        default=None, description="the training whose weights were saved; null: none were"
    )


class ScaleFactors(Record):
    """Compound coefficients."""

    alpha: float
    beta: float
    gamma: float


class ControlNetwork(Record):
    """The network of a control."""

    spec: NetworkField
    network_id: str
    flops: int = Field(description="multiply-adds per image")
    params: int
    ratio: float = Field(description="FLOPs over B0's")


class ControlComparison(Record):
    """A member of the family compared with a control at equal FLOPs."""

    difference: float = Field(
        description="score of the member minus the control's, adjusted to equal FLOPs"
    )
    flops_adjustment: float = Field(description="subtracted for more FLOPs of the member")
    interval: Interval | None = Field(
        description="95% interval of difference, corrected for multiple comparisons; null: noise "
        "unknown"
    )
    verdict: ControlVerdict | None = Field(description="on the member; null: noise unknown")


class ControlRecord(Record):
    """Another way to scale, or another network, that the family is compared with."""

    name: str = Field(description="as validation.controls names it")
    kind: ControlKind
    source: str = Field(description="name of the run, file or network; empty for other kinds")
    coefficients: ScaleFactors | None = Field(description="null: a network that is not scaled")
    phi: float | None
    family_member: str | None = Field(description="name of the member compared with")
    network: ControlNetwork | None
    result: TestResult | None
    skip: SkipReason | None
    comparison: ControlComparison | None = Field(description="null: not trained, or its member")


class GainRecord(Record):
    """The largest trained member compared with B0, not adjusted for FLOPs."""

    member: str
    baseline: str
    difference: float = Field(description="score of the member minus B0's")
    interval: Interval = Field(description="95% interval of difference")


class Estimate(Record):
    """A posterior."""

    median: float
    interval: Interval = Field(description="95% interval")


class CurveRecord(Record):
    """1 - score = a * (FLOPs / reference)^-b + c, fitted to the trained members."""

    reference: float = Field(description="FLOPs")
    points: int = Field(description="trained networks")
    a: Estimate
    b: Estimate
    c: Estimate
    residual: float = Field(description="typical deviation of a network from the curve")
    band: tuple[Prediction, ...] = Field(description="the curve itself, evenly in log FLOPs")


class CompoundVerdict(Record):
    """Whether compound scaling is better than scaling one dimension."""

    family_member: str | None = Field(description="the member compared; null: none")
    wins: bool | None = Field(
        description="true: significantly better than each single dimension; false: one of them "
        "is significantly better; null: undecided"
    )


class ValidationFile(Artifact):
    """The family and its controls on the test split."""

    FORMAT: ClassVar[str] = "phinas/validation"

    metric: str = Field(description="name of the score: accuracy, balanced_accuracy, macro_f1, ...")
    members: tuple[MemberRecord, ...]
    gain: GainRecord | None = Field(
        description="null: B0 or a larger member is missing, or the noise is unknown"
    )
    controls: tuple[ControlRecord, ...]
    curve: CurveRecord | None = Field(description="null: fewer than three sizes were trained")
    num_trained_sizes: int = Field(description="different FLOPs of trained members")
    compound: CompoundVerdict
    pretrained_reference: PretrainedReference | None = Field(
        default=None, description="A fine-tuned published network compared with a member"
    )
