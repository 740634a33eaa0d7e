"""Interleaved latency measurement of several networks on one device.

The networks run in alternation, so other load of the machine affects all alike. In a round each
network has one turn of some tenths of a second. The order of the networks is reversed from round to
round (A B, B A), so a steady drift favors none. The first run of a turn does not count, since the
caches still hold data of another network.

The ratio of two latencies is the median of the ratios within rounds. Its interval is that of the
sign test: it assumes no distribution, and its sample size is the number of rounds, since
consecutive runs are not independent.

On a CUDA device two more results are recorded: the time between CUDA events around each run, which
excludes waiting of the caller, and the peak of allocated memory. Not tested: these
(`_with_cuda_events`, `_track_peak_memory`) have not run on a GPU yet.
"""

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from phinas.experiment.errors import NoResultError
from phinas.experiment.manifest import describe_machine
from phinas.space.network import Network
from phinas.training.timing.latency import (
    MAX_SECONDS,
    TimingSeries,
    make_synchronizer,
    timed_runs,
    warm_up,
)
from phinas.training.timing.torch_inference import inference_settings

if TYPE_CHECKING:
    import torch

MIN_ROUNDS = 10
_TURN_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class LatencyRatio:
    """The ratio of two networks' latencies.

    Attributes:
        median: median ratio over rounds.
        interval: 95% interval of the median; None with fewer than six rounds.
        rounds: number of rounds.
    """

    median: float
    interval: tuple[float, float] | None
    rounds: int


@dataclass
class TimedNetwork:
    """The timing of one of several networks.

    Attributes:
        failure: why the network failed and is no longer timed; None if it did not fail.
        series: the runs that count.
        turn_medians_ms: median of each turn, in ms.
        seconds_used: total time of all runs, also of those that do not count.
        device_ms: time of each run that counts on a CUDA device, in ms; empty on other devices.
        peak_memory_bytes: peak of allocated memory on a CUDA device; None on other devices.
    """

    failure: str | None = None
    series: TimingSeries = field(default_factory=TimingSeries)
    turn_medians_ms: list[float] = field(default_factory=list)
    seconds_used: float = 0.0
    device_ms: list[float] = field(default_factory=list)
    peak_memory_bytes: int | None = None

    def add_turn(self, runs: list[tuple[float, bool]]) -> None:
        """Add the runs of a turn; the first one counts only if it is the only one."""
        self.seconds_used += sum(milliseconds for milliseconds, _ in runs) / 1e3
        counted_runs = runs[1:] or runs
        for milliseconds, disturbed in counted_runs:
            self.series.add(milliseconds, disturbed=disturbed)
        undisturbed_ms = [milliseconds for milliseconds, disturbed in counted_runs if not disturbed]
        self.turn_medians_ms.append(
            statistics.median(undisturbed_ms or [milliseconds for milliseconds, _ in counted_runs])
        )

    def ratio_to(self, other: "TimedNetwork") -> LatencyRatio | None:
        """Return the latency divided by that of another network in the same rounds.

        None if one of the two failed.
        """
        from scipy.stats import quantile_test

        if self.failure or other.failure:
            return None
        ratios = [
            this_median / other_median
            for this_median, other_median in zip(
                self.turn_medians_ms, other.turn_medians_ms, strict=True
            )
        ]
        low, high = map(float, quantile_test(ratios, p=0.5).confidence_interval(0.95))
        return LatencyRatio(
            statistics.median(ratios), (low, high) if low == low else None, len(ratios)
        )


def time_interleaved(
    specs: Sequence[Network],
    device: "torch.device",
    *,
    batch: int,
    make_inference: Callable[[Network], Callable[[], object]],
) -> list[TimedNetwork]:
    """Measure the inference latency of several networks with interleaved runs.

    There are at least ten rounds, and at least as many runs of each network as in
    `phinas.training.timing.latency.time_repeatedly`. The measurement ends earlier once the runs of
    one network took 20 s. A network that does not fit the memory fails; the others continue.

    Args:
        specs: the networks.
        device: device of the inferences.
        batch: images in one inference.
        make_inference: returns a function that runs one inference of a network on the device. It
            may raise NoResultError, which fails that network.

    Returns:
        One timing for each network, in the order of `specs`.
    """
    networks = [TimedNetwork() for _ in specs]
    active: list[tuple[TimedNetwork, _InferenceRunner]] = []
    # all turns are as long as the slowest run, so a fast network has many runs in each turn
    turn_seconds = _TURN_SECONDS
    with inference_settings():
        for spec, network in zip(specs, networks, strict=True):
            with _record_out_of_memory(network):
                _check_memory(spec, device, batch)
                runner, seconds = _start(network, spec, device, make_inference)
                turn_seconds = max(turn_seconds, seconds)
                active.append((network, runner))
        while active and not _is_finished([network for network, _ in active]):
            for network, runner in active:
                with _record_out_of_memory(network):
                    network.add_turn(runner.run_turn(turn_seconds, network.device_ms))
            active = [
                (network, runner) for network, runner in reversed(active) if not network.failure
            ]
    return networks


def _start(
    network: TimedNetwork,
    spec: Network,
    device: "torch.device",
    make_inference: Callable[[Network], Callable[[], object]],
) -> tuple["_InferenceRunner", float]:
    """Build a network and warm it up.

    Returns:
        What runs the network, and the seconds of its fastest run.
    """
    peak_memory = _track_peak_memory(device)
    runner = _InferenceRunner(make_inference(spec), device)
    seconds = warm_up(runner.run, runner.synchronize) / 1e3
    network.peak_memory_bytes = peak_memory()
    return runner, seconds


def _is_finished(networks: Sequence[TimedNetwork]) -> bool:
    if any(network.seconds_used >= MAX_SECONDS for network in networks):
        return True
    return all(
        network.series.is_complete and len(network.turn_medians_ms) >= MIN_ROUNDS
        for network in networks
    )


class _InferenceRunner:
    """Runs inferences of one network and times each."""

    def __init__(self, run: Callable[[], object], device: "torch.device") -> None:
        self.run, self.synchronize = run, make_synchronizer(device)
        self._device_ms: Callable[[], float] | None = None
        if device.type == "cuda":
            self.run, self._device_ms = _with_cuda_events(run, device)

    def run_turn(self, seconds: float, device_ms: list[float]) -> list[tuple[float, bool]]:
        """Run the network for one turn, at least once.

        Args:
            seconds: approximate duration of the turn.
            device_ms: list to which the times on the device are added, for the runs that count.

        Returns:
            The time of each run in ms, and whether it was disturbed.
        """
        runs: list[tuple[float, bool]] = []
        event_ms: list[float] = []
        seconds_used = 0.0
        for milliseconds, disturbed in timed_runs(self.run, self.synchronize):
            runs.append((milliseconds, disturbed))
            if self._device_ms is not None:
                event_ms.append(self._device_ms())
            seconds_used += milliseconds / 1e3
            if seconds_used + milliseconds / 2e3 >= seconds:
                break
        device_ms += event_ms[1:] or event_ms
        return runs


def _with_cuda_events(
    run: Callable[[], object], device: "torch.device"
) -> tuple[Callable[[], None], Callable[[], float]]:
    """Enclose `run` in two CUDA events; also return a function for the ms between them."""
    import torch

    stream = torch.cuda.current_stream(device)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]

    def run_between_events() -> None:
        start.record(stream)
        run()
        end.record(stream)

    return run_between_events, lambda: start.elapsed_time(end)


def _track_peak_memory(device: "torch.device") -> Callable[[], int | None]:
    """Return a function for the peak memory on a CUDA device since this call, in bytes.

    Memory that is allocated at this call is not included. On other devices it returns None.
    """
    import torch

    if device.type != "cuda":
        return lambda: None
    torch.cuda.reset_peak_memory_stats(device)
    allocated_before = torch.cuda.memory_allocated(device)
    return lambda: torch.cuda.max_memory_allocated(device) - allocated_before


def fits_memory(spec: Network, device: "torch.device", batch: int) -> bool:
    """Return whether the inference of a network fits the memory of the machine, as far as known.

    True for every network on a GPU, where too little memory raises an error.
    """
    try:
        _check_memory(spec, device, batch)
    except _TooLargeError:
        return False
    return True


class _TooLargeError(RuntimeError):
    """The network was not run, since it needs more memory than the machine has."""


def _check_memory(spec: Network, device: "torch.device", batch: int) -> None:
    """Refuse a network that needs more memory than the machine has, if the device is a CPU.

    Its allocator would succeed all the same, and the system would then kill the process.

    Raises:
        _TooLargeError: the network needs more memory.
    """
    required_cost = spec.cost()
    required, memory = (
        4 * (required_cost.params + batch * required_cost.peak_activations),
        describe_machine().memory_bytes,
    )
    if device.type == "cpu" and 0 < memory < required:
        raise _TooLargeError(
            f"needs at least {required / 1e9:,.1f} GB of memory; the machine has "
            f"{memory / 1e9:,.1f} GB"
        )


@contextmanager
def _record_out_of_memory(network: TimedNetwork) -> Iterator[None]:
    import torch

    from phinas.training.engine.device import is_out_of_memory

    try:
        yield
    except (_TooLargeError, NoResultError) as error:
        network.failure = str(error)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        network.failure = "out of memory"
    if network.failure and torch.cuda.is_available():
        torch.cuda.empty_cache()
