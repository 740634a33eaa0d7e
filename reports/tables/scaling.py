"""The scaling search as tables: the coefficients with intervals, and the compared networks."""

import math

from phinas.experiment.artifacts.coefficients_file import RacedMember
from phinas.reports.formatting import (
    ALPHA,
    BETA,
    DIMENSIONS,
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

_STATUS_LABELS = {
    "winner": "best",
    "tied": "tied",
    "open": "tied, not trained with every seed",
    "excluded": "worse (95%)",
    "failed": "failed",
}
# What the posterior means of a race use (`scaling_search.race.race_state.RaceState`).
_GAP_NOTE = (
    "The estimated points behind the best differ from the differences of the scores in the table: "
    "they compare trainings with the same seed, include the short trainings, subtract the expected "
    "gain from more FLOPs, and assume that similar coefficients give similar scores. A network "
    "without a full training has no interval, since ranks may still change after a short one."
)


def make_coefficients_table(run_data: RunData) -> ReportTable | None:
    coefficients, race = run_data.coefficients, run_data.race
    if coefficients is None:
        return None
    intervals = race.intervals.by_name if race else {}
    rows = [
        [
            Cell(f"{GREEK_LETTERS[name]}, {DIMENSIONS[name]}"),
            make_number_cell(value, 3),
            Cell(format_interval(*intervals[name]) if name in intervals else "user-supplied"),
        ]
        for name, value in coefficients.factors.items()
    ]
    nominal = (
        f"{ALPHA} {TIMES_SIGN} {BETA}\u00b2 {TIMES_SIGN} {GAMMA}\u00b2 = {coefficients.nominal:.2f}"
    )
    if race is None:
        note = f"{nominal}; no networks were compared."
        return ReportTable(make_columns("coefficient:", "value", "range"), rows, None, note)
    note = f"{nominal}."
    if race.constraint == "measured" and coefficients.before_depth_limit is None:
        note += f" Each unit of phi multiplies the FLOPs by about {race.flops_multiple:g}."
    columns = make_columns("coefficient:", "value", "values with 95% of the probability")
    return ReportTable(columns, rows, None, note)


def make_grid_table(run_data: RunData) -> ReportTable | None:
    race = run_data.race
    if race is None:
        return None
    members = sorted(
        enumerate(race.members, start=1),
        key=lambda item: math.inf if item[1].score_gap is None else item[1].score_gap,
    )
    columns = make_columns(
        "name in commands:",
        ALPHA,
        BETA,
        GAMMA,
        "blocks per stage:",
        "widths per stage:",
        "resolution, px",
        "FLOPs",
        "FLOPs / B0",
        run_data.race_score_label,
        "estimated points behind the best (95% CI)",
        "probability to be the best",
        "result:",
    )
    winner_row = next((index for index, (_, row) in enumerate(members) if row.winner), None)
    rows = [_make_row(number, row) for number, row in members]
    return ReportTable(columns, rows, winner_row, _GAP_NOTE)


def _make_row(number: int, row: RacedMember) -> list[Cell]:
    return [
        Cell(f"grid-{number}"),
        *(
            Cell(format_interval(*interval), repr(interval[0]))
            for interval in row.intervals.values()
        ),
        Cell(join_numbers(row.depths) or EN_DASH),
        Cell(join_numbers(row.widths) or EN_DASH),
        make_integer_cell(row.resolution),
        make_integer_cell(row.flops),
        make_number_cell(row.ratio, 2),
        Cell(EN_DASH, "-1") if row.score is None else make_percent_cell(row.score),
        _make_gap_cell(row),
        make_percent_cell(row.probability_of_best),
        Cell(_STATUS_LABELS[row.status]),
    ]


def _make_gap_cell(row: RacedMember) -> Cell:
    """Points behind the best, and the 95% interval of that for a network with a full training."""
    if row.score_gap is None:
        return Cell(EN_DASH, "1e9")
    interval = ""
    if row.score_gap_interval is not None and not row.winner:
        low, high = row.score_gap_interval
        interval = f" ({100 * low:.1f} to {100 * high:.1f})"
    text = f"{100 * row.score_gap:.1f}{interval}".replace("-", "\N{MINUS SIGN}")
    return Cell(text, repr(row.score_gap))
