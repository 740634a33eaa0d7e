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
    REACH,
    Interval,
    interval_of,
    largest_phi,
    network_at,
    readable,
    require_growth,
)
from phinas.space.cost import cost
from phinas.space.spec import ArchSpec

Counted = Literal["flops", "params"]
Measure = Literal["flops", "params", "latency_ms"]
_SLACK = 2.0
# a network that a shorter interval of phi means is an accident of rounding, and not looked for
_NARROWEST = 1e-6


@dataclass(frozen=True, slots=True)
class Fit:
    """The largest network within a budget. measure: what is limited, to `limit`; reached: what the
    network needs of it;
    interval: all phi that mean it; phi: one of them, told in few decimals; spec: with the
    baseline's regularisation."""

    measure: Measure
    limit: float
    reached: float
    phi: float
    interval: Interval
    spec: ArchSpec

    def to_dict(self) -> dict[str, Any]:
        """What a member's file holds of its budget."""
        phi = [round(end, 6) for end in self.interval]
        return {
            "measure": self.measure,
            "limit": self.limit,
            "reached": self.reached,
            "phi_interval": phi,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any], *, phi: float, spec: ArchSpec) -> "Fit":
        """From what a member's file holds."""
        low, high = data["phi_interval"]
        return cls(data["measure"], data["limit"], data["reached"], phi, (low, high), spec)


def fit_budget(
    baseline: ArchSpec, coefficients: Coefficients, measure: Counted, limit: float
) -> Fit:
    """The largest network of some phi within `limit` FLOPs or parameters.

    Raises InputError where the smallest network exceeds the limit, or the largest does not reach
    it.
    """
    require_growth(coefficients)
    require_positive(measure, limit)

    def needed(spec: ArchSpec) -> int:
        return getattr(cost(spec), measure)

    low, high = -REACH, largest_phi(baseline, coefficients)
    _require_reachable(baseline, coefficients, measure, limit, needed=needed, ends=(low, high))
    best: tuple[float, float] | None = None
    for phi, value in networks_near(baseline, coefficients, needed, limit=limit, ends=(low, high)):
        if value <= limit and (best is None or (value, phi) > best):
            best = (value, phi)
    assert (
        best is not None
    )  # the smallest is within, and there is a last one before the limit is crossed
    reached, phi = best
    interval = interval_of(baseline, coefficients, phi)
    return Fit(
        measure,
        limit,
        reached,
        readable(interval),
        interval,
        network_at(baseline, coefficients, phi),
    )


def fit_budgets(
    baseline: ArchSpec, coefficients: Coefficients, measure: Counted, limits: Sequence[float]
) -> list[Fit]:
    """One network for each limit. Raises InputError as `fit_budget`, for limits that do not rise
    and for two that mean one network."""
    require_rising(measure, limits)
    fits = [fit_budget(baseline, coefficients, measure, limit) for limit in limits]
    require_distinct(fits)
    return fits


def networks_near(
    baseline: ArchSpec,
    coefficients: Coefficients,
    needed: Callable[[ArchSpec], float],
    *,
    limit: float,
    ends: Interval,
) -> Iterator[tuple[float, float]]:
    """A phi and the cost of every network whose cost is near the limit (and of some others, the
    next below and the next above among them), by halving what lies between two phi until both mean
    one network."""

    def at(phi: float) -> tuple[float, ArchSpec, float]:
        spec = network_at(baseline, coefficients, phi)
        return phi, spec, needed(spec)

    # The baseline is a point of its own, that its neighbours on either side may round up or down
    # from.
    middle = at(0.0)
    pending = [(at(ends[0]), at(-_NARROWEST)), (middle, middle), (at(_NARROWEST), at(ends[1]))]
    while pending:
        left, right = pending.pop()
        yield left[0], left[2]
        yield right[0], right[2]
        settled = left[1] == right[1] or right[0] - left[0] < _NARROWEST
        if (
            settled
            or min(left[2], right[2]) > limit * _SLACK
            or max(left[2], right[2]) < limit / _SLACK
        ):
            continue
        between = at((left[0] + right[0]) / 2)
        pending += [(left, between), (between, right)]


def _require_reachable(
    baseline: ArchSpec,
    coefficients: Coefficients,
    measure: Counted,
    limit: float,
    *,
    needed: Callable[[ArchSpec], int],
    ends: Interval,
) -> None:
    for phi, end, remedy in ((ends[0], "smallest", "raise"), (ends[1], "largest", "lower")):
        spec = network_at(baseline, coefficients, phi)
        value = needed(spec)
        if value > limit if end == "smallest" else value < limit:
            raise InputError(
                unmet(
                    measure,
                    limit,
                    end=end,
                    phi=phi,
                    value=value,
                    side=spec.resolution,
                    remedy=remedy,
                )
            )


def unmet(
    measure: Measure, limit: float, *, end: str, phi: float, value: float, side: int, remedy: str
) -> str:
    """The message for a budget that no phi meets. end: "smallest" or "largest"; side: its pixels of
    a side.
    """
    least = f" (phi {phi:.3g}, {side} pixels of a side)"
    return (
        f"scaling.{measure}: no phi meets {shown(measure, limit)}: the {end} network that these "
        "coefficients make of the "
        f"baseline has {shown(measure, value)}{least}; {remedy} the budget or start from a "
        f"{'smaller' if end == 'smallest' else 'larger'} baseline"
    )


def shown(measure: Measure, value: float) -> str:
    """A cost in words, to three or four digits."""
    if measure == "latency_ms":
        return f"{value:.3g} ms"
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.4g}{unit} {measure}"
    return f"{value:.4g} {measure}"


def require_positive(measure: Measure, limit: float) -> None:
    """Raises InputError for a budget that is no finite number above 0."""
    if (
        isinstance(limit, bool)
        or not isinstance(limit, int | float)
        or not 0 < limit < float("inf")
    ):
        raise InputError(
            f"scaling.{measure}: {limit!r} is not a number above 0; give what the network may "
            "need at most"
        )


def require_rising(measure: Measure, limits: Sequence[float]) -> None:
    """Raises InputError for no budgets, or budgets that do not rise strictly."""
    if not limits:
        raise InputError(f"scaling.{measure}: no budgets; give at least one")
    for limit in limits:
        require_positive(measure, limit)
    for smaller, larger in pairwise(limits):
        if larger <= smaller:
            raise InputError(
                f"scaling.{measure}: {larger:g} after {smaller:g} does not rise; write the "
                "budgets in rising order, each once"
            )


def require_distinct(fits: Sequence[Fit]) -> None:
    """Raises InputError where two budgets mean one network."""
    for smaller, larger in pairwise(fits):
        if smaller.spec == larger.spec:
            measure = smaller.measure
            raise InputError(
                f"scaling.{measure}: {shown(measure, smaller.limit)} and "
                f"{shown(measure, larger.limit)} mean one network, of "
                f"{shown(measure, smaller.reached)}: none lies between them; leave one out, move "
                "them apart, or round more "
                "finely (scaling.rounding: round, a smaller scaling.divisor)"
            )
