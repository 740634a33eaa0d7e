"""The best measured network of a run under limits, and what a smaller or larger one gives."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from phinas.experiment.errors import NoResultError
from phinas.reports.measured_networks import MEASUREMENT_KINDS, MeasuredNetwork, MeasurementKind


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper limits of a network's cost. None sets no limit.

    Attributes:
        max_flops: Multiply-adds per image.
        max_params: Number of parameters.
        max_latency_ms: Time of one inference in ms.
        max_size_mb: Size of the float32 weights in MB.
    """

    max_flops: float | None = None
    max_params: float | None = None
    max_latency_ms: float | None = None
    max_size_mb: float | None = None

    def allow_cost(self, network: MeasuredNetwork) -> bool:
        """Whether a network meets the limits other than the latency."""
        values = (
            (network.cost.flops, self.max_flops),
            (network.cost.params, self.max_params),
            (network.size_mb, self.max_size_mb),
        )
        return all(limit is None or value <= limit for value, limit in values)

    def __str__(self) -> str:
        texts = [
            self.max_flops is not None and f"{self.max_flops:,.0f} FLOPs",
            self.max_params is not None and f"{self.max_params:,.0f} parameters",
            self.max_latency_ms is not None and f"{self.max_latency_ms:g} ms",
            self.max_size_mb is not None and f"{self.max_size_mb:g} MB",
        ]
        return ", ".join(text for text in texts if text)


@dataclass(frozen=True, slots=True)
class NetworkChoice:
    """The best network under limits, and its alternatives.

    Attributes:
        best: The network with the highest score of the most reliable kind of measurement that has a
            network within the limits.
        next_smaller: The best network with fewer FLOPs, measured in the same way.
        next_larger: The network with the fewest FLOPs among those with a higher score, measured in
            the same way. It exceeds a limit.
        other_kinds: The best network within the limits for each other kind of measurement. Their
            scores are not comparable with that of `best`.
        skipped: Name of each network that could not be timed, and why.
    """

    best: MeasuredNetwork
    next_smaller: MeasuredNetwork | None
    next_larger: MeasuredNetwork | None
    other_kinds: tuple[MeasuredNetwork, ...]
    skipped: dict[str, str]


def best_by_size(networks: Sequence[MeasuredNetwork]) -> list[MeasuredNetwork]:
    """The networks whose score is above that of every network with at most their FLOPs, by kind of
    measurement and FLOPs. Only networks of one kind are compared.
    """
    front = []
    for kind in MEASUREMENT_KINDS:
        best_score = -math.inf
        same_kind = (network for network in networks if network.kind == kind)
        for network in sorted(same_kind, key=lambda item: (item.cost.flops, -item.score)):
            if network.score > best_score:
                front.append(network)
                best_score = network.score
    return front


def choose_network(
    networks: Sequence[MeasuredNetwork],
    limits: Limits,
    *,
    get_latency_ms: Callable[[MeasuredNetwork], float],
) -> NetworkChoice:
    """Choose the best of the measured networks within the limits.

    Args:
        networks: The networks of `measured_networks`.
        limits: The limits.
        get_latency_ms: Returns the latency of a network. It is called, from the highest score
            downwards, until a network meets the limit, and not at all without such a limit. A
            network for which it raises NoResultError is skipped.

    Raises:
        NoResultError: Nothing is measured, or no network meets the limits.
    """
    timings = _Timings(get_latency_ms)
    best_by_kind = {
        kind: best
        for kind in MEASUREMENT_KINDS
        if (best := _best(networks, kind, limits, timings)) is not None
    }
    if not best_by_kind:
        raise NoResultError(_describe_failure(networks, limits, timings))
    best, *other_kinds = best_by_kind.values()
    comparable = [network for network in networks if network.kind == best.kind]
    smaller = [network for network in comparable if network.cost.flops < best.cost.flops]
    better = [network for network in comparable if network.score > best.score]
    return NetworkChoice(
        best,
        max(smaller, key=lambda network: network.score, default=None),
        min(better, key=lambda network: network.cost.flops, default=None),
        tuple(other_kinds),
        timings.failures,
    )


class _Timings:
    """Latencies in ms, and why networks have none, by name."""

    def __init__(self, get_latency_ms: Callable[[MeasuredNetwork], float]) -> None:
        self._get_latency_ms = get_latency_ms
        self.latencies_ms: dict[str, float] = {}
        self.failures: dict[str, str] = {}

    def measure(self, network: MeasuredNetwork) -> float:
        """The latency of a network; infinite where it cannot be timed."""
        try:
            self.latencies_ms[network.name] = self._get_latency_ms(network)
        except NoResultError as error:
            self.failures[network.name] = str(error)
        return self.latencies_ms.get(network.name, math.inf)


def _best(
    networks: Sequence[MeasuredNetwork],
    kind: MeasurementKind,
    limits: Limits,
    timings: _Timings,
) -> MeasuredNetwork | None:
    candidates = [
        network for network in networks if network.kind == kind and limits.allow_cost(network)
    ]
    for network in sorted(candidates, key=lambda item: (-item.score, item.cost.flops)):
        if limits.max_latency_ms is None or timings.measure(network) <= limits.max_latency_ms:
            return network
    return None


def _describe_failure(
    networks: Sequence[MeasuredNetwork], limits: Limits, timings: _Timings
) -> str:
    if not networks:
        return "the run has not measured a network yet; wait for its first trials, or resume it"
    nearest = _list_nearest(networks, limits, timings)
    failures = list(timings.failures.items())
    if failures:
        name, reason = failures[0]
        others = f", and {len(failures) - 1:,} more" if len(failures) > 1 else ""
        nearest.append(f"not timed: {name} ({reason}){others}")
    return (
        f"no measured network has at most {limits}; {'; '.join(nearest)}; raise the limit, or "
        f"search for networks with {_describe_search(limits)}"
    )


def _describe_search(limits: Limits) -> str:
    """What to search for where no network meets the limits, with the option of `phinas search`."""
    goals = (
        ("fewer FLOPs (phinas search --max-flops N)", limits.max_flops),
        ("fewer parameters (phinas search --cost params)", limits.max_params or limits.max_size_mb),
        ("less latency (phinas search --cost latency)", limits.max_latency_ms),
    )
    return " or ".join(text for text, limit in goals if limit is not None)


def _list_nearest(
    networks: Sequence[MeasuredNetwork], limits: Limits, timings: _Timings
) -> list[str]:
    """For each limit the network that is nearest to it."""
    nearest = []
    if limits.max_flops is not None:
        network = min(networks, key=lambda network: network.cost.flops)
        nearest.append(f"fewest FLOPs: {network.name} with {network.cost.flops:,}")
    if limits.max_params is not None or limits.max_size_mb is not None:
        network = min(networks, key=lambda network: network.cost.params)
        nearest.append(
            f"fewest parameters: {network.name} with {network.cost.params:,} "
            f"({network.size_mb:.3g} MB)"
        )
    if timings.latencies_ms:
        name = min(timings.latencies_ms, key=timings.latencies_ms.__getitem__)
        nearest.append(f"fastest: {name} with {timings.latencies_ms[name]:.3g} ms")
    return nearest
