"""Measured latencies as a table."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from phinas.api.latency import LatencyResult, LatencyRow
from phinas.reports.formatting import format_count
from phinas.terminal.text_table import DEFAULT_WIDTH, Column, format_table

_MIN_NAME_WIDTH = 12
_Value = TypeVar("_Value")


def as_text(result: LatencyResult, *, width: int | None = None) -> str:
    """A table with one block of rows for each batch size.

    Args:
        width: Characters of a line; None: unlimited.
    """
    rows = result.rows
    columns = {title: cells for title, cells in _columns(rows).items() if any(cells)}
    used_width = sum(2 + max(map(len, (title, *cells))) for title, cells in columns.items())
    # On a terminal, columns that do not fit follow below, so names need not make room for them.
    min_name_width = _MIN_NAME_WIDTH if width is None else 2 * _MIN_NAME_WIDTH
    name_width = max((width or DEFAULT_WIDTH) - used_width, min_name_width)
    table: list[Sequence[str]] = []
    for index, row in enumerate(rows):
        if index and row.batch_size != rows[index - 1].batch_size:
            table.append([])
        name = _shorten_name(row.name, name_width)
        table.append([name, *(cells[index] for cells in columns.values()), row.error or ""])
    layout = [Column("network", "left"), *map(Column, columns), Column("", "left", wrap=True)]
    return "\n".join([*format_table(layout, table, width=width), "", *_remarks(result)])


def _columns(rows: Sequence[LatencyRow]) -> dict[str, list[str]]:
    """Cells by column title, without the names; all empty where no row has a value."""

    def cells(
        value: Callable[[LatencyRow], _Value | None], format_value: Callable[[_Value], str]
    ) -> list[str]:
        values = [None if row.error else value(row) for row in rows]
        return ["" if value is None else format_value(value) for value in values]

    return {
        "px": [f"{row.resolution}" for row in rows],
        "FLOPs": [format_count(row.flops) for row in rows],
        "batch": [f"{row.batch_size:,}" for row in rows],
        "ms": cells(lambda row: row.latency_ms, _format_number),
        "quartiles": cells(
            lambda row: row.latency_quartiles_ms,
            lambda pair: f"{_format_number(pair[0])} to {_format_number(pair[1])}",
        ),
        "device ms": cells(lambda row: row.device_ms, _format_number),
        "images/s": cells(lambda row: row.images_per_second, _format_number),
        "ratio": cells(lambda row: row.ratio, lambda ratio: f"{ratio:.3f}"),
        "95%": cells(
            lambda row: row.ratio_interval, lambda pair: f"{pair[0]:.3f} to {pair[1]:.3f}"
        ),
        "runs": cells(lambda row: row.runs, lambda runs: f"{runs:,}"),
        "excluded": cells(lambda row: row.excluded_fraction, lambda fraction: f"{fraction:.0%}"),
        "memory": cells(lambda row: row.peak_memory_bytes, lambda count: f"{count / 1e6:,.0f} MB"),
    }


def _format_number(value: float) -> str:
    """Four significant digits, and all of those before the point."""
    return f"{value:,.{max(0, 4 - len(str(int(value))))}f}" if value >= 1 else f"{value:.4g}"


def _shorten_name(name: str, width: int) -> str:
    return name if len(name) <= width else f"...{name[3 - width :]}"


def _remarks(result: LatencyResult) -> list[str]:
    library = "PyTorch" if result.runtime == "torch" else "ONNX Runtime"
    lines = [
        f"On {result.hardware}, {library} {result.precision}, random weights. ms: median duration "
        "of an inference."
    ]
    if any(row.ratio is not None for row in result.rows):
        lines.append(
            "ratio: latency over that of the first network, median over alternate rounds, with "
            "its 95% interval."
        )
    disturbed_fractions = [
        row.disturbed_runs / row.runs
        for row in result.rows
        if row.disturbed_runs and not row.excluded_fraction
    ]
    if disturbed_fractions:
        lines.append(
            f"In some rows other work on the machine disturbed so many runs (up to "
            f"{max(disturbed_fractions):.0%}) that none is excluded."
        )
    return lines
