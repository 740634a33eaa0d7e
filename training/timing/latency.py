"""Inference latency of a network on this device, measured by a job.

The latency is the wall-clock time from the call until the device has finished. It includes
launching the kernels, which is most of it for one image on a GPU. Weights and images are random,
since the time of these networks does not depend on values.

The measurement is a separate job, so no evaluator (training, a user's function, a table) has to
measure latency. It runs before the training, so a network that cannot run is not trained. Its
result is recorded separately, so a restarted trial is not timed again. With several workers, the
timed network shares the machine with their trainings.

`interleaved_timing` compares several networks with the same functions.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from phinas.experiment.executors import Job
from phinas.experiment.job_list import job_key
from phinas.experiment.schema.run import RUNTIME_NAMES, LatencyRuntime
from phinas.space.network import Network, network_from_dict
from phinas.training.timing.runtimes import InferenceBuilder, resolve_timing_device
from phinas.training.timing.torch_inference import inference_settings

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

if TYPE_CHECKING:
    import torch

FUNCTION = "phinas.training.timing.latency:measure_latency"
MIN_RUNS = 30
MIN_SECONDS = 0.5
MAX_DISTURBED_SECONDS = 3.0
MAX_SECONDS = 20.0
_WARMUP_RUNS, _WARMUP_SECONDS, _WARMUP_MAX_SECONDS = 5, 0.2, 2.0


@dataclass(frozen=True)
class LatencyTimer:
    """Makes the latency jobs of a run.

    Attributes:
        device: "auto", "cpu", "mps", "cuda" or "cuda:N".
        threads: CPU threads.
        batch: images in one inference.
        limit_seconds: time limit of a job.
        runtime: runs the inferences.
    """

    device: str
    threads: int
    batch: int = 1
    limit_seconds: float = 600.0
    runtime: LatencyRuntime = "torch"

    def make_job(self, spec: Network) -> Job:
        """Make the job that measures the latency of a network with `measure_latency`."""
        payload = {
            "spec": spec.to_dict(),
            "device": self.device,
            "threads": self.threads,
            "batch": self.batch,
            "runtime": self.runtime,
        }
        return Job(job_key(FUNCTION, payload), FUNCTION, payload, self.limit_seconds)


def measure_latency(
    *,
    spec: dict[str, Any],
    device: str,
    threads: int,
    batch: int,
    runtime: LatencyRuntime = "torch",
) -> dict[str, Any]:
    """Measure the inference latency of a network; the function of the latency jobs.

    Args:
        spec: data of `Network.to_dict`.
        device: "auto", "cpu", "mps", "cuda" or "cuda:N".
        threads: CPU threads.
        batch: images in one inference.
        runtime: runs the inferences. ONNX Runtime does so on the CPU.

    Returns:
        `latency_ms` (median), `latency_quartiles_ms` (first and third quartile), `latency_runs`
        (runs that count), `latency_runs_excluded` (disturbed runs) and `latency_hardware`.

    Raises:
        InputError: this machine has no such device, or the runtime cannot use it.
        NoResultError: the network cannot be exported to ONNX.
    """
    import torch

    torch.set_num_threads(threads)
    network, torch_device = network_from_dict(spec), resolve_timing_device(device, runtime)
    with inference_settings():
        milliseconds, num_excluded = time_repeatedly(
            InferenceBuilder(torch_device, runtime).build(network, batch=batch, threads=threads),
            synchronize=make_synchronizer(torch_device),
        )
    first_quartile, median, third_quartile = quartiles(milliseconds)
    return {
        "latency_ms": median,
        "latency_quartiles_ms": [first_quartile, third_quartile],
        "latency_runs": len(milliseconds),
        "latency_runs_excluded": num_excluded,
        "latency_hardware": f"{describe_hardware(torch_device, threads)}, batch of {batch}"
        + ("" if runtime == "torch" else f", {RUNTIME_NAMES[runtime]}"),
    }


def describe_hardware(device: "torch.device", threads: int) -> str:
    """Return the name of the processor or GPU, and the number of threads. "TF32": convolutions of
    fp32 networks round their inputs to TF32 (torch's default where the GPU has it).
    """
    import torch

    from phinas.experiment.manifest import describe_machine
    from phinas.training.engine.device import describe_device

    name = describe_machine().processor
    if device.type == "cuda":
        name = describe_device(device)
        if torch.backends.cudnn.allow_tf32 and torch.cuda.get_device_capability(device) >= (8, 0):
            name += ", TF32"
    return f"{name}, {threads} thread{'s' if threads > 1 else ''}"


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """Return first quartile, median and third quartile, which are equal for a single value."""
    first_quartile, median, third_quartile = (
        statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    )
    return first_quartile, median, third_quartile


def make_synchronizer(device: "torch.device") -> Callable[[], None]:
    """Return a function that waits until the device has finished; for a CPU it does nothing."""
    import torch

    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    return torch.mps.synchronize if device.type == "mps" else lambda: None


def time_repeatedly(
    run: Callable[[], object], *, synchronize: Callable[[], None]
) -> tuple[list[float], int]:
    """Time a function after some warm-up runs, at least 30 times and for at least 0.5 s.

    Disturbed runs, in which the system gave the processor to another process, are excluded. If
    fewer than 30 runs are undisturbed after 3 s, all count. The timing always ends after 20 s.

    Args:
        run: the function.
        synchronize: waits until the device has finished.

    Returns:
        The times of the runs that count, in ms, and the number of excluded runs.
    """
    warm_up(run, synchronize)
    series = TimingSeries()
    for milliseconds, disturbed in timed_runs(run, synchronize):
        series.add(milliseconds, disturbed=disturbed)
        if series.is_complete:
            break
    return series.included_ms, series.num_excluded


@dataclass
class TimingSeries:
    """The timed runs of one network.

    Attributes:
        runs: time in ms of each run, and whether it was disturbed.
        disturbed: number of disturbed runs.
        seconds: total time of all runs.
    """

    runs: list[tuple[float, bool]] = field(default_factory=list)
    disturbed: int = 0
    seconds: float = 0.0

    def add(self, milliseconds: float, *, disturbed: bool) -> None:
        self.runs.append((milliseconds, disturbed))
        self.disturbed += disturbed
        self.seconds += milliseconds / 1e3

    @property
    def is_complete(self) -> bool:
        """Whether the runs are sufficient by the rules of `time_repeatedly`."""
        runs = len(self.runs)
        limit = (
            MAX_SECONDS
            if runs < MIN_RUNS
            else MAX_DISTURBED_SECONDS
            if runs - self.disturbed < MIN_RUNS
            else MIN_SECONDS
        )
        return self.seconds >= limit

    @property
    def num_excluded(self) -> int:
        """Number of excluded runs: the disturbed ones, or 0 if too few others remain."""
        return self.disturbed if len(self.runs) - self.disturbed >= MIN_RUNS else 0

    @property
    def included_ms(self) -> list[float]:
        """Times in ms of the runs that are not excluded."""
        return [
            milliseconds
            for milliseconds, disturbed in self.runs
            if not (disturbed and self.num_excluded)
        ]


def warm_up(run: Callable[[], object], synchronize: Callable[[], None]) -> float:
    """Warm up with at least 5 runs and 0.2 s, or with fewer runs if they take 2 s.

    Returns:
        The time of the fastest run in ms.
    """
    times: list[float] = []
    for milliseconds, _ in timed_runs(run, synchronize):
        times.append(milliseconds)
        seconds, count = sum(times) / 1e3, len(times)
        if seconds >= (_WARMUP_SECONDS if count >= _WARMUP_RUNS else _WARMUP_MAX_SECONDS):
            break
    return min(times)


def timed_runs(
    run: Callable[[], object], synchronize: Callable[[], None]
) -> Iterator[tuple[float, bool]]:
    """Run a function again and again, until the caller stops iterating.

    Yields:
        The wall-clock time of a run in ms, and whether the system interrupted the process during
        it.
    """
    synchronize()
    num_interruptions = _count_interruptions()
    while True:
        start = time.perf_counter()
        run()
        synchronize()
        milliseconds = 1e3 * (time.perf_counter() - start)
        num_interruptions, interrupted_before = _count_interruptions(), num_interruptions
        yield milliseconds, num_interruptions != interrupted_before


def _count_interruptions() -> int:
    """Return the involuntary context switches of this process so far; 0 on Windows."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw if resource else 0
