"""The family as a table: what was measured, and what is predicted of the members that were not
trained.
"""

from typing import Any

from phinas.reports.csv_export import compute_scale_factors
from phinas.reports.formatting import (
    ALPHA,
    BETA,
    EN_DASH,
    GAMMA,
    PHI,
    TIMES_SIGN,
    format_percent,
    join_numbers,
)
from phinas.reports.run_data import RunData
from phinas.reports.tables.cells import (
    Cell,
    ReportTable,
    make_columns,
    make_integer_cell,
    make_number_cell,
)
from phinas.space.spec import ArchSpec


def make_family_table(run_data: RunData) -> ReportTable | None:
    if not run_data.members:
        return None
    rows = []
    for row in run_data.members:
        spec = ArchSpec.from_dict(row["spec"])
        requested_factors = compute_scale_factors(run_data, row["phi"])
        rows.append(
            [
                Cell(row["name"].upper()),
                Cell(f"{row['phi']:g}"),
                *_make_accuracy_cells(row),
                make_integer_cell(row["flops"]),
                make_number_cell(row["ratio"], 2),
                make_integer_cell(row["params"]),
                make_integer_cell(spec.resolution),
                Cell(join_numbers([s.depth for s in spec.stages])),
                Cell(join_numbers([s.width for s in spec.stages])),
                *_make_factor_cells(requested_factors),
            ]
        )
    factor_columns = (f"depth {TIMES_SIGN}", f"width {TIMES_SIGN}", f"side {TIMES_SIGN}")
    names = (
        "member:",
        PHI,
        "test accuracy",
        "95%",
        "FLOPs",
        f"{TIMES_SIGN} B0",
        "parameters",
        "side",
        "blocks:",
        "widths:",
        *factor_columns,
    )
    note = (
        f"Depth, width and side {TIMES_SIGN}: {ALPHA}, {BETA}, {GAMMA} to the power of {PHI}, as "
        "asked; blocks, widths and side are what rounding made of it."
    )
    return ReportTable(make_columns(*names), rows, None, note)


def _make_factor_cells(requested_factors: dict[str, float | None]) -> list[Cell]:
    return [
        Cell(EN_DASH) if value is None else make_number_cell(value, 2)
        for value in requested_factors.values()
    ]


def _make_accuracy_cells(row: dict[str, Any]) -> list[Cell]:
    """Accuracy and its interval: measured, or said to be predicted."""
    result = row if row.get("validated") else row.get("prediction")
    if not result:
        return [Cell("not validated", "-1"), Cell(EN_DASH, "-1")]
    low, high = result["interval"]
    prefix = "" if row.get("validated") else "predicted "
    return [
        Cell(f"{prefix}{format_percent(result['accuracy'])}", repr(result["accuracy"])),
        Cell(f"{100 * low:.1f}{EN_DASH}{format_percent(high)}", repr(low)),
    ]
