"""`phinas latency`: measured inference latency of networks, and the ratio to the first.

The measurement is phinas.training.timing.interleaved_timing, on the machinery that the search's
latency cost uses (phinas.training.timing.latency).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from phinas.api.arguments import checked_arguments
from phinas.experiment.errors import InputError
from phinas.experiment.schema.run import LatencyRuntime, check_device
from phinas.network_source import load_baseline
from phinas.space.network import Network

if TYPE_CHECKING:
    import torch

    from phinas.training.timing.interleaved_timing import TimedNetwork
    from phinas.training.timing.torch_inference import Precision

MAX_BATCH_SIZE = 2**20
_MAX_THREADS = 1024


@dataclass(frozen=True)
class LatencyRow:
    """The timing of one network with one batch size. What was not measured is None.

    Attributes:
        name: The name or path that the network was loaded by.
        network_id: Its identifier.
        resolution: Height and width of its input in px.
        flops: Multiply-adds for one image.
        batch_size: Images per inference.
        latency_ms: Median duration of an inference in ms.
        latency_quartiles_ms: Lower and upper quartile of the duration in ms.
        images_per_second: Images per second at the median.
        device_ms: Median time in ms that the GPU itself reports.
        ratio: Median over the rounds of the latency over that of the first network.
        ratio_interval: 95% interval of `ratio`.
        rounds: Number of rounds in which the networks were timed alternately.
        runs: Number of inferences that count.
        disturbed_runs: Number of inferences that other work on the machine disturbed.
        excluded_fraction: Fraction of all inferences that were excluded as disturbed.
        peak_memory_bytes: Largest memory allocation on a GPU in bytes.
        error: Why the network could not be timed.
    """

    name: str
    network_id: str
    resolution: int
    flops: int
    batch_size: int
    latency_ms: float | None = None
    latency_quartiles_ms: tuple[float, float] | None = None
    images_per_second: float | None = None
    device_ms: float | None = None
    ratio: float | None = None
    ratio_interval: tuple[float, float] | None = None
    rounds: int | None = None
    runs: int = 0
    disturbed_runs: int = 0
    excluded_fraction: float | None = None
    peak_memory_bytes: int | None = None
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values}


@dataclass(frozen=True)
class LatencyResult:
    """The timings of networks on one device.

    Attributes:
        hardware: The device in words.
        device: The device as torch names it.
        threads: CPU threads of the runtime.
        runtime: "torch", "onnxruntime" or "onnxruntime-int8".
        precision: "fp32", "bf16" or "int8".
        rows: The timings, for each batch size one row for each network.
    """

    hardware: str
    device: str
    threads: int
    runtime: LatencyRuntime
    precision: str
    rows: tuple[LatencyRow, ...]

    @property
    def all_failed(self) -> bool:
        """Whether no network could be timed."""
        return all(row.error for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "hardware": self.hardware,
            "device": self.device,
            "threads": self.threads,
            "runtime": self.runtime,
            "precision": self.precision,
            "rows": [row.to_dict() for row in self.rows],
        }


@checked_arguments()
def latency(
    *specs: str | Path,
    batch_sizes: Sequence[int] | None = None,
    device: str = "auto",
    threads: int | None = None,
    resolution: int | None = None,
    runtime: LatencyRuntime = "torch",
    precision: "Precision" = "fp32",
    on_progress: Callable[[int, int, str], None] = lambda *_: None,
) -> LatencyResult:
    """Measure the inference latency of networks with random weights.

    Networks are timed alternately, so that other work on the machine affects all alike. A network
    takes 3 to 25 seconds for each batch size. With ONNX Runtime each network is first exported,
    which takes some seconds more.

    Args:
        *specs: Presets such as "efficientnet_b0", spec files, "timm:NAME", "torchvision:NAME", or
            "RUN:NAME" for a network of a run, such as "runs/photos:b1".
        batch_sizes: Images per inference. None: 1 and 16 on a CPU, 1 and 256 elsewhere.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        threads: CPU threads. None: the fastest number for the first network, found by timing.
            The number that torch is set to is the same afterwards.
        resolution: Input resolution of all networks in px. None: each network's.
        runtime: "torch", "onnxruntime", or "onnxruntime-int8" for weights and activations with 8
            bits. ONNX Runtime measures on the CPU and needs the extra `onnx`.
        precision: "fp32", or with torch "bf16" for autocast.
        on_progress: Called with the number of batch sizes done, of all, and a text.

    Returns:
        One row for each network and batch size. A network that does not fit the memory has an
        error in its row.

    Raises:
        InputError: An argument is wrong, or the device is not available.

    Examples:
        >>> result = phinas.latency("efficientnet_b0", "mobilenet_v2", batch_sizes=[1])
        >>> result.rows[1].ratio
        0.62
    """
    import torch

    from phinas.training.timing.interleaved_timing import time_interleaved
    from phinas.training.timing.latency import describe_hardware
    from phinas.training.timing.network_timer import select_timing_threads
    from phinas.training.timing.runtimes import InferenceBuilder

    names = _require_specs(specs)
    _check_options(threads, runtime, precision)
    torch_device = _resolve_device(device, runtime)
    networks = [_load_spec(name, resolution) for name in names]
    default_sizes = [1, 16 if torch_device.type == "cpu" else 256]
    batch_sizes = _check_batch_sizes(batch_sizes, default=default_sizes)
    builder = InferenceBuilder(torch_device, runtime, precision=precision)
    threads_before = torch.get_num_threads()
    rows: list[LatencyRow] = []
    try:
        threads = threads or select_timing_threads(
            networks, torch_device, builder, batch=batch_sizes[0]
        )
        torch.set_num_threads(threads)
        hardware = describe_hardware(torch_device, threads)
        for done, batch_size in enumerate(batch_sizes):
            on_progress(done, len(batch_sizes), f"batch of {batch_size:,}")
            timed_networks = time_interleaved(
                networks,
                torch_device,
                batch=batch_size,
                make_inference=partial(builder.build, batch=batch_size, threads=threads),
            )
            for name, network, timed_network in zip(names, networks, timed_networks, strict=True):
                row = LatencyRow(
                    name, network.network_id, network.resolution, network.cost().flops, batch_size
                )
                rows.append(_add_timing(row, timed_network, timed_networks[0]))
        on_progress(len(batch_sizes), len(batch_sizes), "")
    finally:
        torch.set_num_threads(threads_before)
    return LatencyResult(
        hardware,
        str(torch_device),
        threads,
        runtime,
        "int8" if runtime == "onnxruntime-int8" else precision,
        tuple(rows),
    )


def _require_specs(specs: tuple[str | Path, ...]) -> list[str]:
    if not specs:
        raise InputError("specs: is missing; name a preset, a spec file or timm:NAME")
    return [str(spec) for spec in specs]


def _load_spec(name: str, resolution: int | None) -> Network:
    return load_baseline(name, field="specs").adapt(resolution=resolution)


def _resolve_device(name: str, runtime: LatencyRuntime) -> "torch.device":
    from phinas.training.timing.runtimes import resolve_timing_device

    try:
        check_device(name)
    except ValueError as error:
        raise InputError(f"device: {name!r} {error}") from None
    return resolve_timing_device(name, runtime, option="runtime", device_option="device")


def _check_batch_sizes(batch_sizes: Sequence[int] | None, *, default: list[int]) -> list[int]:
    for batch_size in batch_sizes or []:
        if not (isinstance(batch_size, int) and 1 <= batch_size <= MAX_BATCH_SIZE):
            raise InputError(
                f"batch_sizes: {batch_size!r} is not a whole number from 1 to "
                f"{MAX_BATCH_SIZE:,}; it is the number of images per inference"
            )
    return list(dict.fromkeys(batch_sizes or default))


def _check_options(threads: int | None, runtime: str, precision: str) -> None:
    from phinas.training.timing.torch_inference import Precision

    if threads is not None and not 1 <= threads <= _MAX_THREADS:
        raise InputError(
            f"threads: {threads} is not a whole number from 1 to {_MAX_THREADS:,}; leave it out "
            "to select the number by timing"
        )
    if precision not in get_args(Precision):
        raise InputError(f"precision: {precision!r} is not one of {', '.join(get_args(Precision))}")
    if runtime != "torch" and precision != "fp32":
        raise InputError(
            f"precision: {precision} is not available with runtime: {runtime}; leave it out, or "
            "set runtime to torch"
        )


def _add_timing(
    row: LatencyRow, timed_network: "TimedNetwork", reference: "TimedNetwork"
) -> LatencyRow:
    """The row with what was measured, or with the reason why nothing was."""
    from phinas.training.timing.latency import quartiles

    if timed_network.failure:
        return replace(row, error=timed_network.failure)
    series = timed_network.series
    low, median, high = quartiles(series.included_ms)
    ratio = timed_network.ratio_to(reference) if timed_network is not reference else None
    return replace(
        row,
        latency_ms=median,
        latency_quartiles_ms=(low, high),
        images_per_second=1e3 * row.batch_size / median,
        device_ms=quartiles(timed_network.device_ms)[1] if timed_network.device_ms else None,
        ratio=None if ratio is None else ratio.median,
        ratio_interval=None if ratio is None else ratio.interval,
        rounds=len(timed_network.turn_medians_ms),
        runs=len(series.included_ms),
        disturbed_runs=series.disturbed,
        excluded_fraction=series.num_excluded / len(series.runs),
        peak_memory_bytes=timed_network.peak_memory_bytes,
    )
