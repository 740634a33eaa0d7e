"""The controls as a table: other networks with about the FLOPs of a member of the family."""

from phinas.experiment.artifacts.validation_file import ControlComparison, ControlRecord
from phinas.reports.controls import VERDICT_LABELS, make_control_label
from phinas.reports.formatting import EN_DASH, format_points
from phinas.reports.run_data import RunData
from phinas.reports.sentences.controls import describe_missing_verdict
from phinas.reports.tables.cells import (
    Cell,
    ReportTable,
    make_columns,
    make_integer_cell,
    make_number_cell,
    make_percent_cell,
)

_UNKNOWN_CELL = Cell(EN_DASH, "-1")
_NOTE = (
    "Difference: score of the family's member minus that of the control, in percentage points, "
    "adjusted to equal FLOPs. In brackets: its 95% interval, which includes training noise and "
    "test-set sampling error and is corrected for multiple comparisons."
)


def make_controls_table(run_data: RunData) -> ReportTable | None:
    if not run_data.controls:
        return None
    tested = [control.record for control in run_data.tested_controls]
    untested = [record for record in run_data.controls if record not in tested]
    rows = [_make_row(record, run_data) for record in [*tested, *untested]]
    columns = make_columns(
        "control:",
        "difference",
        "result:",
        f"test {run_data.test_score_label}",
        "FLOPs",
        "FLOPs / member",
        "compared with:",
        "network:",
    )
    return ReportTable(columns, rows, None, _NOTE if tested else "")


def _make_row(record: ControlRecord, run_data: RunData) -> list[Cell]:
    network = record.network
    return [
        Cell(make_control_label(record)),
        _make_difference_cell(record.comparison),
        Cell(_verdict_text(record)),
        make_percent_cell(record.result.score) if record.result else _UNKNOWN_CELL,
        make_integer_cell(network.flops) if network else _UNKNOWN_CELL,
        *_make_relative_flops_cells(record, run_data),
        Cell(network.network_id if network else EN_DASH),
    ]


def _make_relative_flops_cells(record: ControlRecord, run_data: RunData) -> list[Cell]:
    """FLOPs over those of the member that it is compared with, and its name."""
    member = run_data.find_member(record.family_member)
    if member is None or record.network is None:
        return [_UNKNOWN_CELL, Cell(EN_DASH)]
    return [make_number_cell(record.network.flops / member.flops, 2), Cell(member.label)]


def _make_difference_cell(comparison: ControlComparison | None) -> Cell:
    if comparison is None:
        return Cell(EN_DASH, "-1e9")
    interval = ""
    if comparison.interval is not None:
        low, high = comparison.interval
        interval = f" ({format_points(low)} to {format_points(high)})"
    return Cell(f"{format_points(comparison.difference)}{interval}", repr(comparison.difference))


def _verdict_text(record: ControlRecord) -> str:
    if record.comparison is not None and record.comparison.verdict is not None:
        return VERDICT_LABELS[record.comparison.verdict]
    prefix = "not compared" if record.comparison is None else "no verdict"
    return f"{prefix}: {describe_missing_verdict(record)}"
