"""`phinas choose`: the best measured network of a run under limits."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phinas.api.arguments import checked_arguments
from phinas.experiment.artifacts.trained_weights import TrainedWeights
from phinas.experiment.errors import InputError
from phinas.experiment.run_dir import RunDir
from phinas.experiment.schema.fields import parse_count
from phinas.experiment.schema.run import DataSection, LatencyRuntime
from phinas.reports.measured_networks import MeasuredNetwork
from phinas.reports.network_choice import Limits, NetworkChoice, choose_network
from phinas.terminal.progress import Display

if TYPE_CHECKING:
    from phinas.reports.run_data import RunData


@dataclass(frozen=True)
class NetworkLatency:
    """The latency of a network for one image.

    Attributes:
        ms: The latency in ms.
        hardware: The device and the number of its threads, in words.
        is_recorded: Whether the run measured it.
    """

    ms: float
    hardware: str
    is_recorded: bool


@dataclass(frozen=True)
class ChooseResult:
    """The best measured network of a run under limits.

    Attributes:
        run: The run directory.
        limits: The limits.
        metric: Name of the score.
        runtime: Runtime of the latencies.
        choice: The network and its alternatives.
        latencies: Latencies by the name of the network, where one was needed or recorded.
        threads: CPU threads of the timing. None if no network was timed now.
        saved_weights: By the name of the network the training that its saved weights are from,
            where they are saved.
        data: The images of the run and how they are read. None if it has none.
    """

    run: Path
    limits: Limits
    metric: str
    runtime: LatencyRuntime
    choice: NetworkChoice
    latencies: dict[str, NetworkLatency]
    threads: int | None
    saved_weights: dict[str, TrainedWeights]
    data: DataSection | None

    @property
    def name(self) -> str:
        """The name of the network for other commands, such as "runs/photos:b1"."""
        return f"{self.run}:{self.choice.best.name}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        choice = self.choice
        return {
            "run": str(self.run),
            "limits": asdict(self.limits),
            "metric": self.metric,
            "runtime": self.runtime,
            "threads": self.threads,
            "best": self._row(choice.best),
            "next_smaller": self._row(choice.next_smaller),
            "next_larger": self._row(choice.next_larger),
            "other_measurements": [self._row(network) for network in choice.other_kinds],
            "skipped": choice.skipped,
        }

    def _row(self, network: MeasuredNetwork | None) -> dict[str, Any] | None:
        if network is None:
            return None
        latency = self.latencies.get(network.name)
        weights = self.saved_weights.get(network.name)
        return {
            "name": f"{self.run}:{network.name}",
            "network_id": network.spec.network_id,
            "measurement": network.kind,
            "score": network.score,
            "interval": list(network.interval),
            "seeds": network.num_seeds,
            "resolution": network.spec.resolution,
            "flops": network.cost.flops,
            "params": network.cost.params,
            "size_mb": network.size_mb,
            "latency_ms": latency.ms if latency else None,
            "latency_hardware": latency.hardware if latency else None,
            "weights": weights.to_dict() if weights else None,
        }


@checked_arguments()
def choose(
    run: str | Path,
    *,
    max_flops: float | str | None = None,
    max_params: float | str | None = None,
    max_latency_ms: float | None = None,
    max_size_mb: float | None = None,
    device: str = "auto",
    runtime: LatencyRuntime | None = None,
    quiet: bool = False,
) -> ChooseResult:
    """Choose the best network that a run has measured, under limits.

    Args:
        run: The run directory. The run may be in progress.
        max_flops: Largest number of multiply-adds per image, such as 5e6 or "5M". None: no limit.
        max_params: Largest number of parameters. None: no limit.
        max_latency_ms: Longest time of one inference on one image, in ms. The networks are timed on
            this machine, from the highest score downwards, with the number of CPU threads that
            `phinas latency` selects, unless the run has timed them in the same runtime with one
            image. A network that cannot be timed is skipped. None: no limit.
        max_size_mb: Largest size of the float32 weights in MB. None: no limit.
        device: Device for timing: "auto", "cpu", "cuda", "cuda:N" or "mps".
        runtime: "torch", "onnxruntime" or "onnxruntime-int8". ONNX Runtime measures on the CPU and
            needs the extra `onnx`. None: that of the run's latencies, or else torch.
        quiet: Show no progress.

    Returns:
        The network, and what the next smaller and the next larger one give.

    Raises:
        InputError: An argument is wrong, or the directory is not a run.
        NoResultError: No measured network meets the limits, or none can be timed.
        StorageError: The run's record of trials is damaged.

    Examples:
        >>> phinas.choose("runs/photos", max_flops="5M").name
        'runs/photos:b1'
    """
    from phinas.reports.measured_networks import measured_networks
    from phinas.reports.run_reader import read_run_data
    from phinas.training.timing.network_timer import NetworkTimer
    from phinas.training.timing.runtimes import require_runtime

    limits = Limits(
        _positive("max_flops", max_flops),
        _positive("max_params", max_params),
        _positive("max_latency_ms", max_latency_ms),
        _positive("max_size_mb", max_size_mb),
    )
    run_dir = RunDir(run)
    data = read_run_data(run_dir)
    networks = measured_networks(data)
    runtime = runtime or data.config.run.latency_runtime
    if limits.max_latency_ms is not None:
        require_runtime(runtime, device, option="runtime", device_option="device")
    latencies = _recorded_latencies(networks, data, runtime)
    timer = NetworkTimer(device, runtime)
    num_networks = len({item.spec.network_id for item in networks if limits.allow_cost(item)})
    display = Display(quiet=quiet or limits.max_latency_ms is None)
    stage = display.stage("latency", unit="networks", text_is_result=False)
    with stage as on_progress, closing(timer):

        def get_latency_ms(network: MeasuredNetwork) -> float:
            if network.name not in latencies:
                on_progress(timer.num_timed, num_networks, _describe_timing(network, latencies))
                milliseconds = timer.measure_ms(network.spec)
                latencies[network.name] = NetworkLatency(
                    milliseconds, timer.hardware, is_recorded=False
                )
            return latencies[network.name].ms

        choice = choose_network(networks, limits, get_latency_ms=get_latency_ms)
    return ChooseResult(
        Path(run),
        limits,
        data.metric,
        runtime,
        choice,
        latencies,
        timer.threads,
        _saved_weights(run_dir, data),
        data.config.data,
    )


def _describe_timing(network: MeasuredNetwork, latencies: Mapping[str, NetworkLatency]) -> str:
    """The network that is timed, and the fastest one so far."""
    if not latencies:
        return f"timing {network.name}"
    fastest = min(latencies, key=lambda name: latencies[name].ms)
    return f"timing {network.name}, fastest so far: {fastest} with {latencies[fastest].ms:.3g} ms"


def _positive(name: str, value: float | str | None) -> float | None:
    number = parse_count(value)
    if number is None:
        return None
    if not isinstance(number, int | float) or not 0 < number < float("inf"):
        raise InputError(f"{name}: {value!r} is not a positive number; use one such as 5e6 or 5M")
    return float(number)


def _recorded_latencies(
    networks: Sequence[MeasuredNetwork], data: "RunData", runtime: LatencyRuntime
) -> dict[str, NetworkLatency]:
    """The latencies of one image that the run measured in a runtime, by name."""
    config = data.config
    if (config.run.latency_runtime, config.search.latency_batch_size) != (runtime, 1):
        return {}
    from phinas.nas.trial import TrialAttributes

    # a run refuses timings on different hardware
    records = filter(TrialAttributes.are_recorded, data.trial_records["search"])
    timings = (TrialAttributes.from_record(record).latency for record in records)
    hardware = next((timing.latency_hardware for timing in timings if timing), "unknown hardware")
    return {
        network.name: NetworkLatency(network.latency_ms, hardware, is_recorded=True)
        for network in networks
        if network.latency_ms is not None
    }


def _saved_weights(run: RunDir, data: "RunData") -> dict[str, TrainedWeights]:
    """The training of each member of the family whose weights are there."""
    from phinas.deployment.trained_network import describe_origin, member_weights

    metric = data.validation.metric if data.validation else data.metric
    origins = {
        row.member.name: describe_origin(row.record, metric=metric)
        for row in data.tested_members
        if row.record is not None and member_weights(run, row.member.name).is_file()
    }
    return {name: origin for name, origin in origins.items() if origin is not None}
