"""`phinas latency`: how long networks take on a device, one image at a time and many, and how many
times as long as the first.

The call is `latency`; the measuring is phinas.training.timing.interleaved_timing, on the machinery
of phinas.training.timing.latency, which the search's own cost uses.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

from phinas.api.network_text import WIDTH
from phinas.experiment.errors import InputError
from phinas.experiment.schema.run import is_device
from phinas.reports.formatting import quantity
from phinas.space.cost import cost
from phinas.space.loading import load_spec
from phinas.space.spec import ArchSpec

if TYPE_CHECKING:
    import torch

    from phinas.training.timing.interleaved_timing import Entrant
    from phinas.training.timing.latency import Precision

MOST_IMAGES = 2**20
_LEAST_ROOM = 12


def latency(
    *specs: str,
    batches: Sequence[int] | None = None,
    device: str = "auto",
    threads: int | None = None,
    resolution: int | None = None,
    precision: "Precision" = "fp32",
    notify: Callable[[int, int, str], None] = lambda *_: None,
) -> dict[str, Any]:
    """Time networks (named as for `load_spec`) in turns; what came out as plain data, in `rows` one
    for each network and batch.

    batches: images of an inference; None: 1 and a large one, 16 on a CPU and 256 elsewhere.
    threads: of the CPU; None: as torch has it, and it is left so. resolution: instead of the
    networks' own. precision: fp32, or bf16 (autocast). notify is called with (batches done, of so
    many, text). Raises InputError and SpecError for what can't be.
    """
    import torch

    from phinas.training.timing.interleaved_timing import take_turns
    from phinas.training.timing.latency import measured_on

    networks = [_network(name, resolution) for name in _some(specs)]
    where = _device(device)
    batches = _checked(batches, default=[1, 16 if where.type == "cpu" else 256])
    _check_words(threads, precision)
    before = torch.get_num_threads()
    rows = []
    try:
        torch.set_num_threads(threads or before)
        on = measured_on(where, threads or before)
        for done, batch in enumerate(batches):
            notify(done, len(batches), f"batch of {batch:,}")
            entrants = take_turns(networks, where, batch=batch, precision=precision)
            for name, network, entrant in zip(specs, networks, entrants, strict=True):
                identity = {
                    "name": name,
                    "spec_id": network.spec_id,
                    "resolution": network.resolution,
                }
                rows.append(
                    identity
                    | {"flops": cost(network).flops, "batch": batch}
                    | _facts(entrant, entrants[0], batch)
                )
        notify(len(batches), len(batches), "")
    finally:
        torch.set_num_threads(before)
    return {
        "on": on,
        "device": str(where),
        "threads": threads or before,
        "precision": precision,
        "rows": rows,
    }


def _some(specs: tuple[str, ...]) -> tuple[str, ...]:
    if not specs:
        raise InputError("SPEC: missing; name a preset, a spec file or timm:NAME")
    return specs


def _network(name: str, resolution: int | None) -> ArchSpec:
    network = load_spec(name)
    return network if resolution is None else replace(network, resolution=resolution)


def _device(name: str) -> "torch.device":
    from phinas.training.engine.device import resolve_device

    try:
        return resolve_device(is_device(name))
    except ValueError as error:
        raise InputError(f"--device: {name!r} {error}") from None
    except InputError as error:
        raise InputError(str(error).replace("run.device", "--device")) from None


def _checked(batches: Sequence[int] | None, *, default: list[int]) -> list[int]:
    for batch in batches or []:
        if not (isinstance(batch, int) and 1 <= batch <= MOST_IMAGES):
            raise InputError(
                f"--batch: {batch!r} is not a whole number from 1 to {MOST_IMAGES:,}; name images "
                "of an inference"
            )
    return list(dict.fromkeys(batches or default))


def _check_words(threads: int | None, precision: str) -> None:
    from phinas.training.timing.latency import Precision

    if threads is not None and not 1 <= threads <= 1024:
        raise InputError(
            f"--threads: {threads} is not a whole number from 1 to 1,024; leave it out for "
            "torch's own"
        )
    if precision not in get_args(Precision):
        raise InputError(f"--precision: {precision!r} is none of {', '.join(get_args(Precision))}")


def _facts(entrant: "Entrant", first: "Entrant", batch: int) -> dict[str, Any]:
    """What was measured of a network with one size of batch; all None but the reason where it
    failed.
    """
    from phinas.training.timing.latency import quartiles

    facts: dict[str, Any] = dict.fromkeys(
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
    facts |= {
        "runs": 0,
        "runs_disturbed": 0,
        "left_out": None,
        "peak_memory_bytes": None,
        "failed": entrant.failed,
    }
    if entrant.failed:
        return facts
    series = entrant.series
    low, median, high = quartiles(series.counted)
    facts |= {
        "latency_ms": median,
        "latency_quartiles_ms": [low, high],
        "images_per_second": 1e3 * batch / median,
    }
    facts |= {
        "runs": len(series.counted),
        "runs_disturbed": series.disturbed,
        "left_out": series.left_out / len(series.runs),
    }
    facts |= {"rounds": len(entrant.turns), "peak_memory_bytes": entrant.peak_bytes}
    if entrant.device_ms:
        facts["device_ms"] = quartiles(entrant.device_ms)[1]
    ratio = entrant.over(first) if entrant is not first else None
    if ratio is not None:
        facts |= {"ratio": ratio.median, "ratio_interval": ratio.interval and list(ratio.interval)}
    return facts


def as_text(facts: dict[str, Any]) -> str:
    """A table for a person, the batches one below another."""
    rows = facts["rows"]
    columns = {name: cells for name, cells in _columns(rows).items() if any(cells)}
    room = WIDTH - sum(2 + max(map(len, (name, *cells))) for name, cells in columns.items())
    columns = {
        "network": [_shortened(row["name"], max(room, _LEAST_ROOM)) for row in rows]
    } | columns
    widths = {name: max(map(len, (name, *cells))) for name, cells in columns.items()}
    lines = ["  ".join(_aligned(name, name, widths) for name in columns)]
    for place, row in enumerate(rows):
        if place and row["batch"] != rows[place - 1]["batch"]:
            lines.append("")
        lines.append(
            "  ".join(
                _aligned(name, cells[place], widths) for name, cells in columns.items()
            ).rstrip()
        )
        if row["failed"]:
            lines[-1] += f"  {row['failed']}"
    return "\n".join([*lines, "", *_remarks(facts)])


def _columns(rows: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Cells by column, but the names; all empty where no row has anything to say."""

    def cells(field: str, words: Callable[[Any], str]) -> list[str]:
        return ["" if row[field] is None or row["failed"] else words(row[field]) for row in rows]

    return {
        "px": [f"{row['resolution']}" for row in rows],
        "FLOPs": [quantity(row["flops"]) for row in rows],
        "batch": [f"{row['batch']:,}" for row in rows],
        "ms": cells("latency_ms", _digits),
        "quartiles": cells(
            "latency_quartiles_ms", lambda pair: f"{_digits(pair[0])} to {_digits(pair[1])}"
        ),
        "device ms": cells("device_ms", _digits),
        "images/s": cells("images_per_second", _digits),
        "ratio": cells("ratio", lambda ratio: f"{ratio:.3f}"),
        "95%": cells("ratio_interval", lambda pair: f"{pair[0]:.3f} to {pair[1]:.3f}"),
        "runs": cells("runs", lambda runs: f"{runs:,}"),
        "left out": cells("left_out", lambda share: f"{share:.0%}"),
        "memory": cells("peak_memory_bytes", lambda count: f"{count / 1e6:,.0f} MB"),
    }


def _digits(value: float) -> str:
    """Four significant digits, and all of those before the point."""
    return f"{value:,.{max(0, 4 - len(str(int(value))))}f}" if value >= 1 else f"{value:.4g}"


def _shortened(name: str, room: int) -> str:
    return name if len(name) <= room else f"...{name[3 - room :]}"


def _aligned(name: str, cell: str, widths: dict[str, int]) -> str:
    return f"{cell:<{widths[name]}}" if name == "network" else f"{cell:>{widths[name]}}"


def _remarks(facts: dict[str, Any]) -> list[str]:
    rows = facts["rows"]
    lines = [
        f"On {facts['on']}, {facts['precision']}, random weights. ms: median until the device is "
        "done."
    ]
    if any(row["ratio"] is not None for row in rows):
        lines.append(
            "ratio: of times, to the first network, which took turns with it: median of the "
            "rounds, and its 95% interval."
        )
    counted = [row for row in rows if row["runs_disturbed"] and not row["left_out"]]
    if counted:
        share = max(row["runs_disturbed"] / row["runs"] for row in counted)
        lines.append(
            "In some rows so many runs were disturbed by other work of the machine (up to "
            f"{share:.0%}) that all of them count."
        )
    return lines
