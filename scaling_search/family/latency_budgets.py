"""A ladder by latency: the largest network that was measured to be within so many milliseconds.

Each measurement costs seconds, so few are made: phi is doubled away from the baseline until the
limit lies between two networks, these are halved until they differ by less than a hundredth in
FLOPs, and the next larger ones are tried as well, since latency rises with the network only
roughly. Each network is measured once, whatever the number of budgets. What was not
measured is not known: on a noisy device a network a few steps larger may have been within the limit
as well.
"""

from collections.abc import Callable, Sequence

from phinas.experiment.errors import InputError
from phinas.scaling_search.coefficients import Coefficients
from phinas.scaling_search.family.budget_ladder import (
    BudgetFit,
    check_distinct,
    check_increasing,
    check_positive,
    unreachable_message,
)
from phinas.scaling_search.family.phi import (
    MAX_PHI,
    Interval,
    check_coefficients_grow,
    find_phi_interval,
    max_buildable_phi,
    nominal_phi,
    scale_to_phi,
    shortest_decimal,
)
from phinas.space.cost import network_cost
from phinas.space.spec import ArchSpec

MeasureLatency = Callable[[ArchSpec], float]
_MAX_FLOPS_RATIO = 1.01  # networks nearer to each other in FLOPs are not told apart by a stopwatch
_NUM_NEIGHBORS = 3
# one step goes to at most this multiple of the FLOPs: a measurement far beyond the limit takes long
_MAX_STEP_MULTIPLE = 4.0


def fit_latency_budgets(
    baseline: ArchSpec,
    coefficients: Coefficients,
    limits: Sequence[float],
    measure_latency: MeasureLatency,
) -> list[BudgetFit]:
    """One network for each limit, in milliseconds; `measure_latency` times one.

    Raises InputError for limits that do not rise, that no phi meets, or of which two mean one
    network, and for a measurement that is no number above 0.
    """
    check_coefficients_grow(coefficients)
    check_increasing("latency_ms", limits)
    latency_cache = _LatencyCache(baseline, coefficients, measure_latency)
    fits = [_fit(latency_cache, limit) for limit in limits]
    check_distinct(fits)
    return fits


class _LatencyCache:
    """The latency of the network of a phi in milliseconds, each network measured once."""

    def __init__(
        self, baseline: ArchSpec, coefficients: Coefficients, measure_latency: MeasureLatency
    ) -> None:
        self.baseline = baseline
        self.coefficients = coefficients
        self.phi_range = (-MAX_PHI, max_buildable_phi(baseline, coefficients))
        self._measure_latency = measure_latency
        self._latencies: dict[ArchSpec, float] = {}

    def network(self, phi: float) -> ArchSpec:
        return scale_to_phi(self.baseline, self.coefficients, phi)

    def phi_interval(self, phi: float) -> Interval:
        return find_phi_interval(self.baseline, self.coefficients, phi)

    def __call__(self, phi: float) -> float:
        spec = self.network(phi)
        if spec not in self._latencies:
            latency = self._measure_latency(spec)
            if not 0 < latency < float("inf"):
                raise InputError(
                    f"latency: measured {latency!r} ms for {spec.spec_id}; it has to be a number "
                    "above 0"
                )
            self._latencies[spec] = latency
        return self._latencies[spec]


def _fit(latency_cache: _LatencyCache, limit: float) -> BudgetFit:
    check_positive("latency_ms", limit)
    lower, upper = _bracket(latency_cache, limit)

    def flops(phi: float) -> int:
        return network_cost(latency_cache.network(phi)).flops

    while flops(upper) > _MAX_FLOPS_RATIO * flops(lower):
        midpoint = (lower + upper) / 2
        if upper - lower < 1e-6:
            break
        if latency_cache(midpoint) <= limit:
            lower = midpoint
        else:
            upper = midpoint
    phi = lower
    phi_interval = latency_cache.phi_interval(lower)
    interval_end = phi_interval[1]
    for _ in range(_NUM_NEIGHBORS):
        next_phi = interval_end + 1e-6
        if next_phi >= latency_cache.phi_range[1]:
            break
        if latency_cache(next_phi) <= limit:
            phi = next_phi
        interval_end = latency_cache.phi_interval(next_phi)[1]
    phi_interval = latency_cache.phi_interval(phi)
    return BudgetFit(
        "latency_ms",
        limit,
        latency_cache(phi),
        shortest_decimal(phi_interval),
        phi_interval,
        latency_cache.network(phi),
    )


def _bracket(latency_cache: _LatencyCache, limit: float) -> tuple[float, float]:
    """A phi whose network is within the limit, and a larger one whose network is not."""
    previous = 0.0
    fits = latency_cache(previous) <= limit
    step = nominal_phi(latency_cache.coefficients, 2.0 if fits else 0.5)
    max_step = abs(nominal_phi(latency_cache.coefficients, _MAX_STEP_MULTIPLE))
    end = latency_cache.phi_range[1] if fits else latency_cache.phi_range[0]
    while previous != end:
        phi = min(previous + step, end) if fits else max(previous + step, end)
        if (latency_cache(phi) <= limit) != fits:
            return (previous, phi) if fits else (phi, previous)
        previous, step = phi, max(-max_step, min(max_step, 2 * step))
    extreme, advice = ("largest", "lower") if fits else ("smallest", "raise")
    resolution = latency_cache.network(previous).resolution
    raise InputError(
        unreachable_message(
            "latency_ms",
            limit,
            extreme=extreme,
            phi=previous,
            value=latency_cache(previous),
            resolution=resolution,
            advice=advice,
        )
    )
