"""The scaling grid: networks of about equal FLOPs, how far behind the best each is, and which can't
be told from it.
"""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from phinas.reports.figure_export import ReportFigure, make_figure
from phinas.reports.figures.axes import add_axes_with_margins
from phinas.reports.formatting import (
    ALPHA,
    BETA,
    GAMMA,
    GREEK_LETTERS,
    format_interval,
    format_percent,
    pluralize,
)
from phinas.reports.palette import (
    BACKGROUND_COLOR,
    GRID_COLOR,
    MUTED_COLOR,
    NEUTRAL_COLOR,
    PRIMARY_COLOR,
    SEED_MARKER_STYLE,
    TEXT_COLOR,
)
from phinas.reports.run_data import RunData

MAX_MEMBERS = 40
_X_LABEL = "points of accuracy behind the best"


def draw(run_data: RunData, *, compact: bool) -> ReportFigure | None:
    coefficients = run_data.coefficients
    if not coefficients or not coefficients["members"]:
        return None
    members = rank_members(coefficients)
    row_height = 34.0 if compact else 21.0
    top = 30.0
    figure = make_figure((top + row_height * len(members) + 40) / 72, compact=compact)
    axes = add_axes_with_margins(figure, left=8 if compact else 236, right=12, top=top, bottom=40)
    winner = next(row for row in members if row["winner"])
    x_values = [end for row in members for end in _list_x_values(row, winner)]
    _set_difference_scale(axes, min(x_values), max(x_values))
    axes.set_ylim(len(members) - 0.5, -0.5)
    axes.yaxis.set_major_locator(NullLocator())
    axes.spines["left"].set_visible(False)
    axes.axvline(0, color=MUTED_COLOR, linewidth=0.8, zorder=1)
    axes.annotate(
        _X_LABEL,
        (1, 0),
        xycoords="axes fraction",
        xytext=(0, -24),
        textcoords="offset points",
        ha="right",
        va="top",
        color=MUTED_COLOR,
        fontsize=8.5,
    )
    for position, row in enumerate(members):
        _draw_member(axes, position, row, winner, compact=compact)
    if not compact:
        _write_column_titles(axes)
    tooltips = {f"member-{position}": [_make_tooltip(row)] for position, row in enumerate(members)}
    return ReportFigure(figure, _make_caption(run_data, len(members)), tooltips)


def rank_members(coefficients: dict[str, Any]) -> list[dict[str, Any]]:
    """Those of which anything is known, the likeliest first."""
    members_with_result = [
        row for row in coefficients["members"] if row["accuracy_gap"] is not None
    ]
    return sorted(members_with_result, key=lambda row: row["accuracy_gap"])[:MAX_MEMBERS]


def _get_interval(row: dict[str, Any]) -> tuple[float, float]:
    """Of the member's accuracy less the winner's."""
    low, high = row["accuracy_gap_interval"] or (row["accuracy_gap"], row["accuracy_gap"])
    return -high, -low


def _compute_differences(row: dict[str, Any], winner: dict[str, Any]) -> list[float]:
    """Of full trainings with the same seed."""
    if row["winner"]:
        return []
    return [
        member_accuracy - winner_accuracy
        for member_accuracy, winner_accuracy in zip(
            row["accuracies"], winner["accuracies"], strict=False
        )
    ]


def _list_x_values(row: dict[str, Any], winner: dict[str, Any]) -> list[float]:
    return [*_get_interval(row), *_compute_differences(row, winner), 0.0]


def _set_difference_scale(axes: Axes, low: float, high: float) -> None:
    pad = max(0.06 * (high - low), 0.0005)
    axes.set_xlim(low - pad, high + pad)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _format_tick(value)))
    axes.grid(axis="x", color=GRID_COLOR, linewidth=0.5)
    axes.xaxis.set_tick_params(length=0)


def _format_tick(value: float) -> str:
    return "0" if abs(value) < 1e-9 else f"{100 * value:+.3g}".replace("-", "\N{MINUS SIGN}")


def _draw_member(
    axes: Axes, position: int, row: dict[str, Any], winner: dict[str, Any], *, compact: bool
) -> None:
    color = PRIMARY_COLOR if row["tied"] else NEUTRAL_COLOR
    line_y = position + 0.2 if compact else position
    axes.plot(_get_interval(row), [line_y, line_y], color=color, linewidth=1.4, zorder=3)
    differences = _compute_differences(row, winner)
    axes.scatter(differences, [line_y] * len(differences), **SEED_MARKER_STYLE)
    face_color = BACKGROUND_COLOR if row["status"] == "open" else color
    axes.scatter(
        [-row["accuracy_gap"]],
        [line_y],
        s=44 if row["winner"] else 30,
        facecolor=face_color,
        edgecolor=color,
        linewidth=1.2,
        zorder=4,
        gid=f"member-{position}",
    )
    weight = "bold" if row["winner"] else "normal"
    if compact:
        texts = [
            *(f"{GREEK_LETTERS[name]} {format_interval(*row[name])}" for name in GREEK_LETTERS),
            f"{row['resolution']} px",
        ]
        text = "\N{EM SPACE}".join(texts)  # SVG shows several plain spaces as one
        axes.annotate(
            text,
            (0, position - 0.2),
            xycoords=("axes fraction", "data"),
            ha="left",
            va="center",
            fontsize=7.5,
            fontweight=weight,
            color=TEXT_COLOR,
        )
        return
    for offset, text in zip(
        _COLUMN_OFFSETS,
        (*(format_interval(*row[name]) for name in GREEK_LETTERS), f"{row['resolution']} px"),
        strict=True,
    ):
        _write(axes, text, line_y, offset, weight=weight)


_COLUMN_OFFSETS = (-203.0, -140.0, -72.0, -17.0)  # right of the last, in points from the axes


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
        (f"{ALPHA} depth", f"{BETA} width", f"{GAMMA} resolution", "side"),
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


def _make_tooltip(row: dict[str, Any]) -> str:
    factors = ", ".join(
        f"{GREEK_LETTERS[name]} {format_interval(*row[name])}" for name in GREEK_LETTERS
    )
    seeds = ", ".join(format_percent(value) for value in row["accuracies"]) or "no full training"
    return f"{row['spec_id']}: {seeds}; {factors}; {row['ratio']:.2f} times B0's FLOPs"


def _make_caption(run_data: RunData, num_shown: int) -> str:
    coefficients = run_data.coefficients
    assert coefficients is not None
    members = coefficients["members"]
    num_tied = sum(row["tied"] for row in members)
    truncation_note = f" The likeliest {num_shown} are drawn." if num_shown < len(members) else ""
    epochs_spent, full_grid_epochs = coefficients["epochs"], coefficients["full_grid_epochs"]
    race_note = (
        ""
        if epochs_spent >= full_grid_epochs
        else (
            f" They raced: {epochs_spent:,} of the {full_grid_epochs:,} epochs that all with every "
            "seed would have taken; hollow: the budget ended before it was trained with every seed."
        )
    )
    correction_note = (
        ""
        if not coefficients["slope"]
        else (
            f" What more FLOPs buy is taken off ({coefficients['slope']:.2g} points a percent of "
            "FLOPs)."
        )
    )
    return (
        f"{pluralize(len(members), 'way')} to spend "
        f"{coefficients['flops_multiple'] ** coefficients['grid_phi']:.3g} times the baseline's "
        f"FLOPs, the likeliest best first.{truncation_note} Large dot: expected accuracy less that "
        "of the best, from all trainings together; line: its 95% interval; small dots: "
        f"differences of two full trainings with the same seed. {num_tied} of {len(members)} "
        "(blue) can't be told from the best, all comparisons "
        f"together.{race_note}{correction_note} {_describe_accuracies(run_data)}"
    )


def _describe_accuracies(run_data: RunData) -> str:
    if run_data.scaling_accuracy_source:
        return f"Accuracies are those of {run_data.scaling_accuracy_source}."
    return (
        "Accuracy is of the validation images. Intervals cover the luck of training (weights, "
        "data order), not the draw of these images, which are the same for all."
    )
