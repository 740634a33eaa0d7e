"""How long an inference takes on this device, as a job of its own.

A job of its own, and not a part of the training: so evaluators, a user's function and a table among
them, know nothing of it; it is done before the training, so a network that can't run costs no
training; and its result is recorded by itself, so a trial that is begun again is not timed again.
With several workers it shares the machine with their trainings.

The time is what a caller waits: from the call until the device is done, by the wall clock, the
launching of kernels (most of it, for one image on a GPU) included. Random weights and images do:
nothing in these networks depends on values.

Several networks beside each other, on the same machinery: `interleaved_timing`.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from phinas.experiment.executors import Job
from phinas.experiment.job_list import job_key
from phinas.space.spec import ArchSpec

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
Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class LatencyTimer:
    """Everything about a timing but the network. batch: images of an inference."""

    device: str
    threads: int
    batch: int = 1
    limit_seconds: float = 600.0

    def make_job(self, spec: ArchSpec) -> Job:
        """The timing of `spec`; its result is what `measure_latency` returns."""
        payload = {
            "spec": spec.to_dict(),
            "device": self.device,
            "threads": self.threads,
            "batch": self.batch,
        }
        return Job(job_key(FUNCTION, payload), FUNCTION, payload, self.limit_seconds)


def measure_latency(
    *, spec: dict[str, Any], device: str, threads: int, batch: int
) -> dict[str, Any]:
    """The job: the median in milliseconds of an inference, the quartiles, how many runs, how many
    were left out, on what.
    """
    import torch

    from phinas.training.engine.device import resolve_device

    torch.set_num_threads(threads)
    network, torch_device = ArchSpec.from_dict(spec), resolve_device(device)
    with torch.inference_mode():
        milliseconds, num_excluded = time_repeatedly(
            make_inference(network, torch_device, batch=batch),
            synchronize=make_synchronizer(torch_device),
        )
    first_quartile, median, third_quartile = quartiles(milliseconds)
    return {
        "latency_ms": median,
        "latency_quartiles_ms": [first_quartile, third_quartile],
        "latency_runs": len(milliseconds),
        "latency_runs_excluded": num_excluded,
        "latency_hardware": f"{describe_hardware(torch_device, threads)}, batch of {batch}",
    }


def make_inference(
    spec: ArchSpec, device: "torch.device", *, batch: int, precision: Precision = "fp32"
) -> Callable[[], object]:
    """One inference of a freshly made network, channels_last; to be called in inference mode. bf16:
    under autocast, entered anew each time, so that the casting of the weights is in it, as it is
    for who calls a model so."""
    import torch

    from phinas.space.blocks import build

    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(0)
        model = build(spec).eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        generator = torch.Generator(device).manual_seed(0)
        images = torch.randn(
            batch,
            spec.channels,
            spec.resolution,
            spec.resolution,
            device=device,
            generator=generator,
        )
        images = images.to(memory_format=torch.channels_last)
    if precision == "fp32":
        return lambda: model(images)

    def infer() -> object:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            return model(images)

    return infer


def describe_hardware(device: "torch.device", threads: int) -> str:
    """The processor or card, and the threads."""
    from phinas.experiment.manifest import describe_machine
    from phinas.training.engine.device import describe_device

    name = describe_device(device) if device.type == "cuda" else describe_machine()["processor"]
    return f"{name}, {threads} thread{'s' if threads > 1 else ''}"


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """First quartile, median and third quartile; of one value it is all three."""
    first_quartile, median, third_quartile = (
        statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    )
    return first_quartile, median, third_quartile


def make_synchronizer(device: "torch.device") -> Callable[[], None]:
    """What waits until the device has done all it was given; a CPU has when a call returns."""
    import torch

    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    return torch.mps.synchronize if device.type == "mps" else lambda: None


def time_repeatedly(
    run: Callable[[], object], *, synchronize: Callable[[], None]
) -> tuple[list[float], int]:
    """Milliseconds of at least 30 runs and half a second of them, after some to warm up, and how
    many runs were left out.

    Left out are those in which the system took the processor away for something else: they tell of
    the machine's other work. Where in three seconds no 30 went undisturbed, all count. 20 seconds
    end it in any case.
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
    """The timed runs of one network, (milliseconds, disturbed); how many were disturbed, and the
    seconds they took.
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
        """As `time_repeatedly` describes it."""
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
        """The disturbed ones, or none where that leaves too few."""
        return self.disturbed if len(self.runs) - self.disturbed >= MIN_RUNS else 0

    @property
    def included_ms(self) -> list[float]:
        return [
            milliseconds
            for milliseconds, disturbed in self.runs
            if not (disturbed and self.num_excluded)
        ]


def warm_up(run: Callable[[], object], synchronize: Callable[[], None]) -> float:
    """Some runs that don't count; the milliseconds of the quickest. A slow run is not repeated for
    long.
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
    """Runs without end: milliseconds by the wall clock, and whether the system took the processor
    away meanwhile.
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
    """How often the system has taken the processor away from this process; 0 where it does not
    say.
    """
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw if resource else 0
