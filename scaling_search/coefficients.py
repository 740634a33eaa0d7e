"""alpha, beta, gamma: depth, width and resolution are multiplied by their phi-th powers
(arXiv:1905.11946, eq. 3).
"""

from dataclasses import dataclass

from phinas.space.network import NetworkT
from phinas.space.scaling import DepthRounding


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Compound coefficients; alpha * beta^2 * gamma^2 is about 2 in the paper.

    Attributes:
        alpha: Factor of the depth at phi 1, at least 1.
        beta: Factor of the width.
        gamma: Factor of the resolution.
        divisor: Widths are rounded to multiples of it.
        rounding: How depths are rounded (phinas.space.scaling).
    """

    alpha: float
    beta: float
    gamma: float
    divisor: int = 8
    rounding: DepthRounding = "ceil"

    @property
    def nominal(self) -> float:
        """alpha * beta^2 * gamma^2, the factor of the FLOPs at phi 1 without rounding."""
        return self.alpha * self.beta**2 * self.gamma**2

    def apply(self, baseline: NetworkT, phi: float) -> NetworkT:
        """The baseline scaled by alpha^phi, beta^phi, gamma^phi."""
        return baseline.scale(
            depth=self.alpha**phi,
            width=self.beta**phi,
            resolution=self.gamma**phi,
            divisor=self.divisor,
            rounding=self.rounding,
        )


PAPER = Coefficients(1.2, 1.1, 1.15)  # of the paper, section 5.1
