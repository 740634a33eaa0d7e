"""The search for coefficients as tables: alpha, beta, gamma with their ranges, and the networks
that raced.
"""

import math
from typing import Any

from phinas.reports.formatting import ALPHA, BETA, DASH, GAMMA, GREEK, TIMES, joined, span
from phinas.reports.run_data import Records
from phinas.reports.tables.cells import Cell, Exhibit, columns, number, percentage, whole


def show_coefficients(records: Records) -> Exhibit | None:
    found = records.coefficients
    if found is None:
        return None
    scales = {"alpha": "depth", "beta": "width", "gamma": "resolution"}
    searched = records.searched_coefficients is not None
    rows = [
        [
            Cell(f"{GREEK[name]}, {what}"),
            number(found[name], 3),
            Cell(span(*found["ranges"][name]) if searched else "given, not searched"),
        ]
        for name, what in scales.items()
    ]
    nominal = (
        f"{ALPHA} {TIMES} {BETA}\u00b2 {TIMES} {GAMMA}\u00b2 = "
        f"{found['alpha'] * found['beta'] ** 2 * found['gamma'] ** 2:.2f}"
    )
    if not searched:
        return Exhibit(
            columns("coefficient:", "value", "range"),
            rows,
            None,
            f"{nominal}; no networks raced for them.",
        )
    winner = next(row for row in found["members"] if row["winner"])
    note = (
        f"{nominal}; measured, the best network has {winner['ratio']:.2f} times the "
        "baseline's FLOPs."
    )
    return Exhibit(columns("coefficient:", "point", "range of the ties"), rows, None, note)


_STATUS = {
    "winner": "best",
    "tied": "tie",
    "open": "tie, not trained with every seed",
    "excluded": "worse",
    "failed": "failed",
}


def _behind(row: dict[str, Any]) -> Cell:
    """Points behind the best, and the 95% interval of that."""
    if row["behind"] is None:
        return Cell(DASH, "1e9")
    interval = row["behind_interval"]
    told = (
        f" ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"
        if interval and not row["winner"]
        else ""
    )
    return Cell(
        f"{100 * row['behind']:.1f}{told}".replace("-", "\N{MINUS SIGN}"), repr(row["behind"])
    )


def show_grid(records: Records) -> Exhibit | None:
    found = records.searched_coefficients
    if found is None:
        return None
    members = sorted(
        found["members"], key=lambda row: math.inf if row["behind"] is None else row["behind"]
    )
    rows = [
        [
            Cell(row["spec_id"]),
            *(Cell(span(*row[name]), repr(row[name][0])) for name in GREEK),
            Cell(joined(row["depths"])),
            Cell(joined(row["widths"])),
            whole(row["resolution"]),
            whole(row["flops"]),
            number(row["ratio"], 2),
            Cell(DASH, "-1") if row["accuracy"] is None else percentage(row["accuracy"]),
            _behind(row),
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
        f"{TIMES} B0",
        "accuracy",
        "behind",
        "verdict:",
    )
    return Exhibit(
        columns(*names), rows, next((i for i, row in enumerate(members) if row["winner"]), None)
    )
