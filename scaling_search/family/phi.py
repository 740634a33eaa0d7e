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
# phi from -REACH to REACH is looked at; with the paper's coefficients that is 5e5 times the FLOPs
REACH = 20.0
_EDGE = 1e-9


def network_at(baseline: ArchSpec, coefficients: Coefficients, phi: float) -> ArchSpec:
    """The baseline scaled by phi, whatever its sign; the baseline itself at 0. Regularisation is
    the baseline's.

    Raises SpecError where a dimension would be larger than any network's may be.
    """
    if phi == 0:
        return baseline
    if phi > 0:
        return coefficients.apply(baseline, phi)
    least = baseline.reduction / baseline.resolution
    gamma = coefficients.gamma if coefficients.gamma**phi >= least else least ** (1 / phi)
    small = replace(coefficients, gamma=gamma).apply(baseline, phi)
    widths = (baseline.stem_width, baseline.head_width, *(stage.width for stage in baseline.stages))
    if all(width % coefficients.divisor == 0 for width in widths):
        return small
    # The rounding may put a width that is no multiple of the divisor (20, or 4) above the
    # baseline's.
    deep = replace(coefficients, beta=1.0, gamma=1.0).apply(baseline, phi)
    stages = [
        replace(new, width=min(new.width, old.width))
        for new, old in zip(small.stages, deep.stages, strict=True)
    ]
    return replace(
        small,
        stages=tuple(stages),
        stem_width=min(small.stem_width, baseline.stem_width),
        head_width=min(small.head_width, baseline.head_width),
    )


def interval_of(baseline: ArchSpec, coefficients: Coefficients, phi: float) -> Interval:
    """All phi that mean the network of `phi`, to 1e-9, within REACH (an end there is not the
    network's own).
    """
    network = network_at(baseline, coefficients, phi).simplified()

    def means(other: float) -> bool:
        try:
            return network_at(baseline, coefficients, other).simplified() == network
        except SpecError:
            return False

    # 0 means the baseline as it is, also where the least step to either side rounds it: no other
    # network goes across.
    crosses = phi == 0 or means(0.0)
    low = -REACH if phi < 0 or crosses else 0.0
    high = REACH if phi > 0 or crosses else 0.0
    return edge(means, phi, low), edge(means, phi, high)


def edge(means: Callable[[float], bool], inside: float, outside: float) -> float:
    """The last phi, to 1e-9, from `inside` towards `outside` that satisfies `means`, by
    bisection.
    """
    if means(outside):
        return outside
    while abs(outside - inside) > _EDGE:
        middle = (inside + outside) / 2
        if means(middle):
            inside = middle
        else:
            outside = middle
    return inside


def readable(interval: Interval) -> float:
    """The phi inside an interval that is told in the fewest decimals, next to its middle; 0 where
    that is inside.
    """
    low, high = interval
    middle = (low + high) / 2
    if low <= 0 <= high:
        return 0.0
    for decimals in range(10):
        phi = round(middle, decimals)
        if low < phi < high:
            return phi
    return middle


def largest_phi(baseline: ArchSpec, coefficients: Coefficients) -> float:
    """The largest phi up to REACH whose network can be built at all."""

    def buildable(phi: float) -> bool:
        try:
            network_at(baseline, coefficients, phi)
        except SpecError:
            return False
        return True

    return edge(buildable, 0.0, REACH)


def require_growth(coefficients: Coefficients) -> None:
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
