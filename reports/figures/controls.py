"""Other ways to scale, held against the family's own: how far each is from the member of its FLOPs,
noise and all.
"""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from phinas.reports.controls import (
    MARKERS,
    VERDICT_LABELS,
    find_compared_member,
    get_control_kind,
    make_control_label,
)
from phinas.reports.figure_export import ReportFigure, make_figure
from phinas.reports.figures.axes import add_axes_with_margins
from phinas.reports.formatting import (
    TIMES_SIGN,
    format_percent,
    format_points,
    join_names,
    pluralize,
)
from phinas.reports.palette import (
    ACCENT_COLOR,
    BACKGROUND_COLOR,
    GRID_COLOR,
    MUTED_COLOR,
    NEUTRAL_COLOR,
    PRIMARY_COLOR,
    SEED_MARKER_STYLE,
    TEXT_COLOR,
)
from phinas.reports.run_data import RunData

MAX_CONTROLS = 40
_VERDICT_COLORS = {"better": NEUTRAL_COLOR, "worse": ACCENT_COLOR, "tied": PRIMARY_COLOR}
_TEXT_SIZE = 8.5  # size of the text


def draw(run_data: RunData, *, compact: bool) -> ReportFigure | None:
    rows = run_data.trained_controls[:MAX_CONTROLS]
    if not rows:
        return None
    row_height, top = (36.0 if compact else 28.0), 30.0
    figure = make_figure((top + row_height * len(rows) + 40) / 72, compact=compact)
    axes = add_axes_with_margins(
        figure, left=8 if compact else 236, right=12 if compact else 118, top=top, bottom=40
    )
    differences = [_compute_differences(row, run_data) for row in rows]
    x_values = [
        value
        for row, seed_differences in zip(rows, differences, strict=True)
        for value in (*_get_interval(row), *seed_differences, 0.0)
    ]
    _set_difference_scale(axes, min(x_values), max(x_values), compact=compact)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.axvline(0, color=MUTED_COLOR, linewidth=0.8, zorder=1)
    low, high = axes.get_xlim()
    align = (
        "left" if -low < 0.2 * (high - low) else "right" if high < 0.2 * (high - low) else "center"
    )
    axes.annotate(
        _make_zero_line_label(rows),
        (0, 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, 8),
        textcoords="offset points",
        ha=align,
        va="center",
        fontsize=8,
        color=MUTED_COLOR,
        annotation_clip=False,
    )
    for position, (row, seed_differences) in enumerate(zip(rows, differences, strict=True)):
        _draw_control(axes, position, row, seed_differences, compact=compact)
        _write_row_text(axes, position, row, run_data, compact=compact)
    tooltips = {f"control-{position}": [_make_tooltip(row)] for position, row in enumerate(rows)}
    return ReportFigure(figure, _make_caption(run_data, rows), tooltips)


def _get_interval(row: dict[str, Any]) -> tuple[float, float]:
    """Of the control's accuracy less the member's."""
    low, high = row.get("accuracy_gap_interval") or (row["accuracy_gap"], row["accuracy_gap"])
    return -high, -low


def _compute_differences(row: dict[str, Any], run_data: RunData) -> list[float]:
    """Of trainings with the same seed, corrected as their mean is; none where a seed failed and
    they are no pairs.
    """
    member = find_compared_member(row, run_data) or {}
    member_accuracies, control_accuracies = member.get("accuracies") or [], row["accuracies"]
    if (
        len(member_accuracies) != len(control_accuracies)
        or row.get("failure_reason")
        or member.get("failure_reason")
    ):
        return []
    raw = [
        control - compound
        for control, compound in zip(control_accuracies, member_accuracies, strict=True)
    ]
    shift = -row["accuracy_gap"] - sum(raw) / len(raw)
    return [value + shift for value in raw]


def _set_difference_scale(axes: Axes, low: float, high: float, *, compact: bool) -> None:
    pad = max(0.06 * (high - low), 0.0005)
    axes.set_xlim(low - pad, high + pad)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _format_tick(value)))
    axes.grid(axis="x", color=GRID_COLOR, linewidth=0.5)
    axes.xaxis.set_tick_params(length=0)
    axes.yaxis.set_major_locator(NullLocator())
    axes.spines["left"].set_visible(False)
    axes.annotate(
        f"points of {'' if compact else 'test '}accuracy, less the compound member's",
        (1, 0),
        xycoords="axes fraction",
        xytext=(0, -24),
        textcoords="offset points",
        ha="right",
        va="top",
        color=MUTED_COLOR,
        fontsize=8.5,
    )


def _format_tick(value: float) -> str:
    return "0" if abs(value) < 1e-9 else f"{100 * value:+.3g}".replace("-", "\N{MINUS SIGN}")


def _make_zero_line_label(rows: list[dict[str, Any]]) -> str:
    names = sorted({row["family_member"].upper() for row in rows})
    return f"as good as {names[0] if len(names) == 1 else 'its member'}"


def _draw_control(
    axes: Axes, position: int, row: dict[str, Any], differences: list[float], *, compact: bool
) -> None:
    color, line_y = (
        _VERDICT_COLORS.get(row.get("verdict") or "", MUTED_COLOR),
        position + 0.12 if compact else position,
    )
    axes.plot(_get_interval(row), [line_y, line_y], color=color, linewidth=1.4, zorder=3)
    axes.scatter(
        differences, [line_y + (0.22 if compact else 0.26)] * len(differences), **SEED_MARKER_STYLE
    )
    marker, _ = MARKERS[get_control_kind(row)]
    axes.scatter(
        [-row["accuracy_gap"]],
        [line_y],
        s=44,
        marker=marker,
        color=color,
        linewidth=0,
        zorder=4,
        gid=f"control-{position}",
    )


def _write_row_text(
    axes: Axes, position: int, row: dict[str, Any], run_data: RunData, *, compact: bool
) -> None:
    """The rule and its FLOPs beside the member's; what came of it."""
    member, verdict = (
        find_compared_member(row, run_data),
        VERDICT_LABELS.get(row.get("verdict") or "", ""),
    )
    flops = (
        f"{row['flops'] / member['flops']:.2f}{TIMES_SIGN} {row['family_member'].upper()}"
        if member
        else row["family_member"].upper()
    )
    if compact:
        # SVG shows several plain spaces as one
        text = "\N{EM SPACE}".join(part for part in (make_control_label(row, 30), flops) if part)
        _write(axes, text, position - 0.24, x_fraction=0, offset=0, align="left", size=7.5)
        _write(
            axes,
            verdict,
            position - 0.24,
            x_fraction=1,
            offset=0,
            align="right",
            size=7.5,
            color=MUTED_COLOR,
        )
        return
    _write(axes, make_control_label(row, 30), position, x_fraction=0, offset=-228, align="left")
    _write(axes, flops, position, x_fraction=0, offset=-12, align="right", color=MUTED_COLOR)
    _write(axes, verdict, position, x_fraction=1, offset=8, align="left", size=8, color=MUTED_COLOR)


def _write(
    axes: Axes,
    text: str,
    y: float,
    *,
    x_fraction: int,
    offset: float,
    align: str,
    size: float = _TEXT_SIZE,
    color: str = TEXT_COLOR,
) -> None:
    axes.annotate(
        text,
        (x_fraction, y),
        xycoords=("axes fraction", "data"),
        xytext=(offset, 0),
        textcoords="offset points",
        ha=align,
        va="center",
        fontsize=size,
        color=color,
        annotation_clip=False,
        bbox={"facecolor": BACKGROUND_COLOR, "linewidth": 0, "pad": 1},
    )


def _make_tooltip(row: dict[str, Any]) -> str:
    seeds = ", ".join(format_percent(value) for value in row["accuracies"])
    difference_text = format_points(-row["accuracy_gap"])
    return (
        f"{row['label']}, {row['spec_id']}: {seeds}; {difference_text} points beside "
        f"{row['family_member'].upper()}"
    )


def _make_caption(run_data: RunData, rows: list[dict[str, Any]]) -> str:
    total = len(run_data.trained_controls)
    truncation_note = f" The best {len(rows)} are drawn." if len(rows) < total else ""
    names = join_names(sorted({row["family_member"].upper() for row in rows}))
    images = rows[0]["images"]
    counts = {
        verdict: sum(row.get("verdict") == verdict for row in run_data.trained_controls)
        for verdict in _VERDICT_COLORS
    }
    return (
        f"{pluralize(total, 'other way', 'other ways')} to spend about the FLOPs of {names}, the "
        f"best first.{truncation_note} Mark: mean accuracy of the control on the {images:,} test "
        "images less that of the member it is held against, after what their difference in FLOPs "
        "is worth; line: its 95% interval, all controls together; dots below: differences of two "
        "trainings with the same seed. Compound scaling is better beyond doubt than "
        f"{counts['better']} (gray) and worse than {counts['worse']} (orange); of {counts['tied']} "
        "(blue) it can't be told. Intervals cover the luck of training and the finite number of "
        "test images."
    )
