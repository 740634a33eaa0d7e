"""The family as a table: what was measured, and what is predicted of the members that were not
trained.
"""

from typing import Any

from phinas.reports.csv_export import factors
from phinas.reports.formatting import ALPHA, BETA, DASH, GAMMA, PHI, TIMES, joined, percent
from phinas.reports.run_data import Records
from phinas.reports.tables.cells import Cell, Exhibit, columns, number, whole
from phinas.space.spec import ArchSpec


def show_family(records: Records) -> Exhibit | None:
    if not records.members:
        return None
    rows = []
    for row in records.members:
        spec = ArchSpec.from_dict(row["spec"])
        asked = factors(records, row["phi"])
        rows.append(
            [
                Cell(row["name"].upper()),
                Cell(f"{row['phi']:g}"),
                *_accuracy(row),
                whole(row["flops"]),
                number(row["ratio"], 2),
                whole(row["params"]),
                whole(spec.resolution),
                Cell(joined([s.depth for s in spec.stages])),
                Cell(joined([s.width for s in spec.stages])),
                *_factors(asked),
            ]
        )
    asked_names = (f"depth {TIMES}", f"width {TIMES}", f"side {TIMES}")
    names = (
        "member:",
        PHI,
        "test accuracy",
        "95%",
        "FLOPs",
        f"{TIMES} B0",
        "parameters",
        "side",
        "blocks:",
        "widths:",
        *asked_names,
    )
    note = (
        f"Depth, width and side {TIMES}: {ALPHA}, {BETA}, {GAMMA} to the power of {PHI}, as asked; "
        "blocks, widths and side are what rounding made of it."
    )
    return Exhibit(columns(*names), rows, None, note)


def _factors(asked: dict[str, float | None]) -> list[Cell]:
    return [Cell(DASH) if value is None else number(value, 2) for value in asked.values()]


def _accuracy(row: dict[str, Any]) -> list[Cell]:
    """Accuracy and its interval: measured, or said to be predicted."""
    found = row if row.get("validated") else row.get("prediction")
    if not found:
        return [Cell("not validated", "-1"), Cell(DASH, "-1")]
    low, high = found["interval"]
    said = "" if row.get("validated") else "predicted "
    return [
        Cell(f"{said}{percent(found['accuracy'])}", repr(found["accuracy"])),
        Cell(f"{100 * low:.1f}{DASH}{percent(high)}", repr(low)),
    ]
