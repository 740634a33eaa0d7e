"""The rounded network of a phi, and the interval of phi with the same network.

Depth, width and resolution jump at different phi, and nothing changes between two jumps. As phi
rises, no network occurs twice, so bisection finds every jump. Above the baseline a network is
`Coefficients.apply`. Below it (phi < 0) all three dimensions shrink, and nothing is larger than in
the baseline. A stage keeps at least one block (rounded up, depths shrink late), a width at least
the divisor, and the resolution at least one px for each px of the last feature map. The paper has
no networks below its baseline; the equation is the same.
"""

import math
from collections.abc import Callable
from dataclasses import replace

from phinas.experiment.artifacts.artifact import Interval
from phinas.experiment.errors import InputError
from phinas.scaling_search.coefficients import Coefficients
from phinas.space.builders.built_network import BuiltNetwork
from phinas.space.network import NetworkT, ScalableNetwork
from phinas.space.spec import SpecError

# phi from -MAX_PHI to MAX_PHI is searched; with the paper's coefficients that is 5e5 times the
# FLOPs
MAX_PHI = 20.0
_TOLERANCE = 1e-9
# Of a network that a user's function builds, which takes 0.05 to 0.5 s.
_BUILDER_TOLERANCE = 1e-3


def scale_to_phi(baseline: NetworkT, coefficients: Coefficients, phi: float) -> NetworkT:
    """The baseline scaled by phi, above or below 0; the baseline itself at 0. Regularization is the
    baseline's.

    Raises:
        SpecError: A dimension would exceed its maximum.
    """
    if phi == 0:
        return baseline
    min_factor = baseline.min_resolution / baseline.resolution
    if phi < 0 and coefficients.gamma**phi < min_factor:
        coefficients = replace(coefficients, gamma=min_factor ** (1 / phi))
    return coefficients.apply(baseline, phi)


def find_phi_interval(
    baseline: ScalableNetwork, coefficients: Coefficients, phi: float
) -> Interval:
    """All phi with the network of `phi`, to `phi_tolerance`, from -MAX_PHI to MAX_PHI."""
    network_id = scale_to_phi(baseline, coefficients, phi).network_id

    def is_equivalent(other_phi: float) -> bool:
        try:
            return scale_to_phi(baseline, coefficients, other_phi).network_id == network_id
        except SpecError:
            return False

    # At 0 the baseline is not rounded, even if the smallest step to either side rounds it: no other
    # interval crosses 0.
    crosses_zero = phi == 0 or is_equivalent(0.0)
    low = -MAX_PHI if phi < 0 or crosses_zero else 0.0
    high = MAX_PHI if phi > 0 or crosses_zero else 0.0
    tolerance = phi_tolerance(baseline)
    return (
        find_boundary(is_equivalent, phi, low, tolerance=tolerance),
        find_boundary(is_equivalent, phi, high, tolerance=tolerance),
    )


def phi_tolerance(baseline: ScalableNetwork) -> float:
    """To how much the ends of intervals of phi are found."""
    return _BUILDER_TOLERANCE if isinstance(baseline, BuiltNetwork) else _TOLERANCE


def find_boundary(
    is_equivalent: Callable[[float], bool],
    inside: float,
    outside: float,
    *,
    tolerance: float = _TOLERANCE,
) -> float:
    """The last phi, to `tolerance`, from `inside` towards `outside` that satisfies `is_equivalent`,
    by bisection.
    """
    if is_equivalent(outside):
        return outside
    while abs(outside - inside) > tolerance:
        midpoint = (inside + outside) / 2
        if is_equivalent(midpoint):
            inside = midpoint
        else:
            outside = midpoint
    return inside


def shortest_decimal(interval: Interval) -> float:
    """The phi with the fewest decimals inside an interval, near its middle; 0 where that is
    inside.
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


def max_buildable_phi(baseline: ScalableNetwork, coefficients: Coefficients) -> float:
    """The largest phi up to MAX_PHI whose network can be built at all."""

    def buildable(phi: float) -> bool:
        try:
            scale_to_phi(baseline, coefficients, phi)
        except SpecError:
            return False
        return True

    return find_boundary(buildable, 0.0, MAX_PHI)


def check_coefficients_grow(coefficients: Coefficients) -> None:
    """Raises InputError for coefficients that are all 1."""
    if max(coefficients.alpha, coefficients.beta, coefficients.gamma) <= 1:
        raise InputError(
            "scaling: alpha, beta and gamma are all 1, so every phi gives the baseline and no "
            "budget can be met; set at least one above 1"
        )


def nominal_phi(coefficients: Coefficients, multiple: float) -> float:
    """The phi that would give `multiple` times the FLOPs if nothing were rounded."""
    return math.log(multiple) / math.log(coefficients.nominal)
