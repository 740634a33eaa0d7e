"""Keep the depth of a stage from more than doubling from one member of a family to the next.

A race compares networks at one phi, where a large alpha may be the best. At larger phi it stacks
blocks in stages that no compared network has. So alpha is lowered until no member has more than
twice the blocks of the member before in any stage. Beta and gamma are raised instead, in the
proportion of their shares of the FLOPs, 2 log beta : 2 log gamma. So alpha * beta^2 * gamma^2 stays
the same.

Depth keeps at least its published part of the FLOPs, log 1.2 of log (1.2 * 1.1^2 * 1.15^2). If a
stage still more than doubles, the members are far apart: from B0 to its phi 7 the published 1.2
makes three and a half times the blocks. A finer ladder is the remedy then.

A stage is a run of blocks with one width and resolution (`ArchSpec.group_depths`). The stages of a
network that a user's function builds are not known; its factor of the depth stands for them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

from phinas.experiment.errors import InputError
from phinas.scaling_search.coefficients import PAPER, Coefficients
from phinas.space.network import ScalableNetwork
from phinas.space.scaling import scale_depths
from phinas.space.spec import ArchSpec

MAX_DEPTH_RATIO = 2
_NUM_BISECTIONS = 10  # alpha to a thousandth of the range of its logarithm
_PUBLISHED_DEPTH = math.log(PAPER.alpha) / math.log(PAPER.nominal)  # of the FLOPs


def find_depth_jumps(
    baseline: ScalableNetwork, coefficients: Coefficients, ladder: Sequence[float]
) -> list[float]:
    """Each phi whose network has more than twice the blocks of the one before in some stage.

    Args:
        baseline: The first network.
        coefficients: The compound coefficients.
        ladder: The phi of the family. Those below the baseline are left out.
    """
    group_depths = baseline.canonicalize().group_depths if isinstance(baseline, ArchSpec) else None

    def depths(phi: float) -> Sequence[float]:
        factor = coefficients.factors(baseline.resolution, phi).depth
        if group_depths is None:
            return [factor]
        return scale_depths(group_depths, factor, rounding=coefficients.rounding)

    steps: list[tuple[float, Sequence[float]]] = [(0.0, group_depths or [1.0])]
    steps += [(phi, depths(phi)) for phi in sorted(ladder) if phi > 0]
    return [
        phi
        for (_, before), (phi, after) in pairwise(steps)
        if any(new > MAX_DEPTH_RATIO * old for old, new in zip(before, after, strict=True))
    ]


def limit_depth_growth(
    baseline: ScalableNetwork,
    coefficients: Coefficients,
    find_ladder: Callable[[Coefficients], Sequence[float]],
) -> Coefficients:
    """The coefficients with the largest alpha for which no stage more than doubles its depth.

    Args:
        baseline: The network to scale.
        coefficients: The compound coefficients.
        find_ladder: Returns the phi of the family for some coefficients.

    Returns:
        The same coefficients if no stage more than doubles its depth, or if others have no family
        (no phi meets a budget). Those with the published part of depth if no larger one suffices.

    Raises:
        InputError: No phi meets a budget with these coefficients.
    """

    def is_limited(candidate: Coefficients) -> bool:
        return not find_depth_jumps(baseline, candidate, find_ladder(candidate))

    if is_limited(coefficients):
        return coefficients
    total = math.log(coefficients.nominal)
    low, high = total * _PUBLISHED_DEPTH, math.log(coefficients.alpha)
    if low >= high:
        return coefficients

    def with_log_alpha(log_alpha: float) -> Coefficients:
        return _with_log_alpha(coefficients, log_alpha, baseline.resolution)

    try:
        for _ in range(_NUM_BISECTIONS):
            middle = (low + high) / 2
            if is_limited(with_log_alpha(middle)):
                low = middle
            else:
                high = middle
    except InputError:
        return coefficients
    return with_log_alpha(low)


def _with_log_alpha(coefficients: Coefficients, log_alpha: float, resolution: int) -> Coefficients:
    """The coefficients with another alpha at the same nominal multiple of the FLOPs.

    Args:
        coefficients: The compound coefficients.
        log_alpha: The logarithm of the new alpha.
        resolution: Of the baseline, in px.
    """
    rest = math.log(coefficients.nominal) - log_alpha
    width_fraction = _width_fraction(coefficients, resolution)
    return replace(
        coefficients,
        alpha=math.exp(log_alpha),
        beta=math.exp(rest * width_fraction / 2),
        gamma=math.exp(rest * (1 - width_fraction) / 2),
    )


def _width_fraction(coefficients: Coefficients, resolution: int) -> float:
    """The part of beta in the FLOPs that beta and gamma add.

    If neither grows, it is the published one. Beta grows alone where the baseline has the highest
    resolution.
    """
    limit = coefficients.max_resolution
    if limit is not None and limit <= resolution:
        return 1.0
    width, area = math.log(coefficients.beta), math.log(coefficients.gamma)
    if width + area == 0:
        width, area = math.log(PAPER.beta), math.log(PAPER.gamma)
    return width / (width + area)
