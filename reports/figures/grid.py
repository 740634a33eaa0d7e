"""The compared networks of about equal FLOPs: how far each is behind the best, with intervals."""

from matplotlib.axes import Axes

from phinas.experiment.artifacts.coefficients_file import RacedMember, RaceRecord
from phinas.reports.figure_export import ReportFigure, make_figure
from phinas.reports.figures.axes import add_axes_with_margins, set_difference_scale
from phinas.reports.formatting import (
    ALPHA,
    BETA,
    GAMMA,
    GREEK_LETTERS,
    format_interval,
    format_percent,
)
from phinas.reports.palette import (
    BACKGROUND_COLOR,
    MUTED_COLOR,
    NEUTRAL_COLOR,
    PRIMARY_COLOR,
    SEED_MARKER_STYLE,
    TEXT_COLOR,
)
from phinas.reports.run_data import RunData
from phinas.reports.sentences.rendering import render

MAX_MEMBERS = 40


def draw(run_data: RunData, *, compact: bool) -> ReportFigure | None:
    race = run_data.race
    if race is None:
        return None
    members = rank_members(race)
    row_height = 34.0 if compact else 21.0
    top = 30.0
    figure = make_figure((top + row_height * len(members) + 40) / 72, compact=compact)
    axes = add_axes_with_margins(figure, left=8 if compact else 236, right=12, top=top, bottom=40)
    x_values = [end for row in members for end in _list_x_values(row, race.winner)]
    set_difference_scale(
        axes,
        x_values,
        num_rows=len(members),
        label=f"points of {run_data.race_score_label} behind the best",
        signed=False,
    )
    for position, row in enumerate(members):
        _draw_member(axes, position, row, race.winner, compact=compact)
        _write_member(axes, position, row, compact=compact)
    if not compact:
        _write_column_titles(axes)
    tooltips = {f"member-{position}": [_make_tooltip(row)] for position, row in enumerate(members)}
    return ReportFigure(figure, _make_caption(run_data, race, num_shown=len(members)), tooltips)


def rank_members(race: RaceRecord) -> list[RacedMember]:
    """The members with a result, by expected score, the best first."""
    return sorted((row for row in race.members if row.score_gap is not None), key=_score_gap)[
        :MAX_MEMBERS
    ]


def _score_gap(row: RacedMember) -> float:
    assert row.score_gap is not None
    return row.score_gap


def _get_interval(row: RacedMember) -> tuple[float, float]:
    """The interval of the winner's score minus the member's."""
    gap = _score_gap(row)
    return row.score_gap_interval or (gap, gap)


def _compute_differences(row: RacedMember, winner: RacedMember) -> list[float]:
    """Score of the winner minus the member's, in full trainings with the same seed."""
    if row.winner:
        return []
    pairs = zip(row.scores, winner.scores, strict=False)
    return [winner_score - member_score for member_score, winner_score in pairs]


def _list_x_values(row: RacedMember, winner: RacedMember) -> list[float]:
    return [*_get_interval(row), *_compute_differences(row, winner), 0.0]


def _line_y(position: int, *, compact: bool) -> float:
    return position + 0.2 if compact else position


def _draw_member(
    axes: Axes, position: int, row: RacedMember, winner: RacedMember, *, compact: bool
) -> None:
    color = PRIMARY_COLOR if row.tied else NEUTRAL_COLOR
    y = _line_y(position, compact=compact)
    axes.plot(_get_interval(row), [y, y], color=color, linewidth=1.4, zorder=3)
    differences = _compute_differences(row, winner)
    axes.scatter(differences, [y] * len(differences), **SEED_MARKER_STYLE)
    axes.scatter(
        [_score_gap(row)],
        [y],
        s=44 if row.winner else 30,
        facecolor=BACKGROUND_COLOR if row.status == "open" else color,
        edgecolor=color,
        linewidth=1.2,
        zorder=4,
        gid=f"member-{position}",
    )


_COLUMN_OFFSETS = (-203.0, -140.0, -72.0, -17.0)  # centers left of the axes, in points


def _write_member(axes: Axes, position: int, row: RacedMember, *, compact: bool) -> None:
    """alpha, beta, gamma and the resolution."""
    weight = "bold" if row.winner else "normal"
    intervals = {name: format_interval(*interval) for name, interval in row.intervals.items()}
    resolution = f"{row.resolution} px"
    if compact:
        factors = [f"{GREEK_LETTERS[name]} {interval}" for name, interval in intervals.items()]
        axes.annotate(
            "\N{EM SPACE}".join([*factors, resolution]),  # SVG shows several spaces as one
            (0, position - 0.2),
            xycoords=("axes fraction", "data"),
            ha="left",
            va="center",
            fontsize=7.5,
            fontweight=weight,
            color=TEXT_COLOR,
        )
        return
    for offset, text in zip(_COLUMN_OFFSETS, (*intervals.values(), resolution), strict=True):
        _write(axes, text, position, offset, weight=weight)


def _write(axes: Axes, text: str, y: float, offset: float, *, weight: str) -> None:
    axes.annotate(
        text,
        (0, y),
        xycoords=("axes fraction", "data"),
        xytext=(offset, 0),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=8.5,
        fontweight=weight,
        color=TEXT_COLOR,
        annotation_clip=False,
    )


def _write_column_titles(axes: Axes) -> None:
    for offset, text in zip(
        _COLUMN_OFFSETS,
        (f"{ALPHA} depth", f"{BETA} width", f"{GAMMA} resolution", "input size"),
        strict=True,
    ):
        axes.annotate(
            text,
            (0, 1),
            xycoords="axes fraction",
            xytext=(offset, 8),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=8,
            color=MUTED_COLOR,
            annotation_clip=False,
        )


def _make_tooltip(row: RacedMember) -> str:
    factors = ", ".join(
        f"{GREEK_LETTERS[name]} {format_interval(*interval)}"
        for name, interval in row.intervals.items()
    )
    seeds = ", ".join(format_percent(value) for value in row.scores) or "no full training"
    return f"{row.network_id}: {seeds}; {factors}; {row.ratio:.2f} times B0's FLOPs"


def _make_caption(run_data: RunData, race: RaceRecord, *, num_shown: int) -> str:
    return render(
        "coefficients",
        "grid_caption",
        num_members=len(race.members),
        cost=f"{race.target_ratio:.3g}",
        num_shown=num_shown,
        label=run_data.race_score_label,
        num_tied=race.num_tied + 1,
        raced=race.epochs < race.full_grid_epochs,
        epochs=race.epochs,
        full_grid_epochs=race.full_grid_epochs,
        slope=race.slope,
        source=run_data.scaling_score_source,
    )
