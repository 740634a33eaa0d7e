"""The result of `phinas choose` as text."""

import shlex
from collections.abc import Sequence

from phinas.api.choose import ChooseResult
from phinas.experiment.measurement import metric_label
from phinas.experiment.schema.run import RUNTIME_NAMES
from phinas.next_commands import data_arguments
from phinas.reports.formatting import format_count
from phinas.reports.measured_networks import MEASUREMENT_KINDS, MeasuredNetwork
from phinas.reports.sentences.trained_weights import describe_weights
from phinas.terminal.text_table import Column, format_table


def describe_choice(result: ChooseResult, *, width: int | None = None) -> str:
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
    lines += _remark_lines(result, [network for _, network in rows])
    if choice.other_kinds:
        others = [("", network) for network in choice.other_kinds]
        lines += ["", "Best under the limits by other measurements, whose scores do not compare:"]
        lines += ["", *_table(result, others, width=width)]
    name = shlex.quote(result.name)
    data = shlex.join(data_arguments(result.data) if result.data else ["--data", "DATA"])
    lines += ["", f"describe it:  phinas describe {name}"]
    if choice.best.name in result.saved_weights:
        lines += [f"use it:       phinas predict {name} IMAGES"]
        lines += [f"export it:    phinas export {name} --out NAME.onnx"]
    lines += [f"train it:     phinas fit {name} {data} --out DIRECTORY"]
    return "\n".join(lines)


def _remark_lines(result: ChooseResult, networks: Sequence[MeasuredNetwork]) -> list[str]:
    """How latencies were measured, which networks have none, and what the saved weights are."""
    lines = []
    used = [result.latencies[item.name] for item in networks if item.name in result.latencies]
    # networks with equal latencies share this line
    for latency in {(item.hardware, item.is_recorded): item for item in used}.values():
        source = "recorded by the run" if latency.is_recorded else "timed now"
        lines += [
            f"ms: latency of one image in {RUNTIME_NAMES[result.runtime]}, {source} "
            f"({latency.hardware})."
        ]
    lines += [f"skipped: {name}, {reason}" for name, reason in result.choice.skipped.items()]
    best = result.choice.best.name
    if best in result.saved_weights:
        lines += [describe_weights(result.saved_weights[best], name=best)]
    return ["", *lines] if lines else []


def _table(
    result: ChooseResult, rows: list[tuple[str, MeasuredNetwork]], *, width: int | None
) -> list[str]:
    titles = (metric_label(result.metric), "95% CI", "px", "FLOPs", "params", "MB", "ms", "seeds")
    columns = [Column("", "left"), Column("network", "left"), *map(Column, titles)]
    cells = []
    for label, network in rows:
        low, high = network.interval
        latency = result.latencies.get(network.name)
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
                f"{latency.ms:.3g}" if latency else "",
                f"{network.num_seeds}",
            ]
        )
    return format_table(columns, cells, width=width)
