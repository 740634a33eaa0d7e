"""alpha, beta, gamma: depth, width and resolution are multiplied by their phi-th powers
(arXiv:1905.11946, eq. 3).

The resolution has a maximum, such as the images' own size: enlarging them adds compute but no
detail. Where gamma^phi would exceed it, depth and width add the FLOPs that the resolution does not
add. So the nominal multiple of the FLOPs, (alpha * beta^2 * gamma^2)^phi, stays the same.

Depth and width add them in the published proportion, log 1.2 : 2 log 1.1. The own proportion of the
coefficients is decided at small phi, where the resolution still grows, and may be one-sided: from
1.0, 1.1, 1.31 it makes a B7 with as many blocks as B0. In simulations of 60 random accuracy
surfaces (benchmarks/resolution_limit.py; coefficients of the best of noisy scores at phi 1, a
resolution of at most 1.15 times the baseline's) the mean loss to the best possible network is

| proportion | phi 3 | phi 5 | phi 7 |
|------------|------:|------:|------:|
| published  |  0.30 |  0.41 |  0.49 |
| own        |  0.38 |  0.61 |  0.81 |

points. Without noise, and with a limit of 1.5 times, the order is the same.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, Self

from phinas.experiment.artifacts.coefficients_file import CoefficientsFile
from phinas.space.network import NetworkT
from phinas.space.scaling import DepthRounding, round_resolution


class ScaleFactors(NamedTuple):
    """What depth, width and resolution are multiplied by, before rounding."""

    depth: float
    width: float
    resolution: float


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Compound coefficients; alpha * beta^2 * gamma^2 is about 2 in the paper.

    Attributes:
        alpha: Factor of the depth at phi 1, at least 1.
        beta: Factor of the width.
        gamma: Factor of the resolution.
        divisor: Widths are rounded to multiples of it.
        rounding: How depths are rounded (phinas.space.scaling).
        max_resolution: The highest resolution of a network above the baseline, in px; None: there
            is none. A baseline with a higher one keeps it.
    """

    alpha: float
    beta: float
    gamma: float
    divisor: int = 8
    rounding: DepthRounding = "ceil"
    max_resolution: int | None = None

    @classmethod
    def from_file(cls, record: CoefficientsFile) -> Self:
        """The coefficients of `scaling/coefficients.yaml`."""
        return cls(
            record.alpha,
            record.beta,
            record.gamma,
            divisor=record.divisor,
            rounding=record.rounding,
            max_resolution=record.max_resolution,
        )

    @property
    def nominal(self) -> float:
        """alpha * beta^2 * gamma^2, the factor of the FLOPs at phi 1 without rounding."""
        return self.alpha * self.beta**2 * self.gamma**2

    def factors(self, resolution: int, phi: float) -> ScaleFactors:
        """What phi multiplies the dimensions of a baseline by. Each factor rises with phi, or is 1.

        Args:
            resolution: Of the baseline, in px.
            phi: The compound coefficient.
        """
        depth, width, factor = self.alpha**phi, self.beta**phi, self.gamma**phi
        if phi <= 0 or self.max_resolution is None:
            return ScaleFactors(depth, width, factor)
        max_factor = max(1.0, self.max_resolution / resolution)
        if factor <= max_factor:
            return ScaleFactors(depth, width, factor)
        missing_flops = (factor / max_factor) ** 2
        return ScaleFactors(
            depth * missing_flops**_DEPTH_FRACTION,
            width * missing_flops ** ((1 - _DEPTH_FRACTION) / 2),
            max_factor,
        )

    def limits_resolution(self, resolution: int, phi: float) -> bool:
        """Whether the maximum lowers the rounded resolution of phi.

        Args:
            resolution: Of the baseline, in px.
            phi: The compound coefficient.
        """
        unlimited = round_resolution(resolution * self.gamma**phi)
        return round_resolution(resolution * self.factors(resolution, phi).resolution) < unlimited

    def apply(self, baseline: NetworkT, phi: float) -> NetworkT:
        """The baseline scaled by the factors of phi.

        Raises:
            SpecError: The scaled network exceeds a limit of a dimension.
        """
        factors = self.factors(baseline.resolution, phi)
        return baseline.scale(
            depth=factors.depth,
            width=factors.width,
            resolution=factors.resolution,
            divisor=self.divisor,
            rounding=self.rounding,
        )


PAPER = Coefficients(1.2, 1.1, 1.15)  # of the paper, section 5.1
# Of the FLOPs that depth and width add in the paper.
_DEPTH_FRACTION = math.log(PAPER.alpha) / (math.log(PAPER.alpha) + 2 * math.log(PAPER.beta))
