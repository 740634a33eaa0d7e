"""How long an inference takes on this device, as a job of its own.

A job of its own, and not a part of the training: so evaluators, a user's function and a table among them, know nothing of
it; it is done before the training, so a network that can't run costs no training; and its result is recorded by itself, so a
trial that is begun again is not timed again. With several workers it shares the machine with their trainings.

The time is what a caller waits: from the call until the device is done, by the wall clock, the launching of kernels (most of
it, for one image on a GPU) included. Random weights and images do: nothing in these networks depends on values.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiment.batch import job_key
from experiment.executors import Job
from space.spec import ArchSpec

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

if TYPE_CHECKING:
    import torch

FUNCTION = "training.latency:measure"
LEAST_RUNS = 30
LEAST_SECONDS = 0.5
PATIENT_SECONDS = 3.0
MOST_SECONDS = 20.0
_WARM_RUNS, _WARM_SECONDS = 5, 0.2


@dataclass(frozen=True)
class Stopwatch:
    """Everything about a timing but the network. batch: images of an inference."""

    device: str
    threads: int
    batch: int = 1
    limit_seconds: float = 600.0

    def job(self, spec: ArchSpec) -> Job:
        """The timing of `spec`; its result is the facts of `measure`."""
        payload = {"spec": spec.to_dict(), "device": self.device, "threads": self.threads, "batch": self.batch}
        return Job(job_key(FUNCTION, payload), FUNCTION, payload, self.limit_seconds)


def measure(*, spec: dict[str, Any], device: str, threads: int, batch: int) -> dict[str, Any]:
    """The job: the median in milliseconds of an inference, the quartiles, how many runs, how many were left out, on what."""
    import torch

    from experiment.manifest import describe_machine
    from space.blocks import build
    from training.device import describe_device, resolve_device

    torch.set_num_threads(threads)
    network, where = ArchSpec.from_dict(spec), resolve_device(device)
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(0)
        model = build(network).eval().to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
        images = torch.randn(batch, network.channels, network.resolution, network.resolution)
        images = images.to(where, memory_format=torch.channels_last)
        milliseconds, left_out = repeat(lambda: model(images), until_done=until_done(where))
    first, median, third = statistics.quantiles(milliseconds, n=4) if len(milliseconds) > 1 else milliseconds * 3
    name = describe_device(where) if where.type == "cuda" else describe_machine()["processor"]
    return {
        "latency_ms": median,
        "latency_quartiles_ms": [first, third],
        "latency_runs": len(milliseconds),
        "latency_runs_left_out": left_out,
        "latency_on": f"{name}, {threads} thread{'s' if threads > 1 else ''}, batch of {batch}",
    }


def until_done(device: "torch.device") -> Callable[[], None]:
    """What waits until the device has done all it was given; a CPU has when a call returns."""
    import torch

    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    return torch.mps.synchronize if device.type == "mps" else lambda: None


def repeat(run: Callable[[], object], *, until_done: Callable[[], None]) -> tuple[list[float], int]:
    """Milliseconds of at least 30 runs and half a second of them, after some to warm up, and how many runs were left out.

    Left out are those in which the system took the processor away for something else: they tell of the machine's other work.
    Where in three seconds no 30 went undisturbed, all count. 20 seconds end it in any case.
    """
    _timed(run, until_done, runs=_WARM_RUNS, seconds=_WARM_SECONDS)
    timed = _timed(run, until_done, runs=LEAST_RUNS, seconds=LEAST_SECONDS)
    undisturbed = [milliseconds for milliseconds, disturbed in timed if not disturbed]
    if len(undisturbed) < LEAST_RUNS:
        return [milliseconds for milliseconds, _ in timed], 0
    return undisturbed, len(timed) - len(undisturbed)


def _timed(run: Callable[[], object], until_done: Callable[[], None], *, runs: int, seconds: float) -> list[tuple[float, bool]]:
    times: list[tuple[float, bool]] = []
    undisturbed = 0
    until_done()
    interrupted = _interruptions()
    began = now = time.perf_counter()
    while True:
        limit = seconds if undisturbed >= runs else PATIENT_SECONDS if len(times) >= runs else MOST_SECONDS
        if now - began >= limit:
            return times
        before = now
        run()
        until_done()
        now = time.perf_counter()
        interrupted, earlier = _interruptions(), interrupted
        times.append((1e3 * (now - before), interrupted != earlier))
        undisturbed += interrupted == earlier


def _interruptions() -> int:
    """How often the system has taken the processor away from this process; 0 where it does not say."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw if resource else 0
