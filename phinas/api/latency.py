"""`phinas latency`: how long networks take on a device, one image at a time and many, and how many
times as long as the first.

The call is `latency`; the measuring is phinas.training.timing.interleaved_timing, on the machinery
of phinas.training.timing.latency, which the search's own cost uses.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

from phinas.experiment.errors import InputError
from phinas.experiment.schema.run import check_device
from phinas.reports.formatting import format_count
from phinas.space.cost import network_cost
from phinas.space.loading import load_spec
from phinas.space.spec import ArchSpec
from phinas.terminal.text_table import DEFAULT_WIDTH, Column, format_table

if TYPE_CHECKING:
    import torch

    from phinas.training.timing.interleaved_timing import TimedNetwork
    from phinas.training.timing.latency import Precision

MAX_BATCH_SIZE = 2**20
_MIN_NAME_WIDTH = 12


def latency(
    *specs: str,
    batch_sizes: Sequence[int] | None = None,
    device: str = "auto",
    threads: int | None = None,
    resolution: int | None = None,
    precision: "Precision" = "fp32",
    on_progress: Callable[[int, int, str], None] = lambda *_: None,
) -> dict[str, Any]:
    """Time networks (named as for `load_spec`) in turns; what came out as plain data, in `rows`
    one for each network and batch.

    batches: images of an inference; None: 1 and a large one, 16 on a CPU and 256 elsewhere.
    threads: of the CPU; None: as torch has it, and it is left so. resolution: instead of the
    networks' own. precision: fp32, or bf16 (autocast). on_progress is called with (batches
    done, of so many, text). Raises InputError and SpecError for what can't be.
    """
    import torch

    from phinas.training.timing.interleaved_timing import time_interleaved
    from phinas.training.timing.latency import describe_hardware

    networks = [_load_spec(name, resolution) for name in _require_specs(specs)]
    torch_device = _device(device)
    batch_sizes = _check_batch_sizes(
        batch_sizes, default=[1, 16 if torch_device.type == "cpu" else 256]
    )
    _check_options(threads, precision)
    threads_before = torch.get_num_threads()
    rows = []
    try:
        torch.set_num_threads(threads or threads_before)
        hardware = describe_hardware(torch_device, threads or threads_before)
        for done, batch_size in enumerate(batch_sizes):
            on_progress(done, len(batch_sizes), f"batch of {batch_size:,}")
            timed_networks = time_interleaved(
                networks, torch_device, batch=batch_size, precision=precision
            )
            for name, network, timed_network in zip(specs, networks, timed_networks, strict=True):
                network_fields = {
                    "name": name,
                    "spec_id": network.spec_id,
                    "resolution": network.resolution,
                }
                rows.append(
                    network_fields
                    | {"flops": network_cost(network).flops, "batch_size": batch_size}
                    | _timing_row(timed_network, timed_networks[0], batch_size)
                )
        on_progress(len(batch_sizes), len(batch_sizes), "")
    finally:
        torch.set_num_threads(threads_before)
    return {
        "hardware": hardware,
        "device": str(torch_device),
        "threads": threads or threads_before,
        "precision": precision,
        "rows": rows,
    }


def _require_specs(specs: tuple[str, ...]) -> tuple[str, ...]:
    if not specs:
        raise InputError("SPEC: missing; name a preset, a spec file or timm:NAME")
    return specs


def _load_spec(name: str, resolution: int | None) -> ArchSpec:
    network = load_spec(name)
    return network if resolution is None else replace(network, resolution=resolution)


def _device(name: str) -> "torch.device":
    from phinas.training.engine.device import resolve_device

    try:
        return resolve_device(check_device(name))
    except ValueError as error:
        raise InputError(f"--device: {name!r} {error}") from None
    except InputError as error:
        raise InputError(str(error).replace("run.device", "--device")) from None


def _check_batch_sizes(batch_sizes: Sequence[int] | None, *, default: list[int]) -> list[int]:
    for batch_size in batch_sizes or []:
        if not (isinstance(batch_size, int) and 1 <= batch_size <= MAX_BATCH_SIZE):
            raise InputError(
                f"--batch-size: {batch_size!r} is not a whole number from 1 to {MAX_BATCH_SIZE:,}; "
                "name images "
                "of an inference"
            )
    return list(dict.fromkeys(batch_sizes or default))


def _check_options(threads: int | None, precision: str) -> None:
    from phinas.training.timing.latency import Precision

    if threads is not None and not 1 <= threads <= 1024:
        raise InputError(
            f"--threads: {threads} is not a whole number from 1 to 1,024; leave it out for "
            "torch's own"
        )
    if precision not in get_args(Precision):
        raise InputError(f"--precision: {precision!r} is none of {', '.join(get_args(Precision))}")


def _timing_row(
    timed_network: "TimedNetwork", reference: "TimedNetwork", batch_size: int
) -> dict[str, Any]:
    """What was measured of a network with one size of batch; all None but the reason where it
    failed.
    """
    from phinas.training.timing.latency import quartiles

    row: dict[str, Any] = dict.fromkeys(
        (
            "latency_ms",
            "latency_quartiles_ms",
            "images_per_second",
            "device_ms",
            "ratio",
            "ratio_interval",
            "rounds",
        )
    )
    row |= {
        "runs": 0,
        "disturbed_runs": 0,
        "excluded_fraction": None,
        "peak_memory_bytes": None,
        "error": timed_network.failure,
    }
    if timed_network.failure:
        return row
    series = timed_network.series
    low, median, high = quartiles(series.included_ms)
    row |= {
        "latency_ms": median,
        "latency_quartiles_ms": [low, high],
        "images_per_second": 1e3 * batch_size / median,
    }
    row |= {
        "runs": len(series.included_ms),
        "disturbed_runs": series.disturbed,
        "excluded_fraction": series.num_excluded / len(series.runs),
    }
    row |= {
        "rounds": len(timed_network.turn_medians_ms),
        "peak_memory_bytes": timed_network.peak_memory_bytes,
    }
    if timed_network.device_ms:
        row["device_ms"] = quartiles(timed_network.device_ms)[1]
    ratio = timed_network.ratio_to(reference) if timed_network is not reference else None
    if ratio is not None:
        row |= {"ratio": ratio.median, "ratio_interval": ratio.interval and list(ratio.interval)}
    return row


def as_text(result: dict[str, Any], *, width: int | None = None) -> str:
    """A table in lines of `width` characters (None: unlimited), batch sizes one below another."""
    rows = result["rows"]
    columns = {title: cells for title, cells in _columns(rows).items() if any(cells)}
    used_width = sum(2 + max(map(len, (title, *cells))) for title, cells in columns.items())
    # On a terminal, columns that do not fit follow below, so names need not make room for them.
    min_name_width = _MIN_NAME_WIDTH if width is None else 2 * _MIN_NAME_WIDTH
    name_width = max((width or DEFAULT_WIDTH) - used_width, min_name_width)
    names = [_shorten_name(row["name"], name_width) for row in rows]
    errors = [row["error"] or "" for row in rows]
    table: list[Sequence[str]] = []
    for index, (row, name) in enumerate(zip(rows, names, strict=True)):
        if index and row["batch_size"] != rows[index - 1]["batch_size"]:
            table.append([])
        table.append([name, *(cells[index] for cells in columns.values()), errors[index]])
    layout = [Column("network", "left"), *map(Column, columns), Column("", "left", wrap=True)]
    return "\n".join([*format_table(layout, table, width=width), "", *_remarks(result)])


def _columns(rows: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Cells by column title, without the names; all empty where no row has a value."""

    def cells(field: str, format_value: Callable[[Any], str]) -> list[str]:
        return [
            "" if row[field] is None or row["error"] else format_value(row[field]) for row in rows
        ]

    return {
        "px": [f"{row['resolution']}" for row in rows],
        "FLOPs": [format_count(row["flops"]) for row in rows],
        "batch": [f"{row['batch_size']:,}" for row in rows],
        "ms": cells("latency_ms", _format_number),
        "quartiles": cells(
            "latency_quartiles_ms",
            lambda pair: f"{_format_number(pair[0])} to {_format_number(pair[1])}",
        ),
        "device ms": cells("device_ms", _format_number),
        "images/s": cells("images_per_second", _format_number),
        "ratio": cells("ratio", lambda ratio: f"{ratio:.3f}"),
        "95%": cells("ratio_interval", lambda pair: f"{pair[0]:.3f} to {pair[1]:.3f}"),
        "runs": cells("runs", lambda runs: f"{runs:,}"),
        "left out": cells("excluded_fraction", lambda fraction: f"{fraction:.0%}"),
        "memory": cells("peak_memory_bytes", lambda count: f"{count / 1e6:,.0f} MB"),
    }


def _format_number(value: float) -> str:
    """Four significant digits, and all of those before the point."""
    return f"{value:,.{max(0, 4 - len(str(int(value))))}f}" if value >= 1 else f"{value:.4g}"


def _shorten_name(name: str, width: int) -> str:
    return name if len(name) <= width else f"...{name[3 - width :]}"


def _remarks(result: dict[str, Any]) -> list[str]:
    rows = result["rows"]
    lines = [
        f"On {result['hardware']}, {result['precision']}, random weights. ms: median until the "
        "device is "
        "done."
    ]
    if any(row["ratio"] is not None for row in rows):
        lines.append(
            "ratio: of times, to the first network, which took turns with it: median of the "
            "rounds, and its 95% interval."
        )
    disturbed_rows = [row for row in rows if row["disturbed_runs"] and not row["excluded_fraction"]]
    if disturbed_rows:
        fraction = max(row["disturbed_runs"] / row["runs"] for row in disturbed_rows)
        lines.append(
            "In some rows so many runs were disturbed by other work of the machine (up to "
            f"{fraction:.0%}) that all of them count."
        )
    return lines
