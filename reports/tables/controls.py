"""The controls as a table: other rules at about the FLOPs of one member of the family, and how far
behind it they are.
"""

from typing import Any

from phinas.reports.controls import VERDICT_LABELS, find_compared_member
from phinas.reports.formatting import EN_DASH, TIMES_SIGN, format_points
from phinas.reports.run_data import RunData
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
    "Behind: accuracy of the family's member less the control's, in points, after what their "
    "difference in FLOPs is worth; in brackets the 95% interval, for all controls together, of "
    "the luck of training and the finite number of test images."
)


def make_controls_table(run_data: RunData) -> ReportTable | None:
    if not run_data.controls:
        return None
    trained_controls = run_data.trained_controls
    untrained_controls = [row for row in run_data.controls if row not in trained_controls]
    rows = [
        [
            Cell(row["label"]),
            _make_gap_cell(row),
            Cell(_verdict_text(row)),
            make_percent_cell(row["accuracy"]) if row.get("validated") else _UNKNOWN_CELL,
            make_integer_cell(row["flops"]) if row.get("flops") else _UNKNOWN_CELL,
            *_make_relative_flops_cells(row, run_data),
            Cell(row.get("spec_id") or EN_DASH),
        ]
        for row in [*trained_controls, *untrained_controls]
    ]
    names = (
        "control:",
        "behind",
        "verdict:",
        "test accuracy",
        "FLOPs",
        f"{TIMES_SIGN} member",
        "member:",
        "network:",
    )
    return ReportTable(make_columns(*names), rows, None, _NOTE if trained_controls else "")


def _make_relative_flops_cells(row: dict[str, Any], run_data: RunData) -> list[Cell]:
    """FLOPs over those of the member that it is held against, and that."""
    member = find_compared_member(row, run_data)
    if member is None or not row.get("flops"):
        return [_UNKNOWN_CELL, Cell(EN_DASH)]
    return [make_number_cell(row["flops"] / member["flops"], 2), Cell(str(member["name"]).upper())]


def _make_gap_cell(row: dict[str, Any]) -> Cell:
    gap, interval = row.get("accuracy_gap"), row.get("accuracy_gap_interval")
    if gap is None:
        return Cell(EN_DASH, "-1e9")
    return Cell(
        format_points(gap)
        + (f" ({format_points(interval[0])} to {format_points(interval[1])})" if interval else ""),
        repr(gap),
    )


def _verdict_text(row: dict[str, Any]) -> str:
    if row.get("verdict"):
        return VERDICT_LABELS[row["verdict"]]
    reason = (
        row.get("skip_reason")
        or row.get("failure_reason")
        or "one training each says nothing of noise"
    )
    return f"not compared: {reason}"
