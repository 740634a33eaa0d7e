"""A ladder by budgets: the largest network of any phi within a number of FLOPs or parameters.

Of all networks that some phi gives, the one with the most FLOPs (parameters) within the budget is
selected; of several with equally many, as where only the resolution differs, the one of the largest
phi. This holds above and below the baseline.

The network is a step function of phi, so networks are enumerated. On either side of the baseline
the cost rises with phi, except where a single dimension jumps (a shortcut that needs no projection
once two widths are equal): it falls by at most 2% in 571 random networks, never in the presets, and
by 11% in one network of two bottleneck blocks. So all networks between 0.8 and 1.25 times the
budget are enumerated, which takes a tenth of a second for EfficientNet-B0. The file has the value
that the network needs: around B0 the first step up, with depths rounded up as in the paper, is from
386M to 570M FLOPs.

`latency_budgets` is for latency, which has to be measured.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, Literal

from phinas.experiment.artifacts.artifact import Interval
from phinas.experiment.errors import InputError
from phinas.scaling_search.coefficients import Coefficients
from phinas.scaling_search.family.phi import (
    MAX_PHI,
    check_coefficients_grow,
    find_phi_interval,
    max_buildable_phi,
    phi_tolerance,
    scale_to_phi,
    shortest_decimal,
)
from phinas.space.builders.built_network import BuiltNetwork
from phinas.space.network import Network, NetworkT, ScalableNetwork

CountedCost = Literal["flops", "params"]
BudgetCost = Literal["flops", "params", "latency_ms"]
_SEARCH_FACTOR = 1.25
# A network with a shorter interval of phi results from rounding and is not searched for.
_MIN_INTERVAL = 1e-6


@dataclass(frozen=True, slots=True)
class BudgetFit(Generic[NetworkT]):
    """The largest network within a budget.

    Attributes:
        cost_metric: The cost that the budget limits.
        limit: The budget.
        value: The cost of the network.
        phi: A phi that gives the network, with few decimals.
        phi_interval: All phi that give it.
        spec: The network, with the baseline's regularization.
    """

    cost_metric: BudgetCost
    limit: float
    value: float
    phi: float
    phi_interval: Interval
    spec: NetworkT


def fit_budget(
    baseline: NetworkT, coefficients: Coefficients, cost_metric: CountedCost, limit: float
) -> BudgetFit[NetworkT]:
    """The largest network of any phi within `limit` FLOPs or parameters.

    Raises:
        InputError: The smallest network exceeds the limit, or the largest is below it.
    """

    def cost_of(network: Network) -> int:
        return getattr(network.cost(), cost_metric)

    low, high = check_reachable(baseline, coefficients, cost_metric, limit)
    # The smallest network is within the limit, and some network is the last one within it.
    best: tuple[float, float] | None = None
    for phi, value in networks_around(
        baseline, coefficients, cost_of, limit=limit, phi_range=(low, high)
    ):
        if value <= limit and (best is None or (value, phi) > best):
            best = (value, phi)
    assert best is not None
    best_value, phi = best
    phi_interval = find_phi_interval(baseline, coefficients, phi)
    return BudgetFit(
        cost_metric,
        limit,
        best_value,
        shortest_decimal(phi_interval),
        phi_interval,
        scale_to_phi(baseline, coefficients, phi),
    )


def fit_budgets(
    baseline: NetworkT,
    coefficients: Coefficients,
    cost_metric: CountedCost,
    limits: Sequence[float],
) -> list[BudgetFit[NetworkT]]:
    """One network for each limit.

    Raises:
        InputError: As for `fit_budget`, or the limits do not rise, or two of them give one network.
    """
    check_increasing(cost_metric, limits)
    fits = [fit_budget(baseline, coefficients, cost_metric, limit) for limit in limits]
    check_distinct(fits)
    return fits


def networks_around(
    baseline: ScalableNetwork,
    coefficients: Coefficients,
    cost_of: Callable[[Network], float],
    *,
    limit: float,
    phi_range: Interval,
) -> Iterator[tuple[float, float]]:
    """A phi and the cost of every network near the limit, by bisection between networks.

    Some other networks are included, among them the next below and the next above the limit.
    """

    def evaluate(phi: float) -> tuple[float, Network, float]:
        network = scale_to_phi(baseline, coefficients, phi)
        return phi, network, cost_of(network)

    min_interval = max(_MIN_INTERVAL, phi_tolerance(baseline))
    # The baseline is separate: its neighbors on either side may be rounded up or down from it.
    baseline_point = evaluate(0.0)
    largest = evaluate(_first_above(limit, phi_range[1], lambda phi: evaluate(phi)[2], baseline))
    pending = [
        (evaluate(phi_range[0]), evaluate(-min_interval)),
        (baseline_point, baseline_point),
        (evaluate(min_interval), largest),
    ]
    while pending:
        left, right = pending.pop()
        yield left[0], left[2]
        yield right[0], right[2]
        is_resolved = left[1] == right[1] or right[0] - left[0] < min_interval
        if (
            is_resolved
            or min(left[2], right[2]) > limit * _SEARCH_FACTOR
            or max(left[2], right[2]) < limit / _SEARCH_FACTOR
        ):
            continue
        midpoint = evaluate((left[0] + right[0]) / 2)
        pending += [(left, midpoint), (midpoint, right)]


def _first_above(
    limit: float, max_phi: float, cost_of: Callable[[float], float], baseline: ScalableNetwork
) -> float:
    """A phi above which no network is near the limit: `max_phi`, but for a network that a user's
    function builds a smaller one, since large ones take long to build.
    """
    phi = max_phi
    if isinstance(baseline, BuiltNetwork):
        phi = min(1.0, max_phi)
        while phi < max_phi and cost_of(phi) <= limit * _SEARCH_FACTOR**2:
            phi = min(2 * phi, max_phi)
    return phi


def check_reachable(
    baseline: ScalableNetwork, coefficients: Coefficients, cost_metric: CountedCost, limit: float
) -> Interval:
    """Check that some phi meets a budget.

    Returns:
        The smallest and the largest phi whose networks can be built.

    Raises:
        InputError: The smallest network exceeds the limit, or the largest is below it.
    """
    check_coefficients_grow(coefficients)
    check_positive(cost_metric, limit)
    phi_range = -MAX_PHI, max_buildable_phi(baseline, coefficients)
    extremes = ((phi_range[0], "smallest", "raise"), (phi_range[1], "largest", "lower"))
    for phi, extreme, advice in extremes:
        network = scale_to_phi(baseline, coefficients, phi)
        value = getattr(network.cost(), cost_metric)
        if value > limit if extreme == "smallest" else value < limit:
            raise InputError(
                unreachable_message(
                    cost_metric,
                    limit,
                    extreme=extreme,
                    phi=phi,
                    value=value,
                    resolution=network.resolution,
                    advice=advice,
                )
            )
    return phi_range


def unreachable_message(
    cost_metric: BudgetCost,
    limit: float,
    *,
    extreme: str,
    phi: float,
    value: float,
    resolution: int,
    advice: str,
) -> str:
    """The message for a budget that no phi meets.

    Args:
        extreme: "smallest" or "largest".
        phi: Of the smallest or largest network.
        value: Its cost.
        resolution: Of that network, in px.
        advice: "raise" or "lower".
    """
    network_text = f" (phi {phi:.3g}, {resolution} px)"
    return (
        f"scaling.{cost_metric}: no phi meets {format_budget(cost_metric, limit)}: the {extreme} "
        "network that these coefficients make of the baseline has "
        f"{format_budget(cost_metric, value)}{network_text}; {advice} the budget or start from a "
        f"{'smaller' if extreme == 'smallest' else 'larger'} baseline"
    )


def format_budget(cost_metric: BudgetCost, value: float) -> str:
    """A cost with its unit, to three or four digits."""
    if cost_metric == "latency_ms":
        return f"{value:.3g} ms"
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.4g}{unit} {cost_metric}"
    return f"{value:.4g} {cost_metric}"


def check_positive(cost_metric: BudgetCost, limit: float) -> None:
    """Raises InputError for a budget that is not a finite number above 0."""
    if (
        isinstance(limit, bool)
        or not isinstance(limit, int | float)
        or not 0 < limit < float("inf")
    ):
        raise InputError(
            f"scaling.{cost_metric}: {limit!r} is not a number above 0; use the maximum for the "
            "network"
        )


def check_increasing(cost_metric: BudgetCost, limits: Sequence[float]) -> None:
    """Raises InputError for no budgets, or budgets that do not rise strictly."""
    if not limits:
        raise InputError(f"scaling.{cost_metric}: has no budgets; use at least one")
    for limit in limits:
        check_positive(cost_metric, limit)
    for smaller, larger in pairwise(limits):
        if larger <= smaller:
            raise InputError(
                f"scaling.{cost_metric}: {larger:g} is not above the budget before it, "
                f"{smaller:g}; write the budgets in rising order, each once"
            )


def check_distinct(fits: Sequence[BudgetFit[NetworkT]]) -> None:
    """Raises InputError where two budgets give one network."""
    for smaller, larger in pairwise(fits):
        if smaller.spec == larger.spec:
            cost_metric = smaller.cost_metric
            raise InputError(
                f"scaling.{cost_metric}: {format_budget(cost_metric, smaller.limit)} and "
                f"{format_budget(cost_metric, larger.limit)} give the same network, with "
                f"{format_budget(cost_metric, smaller.value)}, since none is between them; remove "
                "one, move them apart, or round more finely (scaling.rounding: round, or a smaller "
                "scaling.divisor)"
            )
