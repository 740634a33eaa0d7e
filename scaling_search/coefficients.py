"""alpha, beta, gamma: depth, width and resolution are multiplied by their phi-th powers
(arXiv:1905.11946, eq. 3).
"""

from dataclasses import dataclass

from phinas.space.scaling import DepthRounding, scale
from phinas.space.spec import ArchSpec


@dataclass(frozen=True, slots=True)
class Coefficients:
    """alpha: depth, beta: width, gamma: resolution, each at least 1; alpha * beta^2 * gamma^2 is
    about 2 in the paper.

    divisor, rounding: how the scaled network is rounded (phinas.space.scaling).
    """

    alpha: float
    beta: float
    gamma: float
    divisor: int = 8
    rounding: DepthRounding = "ceil"

    @property
    def nominal(self) -> float:
        """alpha * beta^2 * gamma^2, the multiple of FLOPs that they would mean without rounding."""
        return self.alpha * self.beta**2 * self.gamma**2

    def apply(self, baseline: ArchSpec, phi: float) -> ArchSpec:
        """The baseline scaled by alpha^phi, beta^phi, gamma^phi."""
        return scale(
            baseline,
            depth=self.alpha**phi,
            width=self.beta**phi,
            resolution=self.gamma**phi,
            divisor=self.divisor,
            rounding=self.rounding,
        )


PAPER = Coefficients(1.2, 1.1, 1.15)  # of the paper, section 5.1
