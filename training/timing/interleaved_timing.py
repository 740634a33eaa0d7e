"""Several networks timed in turns on one device, so that what the machine does besides hits all of
them alike.

A turn is some tenths of a second of one network; in a round each has one, in an order that is
turned about from round to round (A B, B A), so that a steady drift favors none. The first run of a
turn does not count: it finds the caches full of another network. Networks are then compared within
rounds. The interval of a ratio is that of the median of the rounds' ratios, by the
sign test: it takes no shape of the scatter for granted, and counts rounds and not runs, since
neighboring runs are alike.

On a CUDA device there is also the time between events around each run, which leaves out what only
the caller waits for, and the peak of allocated memory. That (`_with_cuda_events`,
`_track_peak_memory`) has not been run on a GPU yet.
"""

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from phinas.experiment.manifest import describe_machine
from phinas.space.cost import network_cost
from phinas.space.spec import ArchSpec
from phinas.training.timing.latency import (
    MAX_SECONDS,
    Precision,
    TimingSeries,
    make_inference,
    make_synchronizer,
    timed_runs,
    warm_up,
)

if TYPE_CHECKING:
    import torch

MIN_ROUNDS = 10
_TURN_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class LatencyRatio:
    """How many times as long as another: the median over rounds, and its 95% interval (None: of
    fewer than six rounds).
    """

    median: float
    interval: tuple[float, float] | None
    rounds: int


@dataclass
class TimedNetwork:
    """One of the networks that take turns. failure: why it is no longer timed; turn_medians_ms: the
    median (ms) of each turn; seconds_used: the seconds of all runs. device_ms, peak_memory_bytes:
    what the device says of runs and of memory, if it does."""

    failure: str | None = None
    series: TimingSeries = field(default_factory=TimingSeries)
    turn_medians_ms: list[float] = field(default_factory=list)
    seconds_used: float = 0.0
    device_ms: list[float] = field(default_factory=list)
    peak_memory_bytes: int | None = None

    def add_turn(self, runs: list[tuple[float, bool]]) -> None:
        """The first of the runs counts only where it is the only one."""
        self.seconds_used += sum(milliseconds for milliseconds, _ in runs) / 1e3
        runs_kept = runs[1:] or runs
        for milliseconds, disturbed in runs_kept:
            self.series.add(milliseconds, disturbed=disturbed)
        undisturbed_ms = [milliseconds for milliseconds, disturbed in runs_kept if not disturbed]
        self.turn_medians_ms.append(
            statistics.median(undisturbed_ms or [milliseconds for milliseconds, _ in runs_kept])
        )

    def ratio_to(self, other: "TimedNetwork") -> LatencyRatio | None:
        """Its time over that of one that took turns with it; None where one of them failed."""
        from scipy.stats import quantile_test

        if self.failure or other.failure:
            return None
        ratios = [
            own_median / other_median
            for own_median, other_median in zip(
                self.turn_medians_ms, other.turn_medians_ms, strict=True
            )
        ]
        low, high = map(float, quantile_test(ratios, p=0.5).confidence_interval(0.95))
        return LatencyRatio(
            statistics.median(ratios), (low, high) if low == low else None, len(ratios)
        )


def time_interleaved(
    specs: Sequence[ArchSpec], device: "torch.device", *, batch: int, precision: Precision = "fp32"
) -> list[TimedNetwork]:
    """Time inferences of `specs` in turns: at least ten rounds, and of each network what
    `phinas.training.timing.latency.time_repeatedly` asks for.

    Twenty seconds of one network end it in any case. One that the memory can't hold has failed; the
    others go on.
    """
    import torch

    networks = [TimedNetwork() for _ in specs]
    active: list[tuple[TimedNetwork, _InferenceRunner]] = []
    # of all alike, so that a quick network among slow ones is not run once in a while only
    turn_seconds = _TURN_SECONDS
    with torch.inference_mode():
        for spec, network in zip(specs, networks, strict=True):
            with _record_out_of_memory(network):
                _check_memory(spec, device, batch)
                runner, seconds = _start(network, spec, device, batch=batch, precision=precision)
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
    spec: ArchSpec,
    device: "torch.device",
    *,
    batch: int,
    precision: Precision,
) -> tuple["_InferenceRunner", float]:
    """Make the network and run it warm; the seconds of a run at best. One that fails here leaves
    nothing in memory.
    """
    peak_memory = _track_peak_memory(device)
    runner = _InferenceRunner(
        make_inference(spec, device, batch=batch, precision=precision), device
    )
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
    """What runs a network on a device and waits for it."""

    def __init__(self, run: Callable[[], object], device: "torch.device") -> None:
        self.run, self.synchronize = run, make_synchronizer(device)
        self._device_ms: Callable[[], float] | None = None
        if device.type == "cuda":
            self.run, self._device_ms = _with_cuda_events(run, device)

    def run_turn(self, seconds: float, device_ms: list[float]) -> list[tuple[float, bool]]:
        """Runs of about so many seconds, and at least one. device_ms: takes what the device says of
        those that count.
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
    """The run between two CUDA events, and what tells the milliseconds between them once it is
    done.
    """
    import torch

    stream = torch.cuda.current_stream(device)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]

    def run_between_events() -> None:
        start.record(stream)
        run()
        end.record(stream)

    return run_between_events, lambda: start.elapsed_time(end)


def _track_peak_memory(device: "torch.device") -> Callable[[], int | None]:
    """Tells, later, the most bytes that were allocated on a CUDA device from now on beside what is
    there already.
    """
    import torch

    if device.type != "cuda":
        return lambda: None
    torch.cuda.reset_peak_memory_stats(device)
    allocated_before = torch.cuda.memory_allocated(device)
    return lambda: torch.cuda.max_memory_allocated(device) - allocated_before


class _TooLargeError(RuntimeError):
    """It can't fit, and was not tried."""


def _check_memory(spec: ArchSpec, device: "torch.device", batch: int) -> None:
    """A CPU's allocator promises more than there is, and the system then kills the process: what
    can't fit is not tried.
    """
    required_cost = network_cost(spec)
    required, memory = (
        4 * (required_cost.params + batch * required_cost.peak_activations),
        describe_machine()["memory_bytes"],
    )
    if device.type == "cpu" and 0 < memory < required:
        raise _TooLargeError(
            f"needs {required / 1e9:,.1f} GB at least, of {memory / 1e9:,.1f} GB that there are"
        )


@contextmanager
def _record_out_of_memory(network: TimedNetwork) -> Iterator[None]:
    import torch

    from phinas.training.engine.device import is_out_of_memory

    try:
        yield
    except _TooLargeError as error:
        network.failure = str(error)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        network.failure = "out of memory"
    if network.failure and torch.cuda.is_available():
        torch.cuda.empty_cache()
