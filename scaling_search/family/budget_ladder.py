"""A ladder by budgets: the phi whose rounded network is the largest within so many FLOPs or
parameters.

The rule: of all networks that some phi gives, the one with the most FLOPs (parameters) that does
not exceed the budget; of several with equally many, as where only the resolution differs, the one
of the largest phi. Above and below the baseline.
Networks are steps in phi and no smooth function: they are visited, not solved for. To either side
of the baseline cost rises with phi but for a rare fall where a dimension jumps by itself (a
shortcut that needs no projection once two widths are equal): at most 2% in 571 random networks and
none in the presets, but 11% in one of two bottleneck blocks. So all networks are looked at between
half the budget and twice as much, half a second for EfficientNet-B0's. How near the budget is met
is said: around B0 the first step up, with depths rounded up as in the paper, leaps from 386M to
570M FLOPs, and nothing lies between.

By latency, which is measured and not counted: `latency_budgets`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from phinas.experiment.errors import InputError
from phinas.scaling_search.coefficients import Coefficients
from phinas.scaling_search.family.phi import (
    MAX_PHI,
    Interval,
    check_coefficients_grow,
    find_phi_interval,
    max_buildable_phi,
    scale_to_phi,
    shortest_decimal,
)
from phinas.space.cost import network_cost
from phinas.space.spec import ArchSpec

CountedMetric = Literal["flops", "params"]
BudgetMetric = Literal["flops", "params", "latency_ms"]
_SEARCH_FACTOR = 2.0
# A network with a shorter interval of phi is an accident of rounding, and is not looked for.
_MIN_INTERVAL = 1e-6


@dataclass(frozen=True, slots=True)
class BudgetFit:
    """The largest network within a budget.

    Args:
        metric: what is limited.
        limit: the budget.
        value: what the network needs of it.
        phi: one phi that gives the network, in few decimals.
        phi_interval: all phi that give it.
        spec: with the baseline's regularization.
    """

    metric: BudgetMetric
    limit: float
    value: float
    phi: float
    phi_interval: Interval
    spec: ArchSpec

    def to_dict(self) -> dict[str, Any]:
        """What a member's file holds of its budget."""
        return {
            "metric": self.metric,
            "limit": self.limit,
            "value": self.value,
            "phi_interval": [round(end, 6) for end in self.phi_interval],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any], *, phi: float, spec: ArchSpec) -> "BudgetFit":
        """From what a member's file holds."""
        low, high = data["phi_interval"]
        return cls(data["metric"], data["limit"], data["value"], phi, (low, high), spec)


def fit_budget(
    baseline: ArchSpec, coefficients: Coefficients, metric: CountedMetric, limit: float
) -> BudgetFit:
    """The largest network of some phi within `limit` FLOPs or parameters.

    Raises InputError where the smallest network exceeds the limit, or the largest does not reach
    it.
    """
    check_coefficients_grow(coefficients)
    check_positive(metric, limit)

    def cost_of(spec: ArchSpec) -> int:
        return getattr(network_cost(spec), metric)

    low, high = -MAX_PHI, max_buildable_phi(baseline, coefficients)
    _check_reachable(baseline, coefficients, metric, limit, cost_of=cost_of, phi_range=(low, high))
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
        metric,
        limit,
        best_value,
        shortest_decimal(phi_interval),
        phi_interval,
        scale_to_phi(baseline, coefficients, phi),
    )


def fit_budgets(
    baseline: ArchSpec, coefficients: Coefficients, metric: CountedMetric, limits: Sequence[float]
) -> list[BudgetFit]:
    """One network for each limit. Raises InputError as `fit_budget`, for limits that do not rise
    and for two that mean one network."""
    check_increasing(metric, limits)
    fits = [fit_budget(baseline, coefficients, metric, limit) for limit in limits]
    check_distinct(fits)
    return fits


def networks_around(
    baseline: ArchSpec,
    coefficients: Coefficients,
    cost_of: Callable[[ArchSpec], float],
    *,
    limit: float,
    phi_range: Interval,
) -> Iterator[tuple[float, float]]:
    """A phi and the cost of every network whose cost is near the limit (and of some others, the
    next below and the next above among them), by halving what lies between two phi until both mean
    one network."""

    def evaluate(phi: float) -> tuple[float, ArchSpec, float]:
        spec = scale_to_phi(baseline, coefficients, phi)
        return phi, spec, cost_of(spec)

    # The baseline is a point of its own, that its neighbors on either side may round up or down
    # from.
    baseline_point = evaluate(0.0)
    pending = [
        (evaluate(phi_range[0]), evaluate(-_MIN_INTERVAL)),
        (baseline_point, baseline_point),
        (evaluate(_MIN_INTERVAL), evaluate(phi_range[1])),
    ]
    while pending:
        left, right = pending.pop()
        yield left[0], left[2]
        yield right[0], right[2]
        is_resolved = left[1] == right[1] or right[0] - left[0] < _MIN_INTERVAL
        if (
            is_resolved
            or min(left[2], right[2]) > limit * _SEARCH_FACTOR
            or max(left[2], right[2]) < limit / _SEARCH_FACTOR
        ):
            continue
        midpoint = evaluate((left[0] + right[0]) / 2)
        pending += [(left, midpoint), (midpoint, right)]


def _check_reachable(
    baseline: ArchSpec,
    coefficients: Coefficients,
    metric: CountedMetric,
    limit: float,
    *,
    cost_of: Callable[[ArchSpec], int],
    phi_range: Interval,
) -> None:
    extremes = ((phi_range[0], "smallest", "raise"), (phi_range[1], "largest", "lower"))
    for phi, extreme, advice in extremes:
        spec = scale_to_phi(baseline, coefficients, phi)
        value = cost_of(spec)
        if value > limit if extreme == "smallest" else value < limit:
            raise InputError(
                unreachable_message(
                    metric,
                    limit,
                    extreme=extreme,
                    phi=phi,
                    value=value,
                    resolution=spec.resolution,
                    advice=advice,
                )
            )


def unreachable_message(
    metric: BudgetMetric,
    limit: float,
    *,
    extreme: str,
    phi: float,
    value: float,
    resolution: int,
    advice: str,
) -> str:
    """The message for a budget that no phi meets. extreme: "smallest" or "largest"; resolution:
    of that network.
    """
    network_text = f" (phi {phi:.3g}, {resolution} pixels of a side)"
    return (
        f"scaling.{metric}: no phi meets {format_budget(metric, limit)}: the {extreme} network "
        "that these "
        "coefficients make of the "
        f"baseline has {format_budget(metric, value)}{network_text}; {advice} the budget or start "
        "from a "
        f"{'smaller' if extreme == 'smallest' else 'larger'} baseline"
    )


def format_budget(metric: BudgetMetric, value: float) -> str:
    """A cost in words, to three or four digits."""
    if metric == "latency_ms":
        return f"{value:.3g} ms"
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.4g}{unit} {metric}"
    return f"{value:.4g} {metric}"


def check_positive(metric: BudgetMetric, limit: float) -> None:
    """Raises InputError for a budget that is no finite number above 0."""
    if (
        isinstance(limit, bool)
        or not isinstance(limit, int | float)
        or not 0 < limit < float("inf")
    ):
        raise InputError(
            f"scaling.{metric}: {limit!r} is not a number above 0; give what the network may "
            "need at most"
        )


def check_increasing(metric: BudgetMetric, limits: Sequence[float]) -> None:
    """Raises InputError for no budgets, or budgets that do not rise strictly."""
    if not limits:
        raise InputError(f"scaling.{metric}: no budgets; give at least one")
    for limit in limits:
        check_positive(metric, limit)
    for smaller, larger in pairwise(limits):
        if larger <= smaller:
            raise InputError(
                f"scaling.{metric}: {larger:g} after {smaller:g} does not rise; write the "
                "budgets in rising order, each once"
            )


def check_distinct(fits: Sequence[BudgetFit]) -> None:
    """Raises InputError where two budgets mean one network."""
    for smaller, larger in pairwise(fits):
        if smaller.spec == larger.spec:
            metric = smaller.metric
            raise InputError(
                f"scaling.{metric}: {format_budget(metric, smaller.limit)} and "
                f"{format_budget(metric, larger.limit)} mean one network, of "
                f"{format_budget(metric, smaller.value)}: none lies between them; leave one out, "
                "move "
                "them apart, or round more "
                "finely (scaling.rounding: round, a smaller scaling.divisor)"
            )
