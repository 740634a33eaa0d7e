"""`phinas choose`: the best measured network of a run under limits."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from phinas.api.arguments import checked_arguments
from phinas.experiment.errors import InputError
from phinas.experiment.measurement import metric_label
from phinas.experiment.run_dir import RunDir
from phinas.experiment.schema.config import Config
from phinas.experiment.schema.fields import parse_count
from phinas.experiment.schema.run import RUNTIME_NAMES, LatencyRuntime
from phinas.reports.formatting import format_count
from phinas.reports.measured_networks import MEASUREMENT_KINDS, MeasuredNetwork
from phinas.reports.network_choice import Limits, NetworkChoice, choose_network
from phinas.terminal.progress import Display
from phinas.terminal.text_table import Column, format_table


@dataclass(frozen=True)
class ChooseResult:
    """The best measured network of a run under limits.

    Attributes:
        run: The run directory.
        limits: The limits.
        metric: Name of the score.
        runtime: Runtime of the latencies.
        choice: The network and its alternatives.
        latencies_ms: Latencies in ms by the name of the network, where one was needed or recorded.
        data: The images of the run. None if it has none.
    """

    run: Path
    limits: Limits
    metric: str
    runtime: LatencyRuntime
    choice: NetworkChoice
    latencies_ms: dict[str, float]
    data: str | None

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
            "best": self._row(choice.best),
            "next_smaller": self._row(choice.next_smaller),
            "next_larger": self._row(choice.next_larger),
            "other_measurements": [self._row(network) for network in choice.other_kinds],
        }

    def _row(self, network: MeasuredNetwork | None) -> dict[str, Any] | None:
        if network is None:
            return None
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
            "latency_ms": self.latencies_ms.get(network.name),
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
            this machine, from the highest score downwards, unless the run has timed them in the
            same runtime with one image. None: no limit.
        max_size_mb: Largest size of the float32 weights in MB. None: no limit.
        device: Device for timing: "auto", "cpu", "cuda", "cuda:N" or "mps".
        runtime: "torch", "onnxruntime" or "onnxruntime-int8". ONNX Runtime measures on the CPU and
            needs the extra `onnx`. None: that of the run's latencies, or else torch.
        quiet: Show no progress.

    Returns:
        The network, and what the next smaller and the next larger one give.

    Raises:
        InputError: An argument is wrong, or the directory is not a run.
        NoResultError: No measured network meets the limits.
        StorageError: The run's record of trials is damaged.

    Example:
        >>> phinas.choose("runs/photos", max_flops="5M").name
        'runs/photos:b1'
    """
    from phinas.reports.measured_networks import measured_networks
    from phinas.reports.run_reader import read_run_data
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
    latencies_ms = _recorded_latencies(networks, data.config, runtime)
    display = Display(quiet=quiet or limits.max_latency_ms is None)
    with display.stage("latency", unit="networks") as on_progress:
        timer = _make_timer(device, runtime, len(networks), on_progress)

        def get_latency_ms(network: MeasuredNetwork) -> float:
            if network.name not in latencies_ms:
                latencies_ms[network.name] = timer(network)
            return latencies_ms[network.name]

        choice = choose_network(networks, limits, get_latency_ms=get_latency_ms)
    source = data.config.data.source if data.config.data else None
    return ChooseResult(Path(run), limits, data.metric, runtime, choice, latencies_ms, source)


def _positive(name: str, value: float | str | None) -> float | None:
    number = parse_count(value)
    if number is None:
        return None
    if not isinstance(number, int | float) or not 0 < number < float("inf"):
        raise InputError(f"{name}: {value!r} is not a positive number; use one such as 5e6 or 5M")
    return float(number)


def _recorded_latencies(
    networks: Sequence[MeasuredNetwork], config: Config, runtime: LatencyRuntime
) -> dict[str, float]:
    """The latencies in ms of one image that the run measured in a runtime, by name."""
    if (config.run.latency_runtime, config.search.latency_batch_size) != (runtime, 1):
        return {}
    return {
        network.name: network.latency_ms for network in networks if network.latency_ms is not None
    }


def _make_timer(
    device: str,
    runtime: LatencyRuntime,
    num_networks: int,
    on_progress: Callable[[int, int, str], None],
) -> Callable[[MeasuredNetwork], float]:
    """What measures the latency of a network in ms. Equal networks are timed once."""
    known: dict[str, float] = {}

    def measure(network: MeasuredNetwork) -> float:
        from phinas.experiment.cpu_threads import max_cpu_threads
        from phinas.training.timing.latency import measure_latency

        network_id = network.spec.network_id
        if network_id not in known:
            on_progress(len(known), num_networks, f"timing {network.name}")
            result = measure_latency(
                spec=network.spec.to_dict(),
                device=device,
                threads=max_cpu_threads(),
                batch=1,
                runtime=runtime,
            )
            known[network_id] = float(result["latency_ms"])
        return known[network_id]

    return measure


def as_text(result: ChooseResult, *, width: int | None = None) -> str:
    """The choice as a table, and the commands that come next.

    Args:
        width: Characters of a line; None: unlimited.
    """
    choice = result.choice
    rows = [("best", choice.best)]
    if choice.next_smaller:
        rows.append(("next smaller", choice.next_smaller))
    if choice.next_larger:
        rows.append(("next larger", choice.next_larger))
    limits = f" with at most {result.limits}" if str(result.limits) else ""
    kind = MEASUREMENT_KINDS[choice.best.kind]
    lines = [
        f"{choice.best.name} is the best network{limits}, of {kind}.",
        "",
        *_table(result, rows, width=width),
    ]
    if any(network.name in result.latencies_ms for _, network in rows):
        lines += ["", f"ms: latency of one image in {RUNTIME_NAMES[result.runtime]}."]
    if choice.other_kinds:
        others = [("", network) for network in choice.other_kinds]
        lines += ["", "Best under the limits by other measurements, whose scores do not compare:"]
        lines += ["", *_table(result, others, width=width)]
    name, data = shlex.quote(result.name), shlex.quote(result.data or "DATA")
    lines += ["", f"describe it:  phinas describe {name}"]
    lines += [f"train it:     phinas fit {name} --data {data} --out DIRECTORY"]
    return "\n".join(lines)


def _table(
    result: ChooseResult, rows: list[tuple[str, MeasuredNetwork]], *, width: int | None
) -> list[str]:
    titles = (metric_label(result.metric), "95% CI", "px", "FLOPs", "params", "MB", "ms", "seeds")
    columns = [Column("", "left"), Column("network", "left"), *map(Column, titles)]
    cells = []
    for label, network in rows:
        low, high = network.interval
        latency_ms = result.latencies_ms.get(network.name)
        cells.append(
            [
                label,
                network.name,
                f"{network.score:.1%}",
                f"{100 * low:.1f} to {100 * high:.1f}",
                f"{network.spec.resolution}",
                format_count(network.cost.flops),
                format_count(network.cost.params),
                f"{network.size_mb:.3g}",
                "" if latency_ms is None else f"{latency_ms:.3g}",
                f"{network.num_seeds}",
            ]
        )
    return format_table(columns, cells, width=width)
