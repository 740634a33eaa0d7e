"""The best measured network of a run under limits, and what a smaller or larger one gives."""

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
    """

    best: MeasuredNetwork
    next_smaller: MeasuredNetwork | None
    next_larger: MeasuredNetwork | None
    other_kinds: tuple[MeasuredNetwork, ...]


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
            downwards, until a network meets the limit, and not at all without such a limit.

    Raises:
        NoResultError: Nothing is measured, or no network meets the limits.
    """
    best_by_kind = {
        kind: best
        for kind in MEASUREMENT_KINDS
        if (best := _best(networks, kind, limits, get_latency_ms)) is not None
    }
    if not best_by_kind:
        raise NoResultError(_describe_failure(networks, limits))
    best, *other_kinds = best_by_kind.values()
    comparable = [network for network in networks if network.kind == best.kind]
    smaller = [network for network in comparable if network.cost.flops < best.cost.flops]
    better = [network for network in comparable if network.score > best.score]
    return NetworkChoice(
        best,
        max(smaller, key=lambda network: network.score, default=None),
        min(better, key=lambda network: network.cost.flops, default=None),
        tuple(other_kinds),
    )


def _best(
    networks: Sequence[MeasuredNetwork],
    kind: MeasurementKind,
    limits: Limits,
    get_latency_ms: Callable[[MeasuredNetwork], float],
) -> MeasuredNetwork | None:
    candidates = [
        network for network in networks if network.kind == kind and limits.allow_cost(network)
    ]
    for network in sorted(candidates, key=lambda item: (-item.score, item.cost.flops)):
        if limits.max_latency_ms is None or get_latency_ms(network) <= limits.max_latency_ms:
            return network
    return None


def _describe_failure(networks: Sequence[MeasuredNetwork], limits: Limits) -> str:
    if not networks:
        return "the run has not measured a network yet; wait for its first trials, or resume it"
    smallest = min(networks, key=lambda network: network.cost.flops)
    return (
        f"no measured network has at most {limits}; the one with the fewest FLOPs, "
        f"{smallest.name}, has {smallest.cost.flops:,} FLOPs, {smallest.cost.params:,} parameters "
        f"and {smallest.size_mb:.3g} MB; raise the limit, or search with a lower --max-flops"
    )
