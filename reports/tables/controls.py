"""The controls as a table: other rules at about the FLOPs of one member of the family, and how far
behind it they are.
"""

from typing import Any

from phinas.reports.controls import VERDICTS, member_of
from phinas.reports.formatting import DASH, TIMES, points
from phinas.reports.run_data import Records
from phinas.reports.tables.cells import Cell, Exhibit, columns, number, percentage, whole

_UNKNOWN = Cell(DASH, "-1")
_NOTE = (
    "Behind: accuracy of the family's member less the control's, in points, after what their "
    "difference in FLOPs is worth; in "
    "brackets the 95% interval, for all controls together, of the luck of training and the finite "
    "number of test images."
)


def show_controls(records: Records) -> Exhibit | None:
    if not records.controls:
        return None
    trained = records.trained_controls
    others = [row for row in records.controls if row not in trained]
    rows = [
        [
            Cell(row["rule"]),
            _behind(row),
            Cell(_verdict(row)),
            percentage(row["accuracy"]) if row.get("validated") else _UNKNOWN,
            whole(row["flops"]) if row.get("flops") else _UNKNOWN,
            *_relative(row, records),
            Cell(row.get("spec_id") or DASH),
        ]
        for row in [*trained, *others]
    ]
    names = (
        "control:",
        "behind",
        "verdict:",
        "test accuracy",
        "FLOPs",
        f"{TIMES} member",
        "member:",
        "network:",
    )
    return Exhibit(columns(*names), rows, None, _NOTE if trained else "")


def _relative(row: dict[str, Any], records: Records) -> list[Cell]:
    """FLOPs over those of the member that it is held against, and that."""
    member = member_of(row, records)
    if member is None or not row.get("flops"):
        return [_UNKNOWN, Cell(DASH)]
    return [number(row["flops"] / member["flops"], 2), Cell(str(member["name"]).upper())]


def _behind(row: dict[str, Any]) -> Cell:
    behind, interval = row.get("behind"), row.get("behind_interval")
    if behind is None:
        return Cell(DASH, "-1e9")
    return Cell(
        points(behind) + (f" ({points(interval[0])} to {points(interval[1])})" if interval else ""),
        repr(behind),
    )


def _verdict(row: dict[str, Any]) -> str:
    if row.get("verdict"):
        return VERDICTS[row["verdict"]]
    reason = row.get("why_not") or row.get("failed") or "one training each says nothing of noise"
    return f"not compared: {reason}"
