"""The search for coefficients as tables: alpha, beta, gamma with their ranges, and the networks
that raced.
"""

import math
from typing import Any

from phinas.reports.formatting import (
    ALPHA,
    BETA,
    EN_DASH,
    GAMMA,
    GREEK_LETTERS,
    TIMES_SIGN,
    format_interval,
    join_numbers,
)
from phinas.reports.run_data import RunData
from phinas.reports.tables.cells import (
    Cell,
    ReportTable,
    make_columns,
    make_integer_cell,
    make_number_cell,
    make_percent_cell,
)


def make_coefficients_table(run_data: RunData) -> ReportTable | None:
    coefficients = run_data.coefficients
    if coefficients is None:
        return None
    scales = {"alpha": "depth", "beta": "width", "gamma": "resolution"}
    is_searched = run_data.searched_coefficients is not None
    rows = [
        [
            Cell(f"{GREEK_LETTERS[name]}, {dimension}"),
            make_number_cell(coefficients[name], 3),
            Cell(
                format_interval(*coefficients["ranges"][name])
                if is_searched
                else "given, not searched"
            ),
        ]
        for name, dimension in scales.items()
    ]
    nominal = (
        f"{ALPHA} {TIMES_SIGN} {BETA}\u00b2 {TIMES_SIGN} {GAMMA}\u00b2 = "
        f"{coefficients['alpha'] * coefficients['beta'] ** 2 * coefficients['gamma'] ** 2:.2f}"
    )
    if not is_searched:
        return ReportTable(
            make_columns("coefficient:", "value", "range"),
            rows,
            None,
            f"{nominal}; no networks raced for them.",
        )
    winner = next(row for row in coefficients["members"] if row["winner"])
    note = (
        f"{nominal}; measured, the best network has {winner['ratio']:.2f} times the baseline's "
        "FLOPs."
    )
    return ReportTable(make_columns("coefficient:", "point", "range of the ties"), rows, None, note)


_STATUS = {
    "winner": "best",
    "tied": "tie",
    "open": "tie, not trained with every seed",
    "excluded": "worse",
    "failed": "failed",
}


def _make_gap_cell(row: dict[str, Any]) -> Cell:
    """Points behind the best, and the 95% interval of that."""
    if row["accuracy_gap"] is None:
        return Cell(EN_DASH, "1e9")
    interval = row["accuracy_gap_interval"]
    interval_text = (
        f" ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"
        if interval and not row["winner"]
        else ""
    )
    return Cell(
        f"{100 * row['accuracy_gap']:.1f}{interval_text}".replace("-", "\N{MINUS SIGN}"),
        repr(row["accuracy_gap"]),
    )


def make_grid_table(run_data: RunData) -> ReportTable | None:
    coefficients = run_data.searched_coefficients
    if coefficients is None:
        return None
    members = sorted(
        coefficients["members"],
        key=lambda row: math.inf if row["accuracy_gap"] is None else row["accuracy_gap"],
    )
    rows = [
        [
            Cell(row["spec_id"]),
            *(Cell(format_interval(*row[name]), repr(row[name][0])) for name in GREEK_LETTERS),
            Cell(join_numbers(row["depths"])),
            Cell(join_numbers(row["widths"])),
            make_integer_cell(row["resolution"]),
            make_integer_cell(row["flops"]),
            make_number_cell(row["ratio"], 2),
            Cell(EN_DASH, "-1") if row["accuracy"] is None else make_percent_cell(row["accuracy"]),
            _make_gap_cell(row),
            Cell(_STATUS[row["status"]]),
        ]
        for row in members
    ]
    names = (
        "network:",
        ALPHA,
        BETA,
        GAMMA,
        "blocks:",
        "widths:",
        "side",
        "FLOPs",
        f"{TIMES_SIGN} B0",
        "accuracy",
        "behind",
        "verdict:",
    )
    return ReportTable(
        make_columns(*names),
        rows,
        next((i for i, row in enumerate(members) if row["winner"]), None),
    )
