"""What a phi means: the rounded network that it gives, and the interval of phi that gives the same
one.

Depth, width and resolution jump at different phi, so a network is what an interval means. Between
two jumps nothing changes, and a network once left never comes back as phi goes on, so bisection
finds every jump. Above the baseline a network is `Coefficients.apply`. Below it (phi < 0) all three
shrink and nothing is larger than in the baseline; a stage keeps at least one block (where depths
are rounded up, they shrink late), a width at least the divisor, the resolution a pixel for each of
the last map. The paper has no networks below its baseline; the rule is the same equation.
"""

import math
from collections.abc import Callable
from dataclasses import replace

from phinas.experiment.errors import InputError
from phinas.scaling_search.coefficients import Coefficients
from phinas.space.spec import ArchSpec, SpecError

Interval = tuple[float, float]
# phi from -MAX_PHI to MAX_PHI is searched; with the paper's coefficients that is 5e5 times the
# FLOPs
MAX_PHI = 20.0
_TOLERANCE = 1e-9


def scale_to_phi(baseline: ArchSpec, coefficients: Coefficients, phi: float) -> ArchSpec:
    """The baseline scaled by phi, whatever its sign; the baseline itself at 0. Regularization is
    the baseline's.

    Raises SpecError where a dimension would be larger than any network's may be.
    """
    if phi == 0:
        return baseline
    if phi > 0:
        return coefficients.apply(baseline, phi)
    min_factor = baseline.total_stride / baseline.resolution
    gamma = coefficients.gamma if coefficients.gamma**phi >= min_factor else min_factor ** (1 / phi)
    scaled = replace(coefficients, gamma=gamma).apply(baseline, phi)
    widths = (baseline.stem_width, baseline.head_width, *(stage.width for stage in baseline.stages))
    if all(width % coefficients.divisor == 0 for width in widths):
        return scaled
    # The rounding may put a width that is no multiple of the divisor (20, or 4) above the
    # baseline's.
    depth_scaled = replace(coefficients, beta=1.0, gamma=1.0).apply(baseline, phi)
    stages = [
        replace(new, width=min(new.width, old.width))
        for new, old in zip(scaled.stages, depth_scaled.stages, strict=True)
    ]
    return replace(
        scaled,
        stages=tuple(stages),
        stem_width=min(scaled.stem_width, baseline.stem_width),
        head_width=min(scaled.head_width, baseline.head_width),
    )


def find_phi_interval(baseline: ArchSpec, coefficients: Coefficients, phi: float) -> Interval:
    """All phi that mean the network of `phi`, to 1e-9, within MAX_PHI (an end there is not the
    network's own).
    """
    network = scale_to_phi(baseline, coefficients, phi).canonicalize()

    def is_equivalent(other_phi: float) -> bool:
        try:
            return scale_to_phi(baseline, coefficients, other_phi).canonicalize() == network
        except SpecError:
            return False

    # 0 means the baseline as it is, also where the least step to either side rounds it: no other
    # network goes across.
    crosses_zero = phi == 0 or is_equivalent(0.0)
    low = -MAX_PHI if phi < 0 or crosses_zero else 0.0
    high = MAX_PHI if phi > 0 or crosses_zero else 0.0
    return find_boundary(is_equivalent, phi, low), find_boundary(is_equivalent, phi, high)


def find_boundary(is_equivalent: Callable[[float], bool], inside: float, outside: float) -> float:
    """The last phi, to 1e-9, from `inside` towards `outside` that satisfies `is_equivalent`, by
    bisection.
    """
    if is_equivalent(outside):
        return outside
    while abs(outside - inside) > _TOLERANCE:
        midpoint = (inside + outside) / 2
        if is_equivalent(midpoint):
            inside = midpoint
        else:
            outside = midpoint
    return inside


def shortest_decimal(interval: Interval) -> float:
    """The phi inside an interval that has the fewest decimals, next to its middle; 0 where
    that is inside.
    """
    low, high = interval
    midpoint = (low + high) / 2
    if low <= 0 <= high:
        return 0.0
    for decimals in range(10):
        phi = round(midpoint, decimals)
        if low < phi < high:
            return phi
    return midpoint


def max_buildable_phi(baseline: ArchSpec, coefficients: Coefficients) -> float:
    """The largest phi up to MAX_PHI whose network can be built at all."""

    def buildable(phi: float) -> bool:
        try:
            scale_to_phi(baseline, coefficients, phi)
        except SpecError:
            return False
        return True

    return find_boundary(buildable, 0.0, MAX_PHI)


def check_coefficients_grow(coefficients: Coefficients) -> None:
    """Raises InputError for coefficients that scale nothing."""
    if max(coefficients.alpha, coefficients.beta, coefficients.gamma) <= 1:
        raise InputError(
            "scaling: alpha, beta and gamma are all 1, so every phi means the baseline and no "
            "budget can be met; "
            "give at least one a value above 1"
        )


def nominal_phi(coefficients: Coefficients, multiple: float) -> float:
    """The phi that would give `multiple` times the FLOPs if nothing were rounded."""
    return math.log(multiple) / math.log(coefficients.nominal)
