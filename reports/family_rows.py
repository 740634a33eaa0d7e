"""The family and its controls with their results, as the figures and tables need them."""

from dataclasses import dataclass

from phinas.experiment.artifacts.coefficients_file import CoefficientsFile
from phinas.experiment.artifacts.family_file import FamilyMember
from phinas.experiment.artifacts.validation_file import (
    ControlComparison,
    ControlNetwork,
    ControlRecord,
    MemberRecord,
    TestResult,
)
from phinas.scaling_search.coefficients import Coefficients
from phinas.space.network import Network
from phinas.space.spec import ArchSpec


@dataclass(frozen=True)
class ReportMember:
    """A member of the family, and its row of validation.yaml; None before the validation."""

    member: FamilyMember
    record: MemberRecord | None

    @property
    def label(self) -> str:
        """Such as "B1"."""
        return self.member.name.upper()

    @property
    def flops(self) -> int:
        return self.member.flops


@dataclass(frozen=True)
class TestedMember(ReportMember):
    """A member that was trained and measured on the test split."""

    __test__ = False  # not a test of pytest's

    result: TestResult


@dataclass(frozen=True)
class PredictedMember(ReportMember):
    """A member that was not trained and lies on the curve."""

    record: MemberRecord
    score: float
    interval: tuple[float, float]
    extrapolation: float


@dataclass(frozen=True)
class TestedControl:
    """A control that was trained and compared with a member of the family."""

    __test__ = False  # not a test of pytest's

    record: ControlRecord
    network: ControlNetwork
    result: TestResult
    comparison: ControlComparison
    member_label: str

    @property
    def flops(self) -> int:
        return self.network.flops


def stage_dimensions(network: Network) -> tuple[list[int], list[int]]:
    """The blocks and the channels by stage; empty for a network without stages."""
    stages = network.stages if isinstance(network, ArchSpec) else ()
    return [stage.depth for stage in stages], [stage.width for stage in stages]


def compute_scale_factors(
    record: CoefficientsFile | None, baseline: Network | None, phi: float
) -> dict[str, float | None]:
    """What depth, width and resolution of the baseline are multiplied by, before rounding.

    Args:
        record: The coefficients.
        baseline: The network that is scaled.
        phi: The compound coefficient.

    Returns:
        The factors by the names of their columns; None without coefficients or baseline.
    """
    columns = ("depth_factor", "width_factor", "resolution_factor")
    if record is None or baseline is None:
        return dict.fromkeys(columns)
    factors = Coefficients.from_file(record).factors(baseline.resolution, phi)
    return dict(zip(columns, factors, strict=True))
