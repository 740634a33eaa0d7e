"""A ladder by latency: the largest network with a measured latency within a limit in ms.

A measurement takes seconds, so there are few: phi is doubled from the baseline until the limit is
between two networks, then bisected until these differ by less than 1% in FLOPs. The next larger
networks are measured as well, since latency rises with size only roughly. Each network is measured
once for all budgets. Other networks are not measured: on a noisy device a network a few steps
larger may be within the limit too.
"""

from collections.abc import Callable, Sequence
from typing import Generic

from phinas.experiment.artifacts.artifact import Interval
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
    check_coefficients_grow,
    find_phi_interval,
    max_buildable_phi,
    nominal_phi,
    scale_to_phi,
    shortest_decimal,
)
from phinas.space.network import Network, NetworkT

MeasureLatency = Callable[[Network], float]
_MAX_FLOPS_RATIO = 1.01  # a measurement does not distinguish networks nearer in FLOPs
_NUM_NEIGHBORS = 3
# Of the FLOPs in one step, since a measurement far above the limit takes long.
_MAX_STEP_MULTIPLE = 4.0


def fit_latency_budgets(
    baseline: NetworkT,
    coefficients: Coefficients,
    limits: Sequence[float],
    measure_latency: MeasureLatency,
) -> list[BudgetFit[NetworkT]]:
    """One network for each limit.

    Args:
        limits: In ms, rising.
        measure_latency: Measures a network in ms.

    Raises:
        InputError: The limits do not rise, no phi meets one, two of them give one network, or a
            measurement is not a number above 0.
    """
    check_coefficients_grow(coefficients)
    check_increasing("latency_ms", limits)
    latency_cache = _LatencyCache(baseline, coefficients, measure_latency)
    fits = [_fit(latency_cache, limit) for limit in limits]
    check_distinct(fits)
    return fits


class _LatencyCache(Generic[NetworkT]):
    """The latency of the network of a phi in ms; each network is measured once."""

    def __init__(
        self, baseline: NetworkT, coefficients: Coefficients, measure_latency: MeasureLatency
    ) -> None:
        self.baseline = baseline
        self.coefficients = coefficients
        self.phi_range = (-MAX_PHI, max_buildable_phi(baseline, coefficients))
        self._measure_latency = measure_latency
        self._latencies: dict[str, float] = {}  # by network_id

    def network(self, phi: float) -> NetworkT:
        return scale_to_phi(self.baseline, self.coefficients, phi)

    def phi_interval(self, phi: float) -> Interval:
        return find_phi_interval(self.baseline, self.coefficients, phi)

    def __call__(self, phi: float) -> float:
        network = self.network(phi)
        network_id = network.network_id
        if network_id not in self._latencies:
            latency = self._measure_latency(network)
            if not 0 < latency < float("inf"):
                raise InputError(
                    f"latency: the measured {latency!r} ms of network {network_id} is not a number "
                    "above 0; measure again"
                )
            self._latencies[network_id] = latency
        return self._latencies[network_id]


def _fit(latency_cache: _LatencyCache[NetworkT], limit: float) -> BudgetFit[NetworkT]:
    check_positive("latency_ms", limit)
    lower, upper = _bracket(latency_cache, limit)

    def flops(phi: float) -> int:
        return latency_cache.network(phi).cost().flops

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


def _bracket(latency_cache: _LatencyCache[NetworkT], limit: float) -> tuple[float, float]:
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
