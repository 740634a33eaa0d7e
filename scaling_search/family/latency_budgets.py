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
    Fit,
    require_distinct,
    require_positive,
    require_rising,
    unmet,
)
from phinas.scaling_search.family.phi import (
    REACH,
    interval_of,
    largest_phi,
    network_at,
    nominal_phi,
    readable,
    require_growth,
)
from phinas.space.cost import cost
from phinas.space.spec import ArchSpec

Latency = Callable[[ArchSpec], float]
_ALIKE = 1.01  # networks nearer to each other in FLOPs are not told apart by a stopwatch
_NEIGHBOURS = 3
# one step goes to at most this multiple of the FLOPs: a measurement far beyond the limit takes long
_FARTHEST = 4.0


def fit_latencies(
    baseline: ArchSpec, coefficients: Coefficients, limits: Sequence[float], latency: Latency
) -> list[Fit]:
    """One network for each limit, in milliseconds; `latency` measures a network.

    Raises InputError for limits that do not rise, that no phi meets, or of which two mean one
    network, and for a measurement that is no number above 0.
    """
    require_growth(coefficients)
    require_rising("latency_ms", limits)
    stopwatch = _Stopwatch(baseline, coefficients, latency)
    fits = [_fit(stopwatch, limit) for limit in limits]
    require_distinct(fits)
    return fits


class _Stopwatch:
    """The latency of the network of a phi in milliseconds, each network measured once."""

    def __init__(self, baseline: ArchSpec, coefficients: Coefficients, latency: Latency) -> None:
        self.baseline = baseline
        self.coefficients = coefficients
        self.ends = (-REACH, largest_phi(baseline, coefficients))
        self._latency = latency
        self._measured: dict[ArchSpec, float] = {}

    def network(self, phi: float) -> ArchSpec:
        return network_at(self.baseline, self.coefficients, phi)

    def __call__(self, phi: float) -> float:
        spec = self.network(phi)
        if spec not in self._measured:
            found = self._latency(spec)
            if not 0 < found < float("inf"):
                raise InputError(
                    f"latency: measured {found!r} ms for {spec.spec_id}; it has to be a number "
                    "above 0"
                )
            self._measured[spec] = found
        return self._measured[spec]


def _fit(stopwatch: _Stopwatch, limit: float) -> Fit:
    require_positive("latency_ms", limit)
    within, beyond = _bracket(stopwatch, limit)
    while cost(stopwatch.network(beyond)).flops > _ALIKE * cost(stopwatch.network(within)).flops:
        middle = (within + beyond) / 2
        if beyond - within < 1e-6:
            break
        if stopwatch(middle) <= limit:
            within = middle
        else:
            beyond = middle
    phi = within
    interval = interval_of(stopwatch.baseline, stopwatch.coefficients, within)
    upper = interval[1]
    for _ in range(_NEIGHBOURS):
        following = upper + 1e-6
        if following >= stopwatch.ends[1]:
            break
        if stopwatch(following) <= limit:
            phi = following
        upper = interval_of(stopwatch.baseline, stopwatch.coefficients, following)[1]
    interval = interval_of(stopwatch.baseline, stopwatch.coefficients, phi)
    return Fit(
        "latency_ms", limit, stopwatch(phi), readable(interval), interval, stopwatch.network(phi)
    )


def _bracket(stopwatch: _Stopwatch, limit: float) -> tuple[float, float]:
    """A phi whose network is within the limit, and a larger one whose network is not."""
    last = 0.0
    fits = stopwatch(last) <= limit
    step = nominal_phi(stopwatch.coefficients, 2.0 if fits else 0.5)
    farthest = abs(nominal_phi(stopwatch.coefficients, _FARTHEST))
    end = stopwatch.ends[1] if fits else stopwatch.ends[0]
    while last != end:
        phi = min(last + step, end) if fits else max(last + step, end)
        if (stopwatch(phi) <= limit) != fits:
            return (last, phi) if fits else (phi, last)
        last, step = phi, max(-farthest, min(farthest, 2 * step))
    name, remedy = ("largest", "lower") if fits else ("smallest", "raise")
    side = stopwatch.network(last).resolution
    raise InputError(
        unmet(
            "latency_ms", limit, end=name, phi=last, value=stopwatch(last), side=side, remedy=remedy
        )
    )
