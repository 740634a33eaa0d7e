"""The family as a table: what was measured, and what is predicted for members that were not
trained.
"""

from phinas.reports.family_rows import (
    ReportMember,
    compute_scale_factors,
    stage_dimensions,
)
from phinas.reports.formatting import (
    ALPHA,
    BETA,
    EN_DASH,
    GAMMA,
    PHI,
    format_percent,
    join_names,
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

_NOTE = (
    f"{PHI} is the compound coefficient. The factors of depth, width and resolution are "
    f"{ALPHA}^{PHI}, {BETA}^{PHI} and {GAMMA}^{PHI}. Where the resolution has its maximum, those "
    "of depth and width are larger. The numbers of blocks, the widths (output channels) and the "
    "resolution are after rounding."
)


def make_family_table(run_data: RunData) -> ReportTable | None:
    if not run_data.members:
        return None
    columns = make_columns(
        "member:",
        PHI,
        f"test {run_data.test_score_label}",
        "95% CI",
        "FLOPs",
        "FLOPs / B0",
        "parameters",
        "resolution, px",
        "blocks per stage:",
        "widths per stage:",
        "depth factor",
        "width factor",
        "resolution factor",
    )
    rows = [_make_row(row, run_data) for row in run_data.members]
    return ReportTable(columns, rows, None, f"{_NOTE}{_describe_saved_weights(run_data)}")


def _describe_saved_weights(run_data: RunData) -> str:
    """Which of several trainings the saved weights are from; "" with one training of each."""
    scores = [
        f"{row.label} {format_percent(row.record.weights.score)}"
        for row in run_data.tested_members
        if row.record is not None and row.record.weights and len(row.result.scores) > 1
    ]
    if not scores:
        return ""
    return (
        f" The {run_data.test_score_label} is the mean of several trainings. The saved weights of "
        f"a member are those of one of them, with the first seed: {join_names(scores)}."
    )


def _make_row(row: ReportMember, run_data: RunData) -> list[Cell]:
    member = row.member
    depths, widths = stage_dimensions(member.spec)
    return [
        Cell(row.label),
        Cell(f"{member.phi:g}"),
        *_make_score_cells(row),
        make_integer_cell(member.flops),
        make_number_cell(member.ratio, 2),
        make_integer_cell(member.params),
        make_integer_cell(member.spec.resolution),
        Cell(join_numbers(depths) or EN_DASH),
        Cell(join_numbers(widths) or EN_DASH),
        *(
            Cell(EN_DASH) if value is None else make_number_cell(value, 2)
            for value in compute_scale_factors(
                run_data.coefficients, run_data.baseline_spec, member.phi
            ).values()
        ),
    ]


def _make_score_cells(row: ReportMember) -> list[Cell]:
    """The score and its interval, measured or marked as predicted; else why there is none."""
    record = row.record
    if record is not None and record.result is not None:
        return _format_score(record.result.score, record.result.interval, prefix="")
    if record is not None and record.prediction is not None:
        prediction = record.prediction
        return _format_score(prediction.score, prediction.interval, prefix="predicted ")
    is_on_curve = record is not None and record.missing_prediction is not None
    return [Cell("not predicted" if is_on_curve else "not trained", "-1"), Cell(EN_DASH, "-1")]


def _format_score(score: float, interval: tuple[float, float], *, prefix: str) -> list[Cell]:
    low, high = interval
    return [
        Cell(f"{prefix}{format_percent(score)}", repr(score)),
        Cell(f"{100 * low:.1f}{EN_DASH}{format_percent(high)}", repr(low)),
    ]
