"""The controls compared with the family: score of the member minus that of each control at equal
FLOPs, with its interval. A positive difference means that the family is better.
"""

from collections.abc import Sequence

from matplotlib.axes import Axes

from phinas.reports.controls import MARKERS, VERDICT_LABELS, make_control_label
from phinas.reports.family_rows import TestedControl
from phinas.reports.figure_export import ReportFigure, make_figure
from phinas.reports.figures.axes import add_axes_with_margins, set_difference_scale
from phinas.reports.formatting import TIMES_SIGN, format_percent, format_points, truncate
from phinas.reports.palette import (
    ACCENT_COLOR,
    BACKGROUND_COLOR,
    MUTED_COLOR,
    NEUTRAL_COLOR,
    PRIMARY_COLOR,
    SEED_MARKER_STYLE,
    TEXT_COLOR,
)
from phinas.reports.run_data import RunData
from phinas.reports.sentences.rendering import render

MAX_CONTROLS = 40
_VERDICT_COLORS = {"better": NEUTRAL_COLOR, "worse": ACCENT_COLOR, "tied": PRIMARY_COLOR}


def draw(run_data: RunData, *, compact: bool) -> ReportFigure | None:
    controls = run_data.tested_controls[:MAX_CONTROLS]
    if not controls:
        return None
    row_height, top = (36.0 if compact else 28.0), 30.0
    figure = make_figure((top + row_height * len(controls) + 40) / 72, compact=compact)
    axes = add_axes_with_margins(
        figure, left=8 if compact else 236, right=12 if compact else 118, top=top, bottom=40
    )
    differences = [_compute_differences(control, run_data) for control in controls]
    x_values = [
        value
        for control, seed_differences in zip(controls, differences, strict=True)
        for value in (*_get_interval(control), *seed_differences, 0.0)
    ]
    label = f"{'' if compact else 'test '}{run_data.test_score_label}"
    set_difference_scale(
        axes,
        x_values,
        num_rows=len(controls),
        label=f"points of {label}, family minus control",
        signed=True,
    )
    _label_zero_line(axes, controls)
    for position, (control, seed_differences) in enumerate(zip(controls, differences, strict=True)):
        _draw_control(axes, position, control, seed_differences, compact=compact)
        _write_row_text(axes, position, control, run_data, compact=compact)
    tooltips = {
        f"control-{position}": [_make_tooltip(control)] for position, control in enumerate(controls)
    }
    return ReportFigure(figure, _make_caption(run_data, controls), tooltips)


def _label_zero_line(axes: Axes, controls: Sequence[TestedControl]) -> None:
    low, high = axes.get_xlim()
    align = (
        "left" if -low < 0.2 * (high - low) else "right" if high < 0.2 * (high - low) else "center"
    )
    names = sorted({control.member_label for control in controls})
    axes.annotate(
        f"equal to {names[0] if len(names) == 1 else 'its member'}",
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


def _get_interval(control: TestedControl) -> tuple[float, float]:
    """The interval of the difference; its ends are equal where the noise is not known."""
    difference = control.comparison.difference
    return control.comparison.interval or (difference, difference)


def _compute_differences(control: TestedControl, run_data: RunData) -> list[float]:
    """Differences of trainings with the same seed, adjusted like their mean; none where a seed
    failed.
    """
    member = run_data.find_tested_member(control.record.family_member)
    if member is None or member.result.failure_reason or control.result.failure_reason:
        return []
    pairs = zip(control.result.scores, member.result.scores, strict=True)
    raw = [member_score - control_score for control_score, member_score in pairs]
    shift = control.comparison.difference - sum(raw) / len(raw)
    return [value + shift for value in raw]


def _draw_control(
    axes: Axes,
    position: int,
    control: TestedControl,
    differences: Sequence[float],
    *,
    compact: bool,
) -> None:
    verdict = control.comparison.verdict
    color = _VERDICT_COLORS[verdict] if verdict else MUTED_COLOR
    line_y = position + 0.12 if compact else position
    axes.plot(_get_interval(control), [line_y, line_y], color=color, linewidth=1.4, zorder=3)
    axes.scatter(
        differences, [line_y + (0.22 if compact else 0.26)] * len(differences), **SEED_MARKER_STYLE
    )
    axes.scatter(
        [control.comparison.difference],
        [line_y],
        s=44,
        marker=MARKERS[control.record.kind][0],
        color=color,
        linewidth=0,
        zorder=4,
        gid=f"control-{position}",
    )


def _write_row_text(
    axes: Axes, position: int, control: TestedControl, run_data: RunData, *, compact: bool
) -> None:
    """The name, the FLOPs relative to the member, and the verdict."""
    member, verdict = run_data.find_member(control.record.family_member), ""
    if control.comparison.verdict is not None:
        verdict = VERDICT_LABELS[control.comparison.verdict]
    name = truncate(make_control_label(control.record, with_factors=False), 30)
    ratio = f"{control.flops / member.flops:.2f}{TIMES_SIGN} " if member else ""
    flops = f"{ratio}{control.member_label}"
    if compact:
        # SVG shows several plain spaces as one
        text, y = f"{name}\N{EM SPACE}{flops}", position - 0.24
        _write(axes, text, (0, y), offset=0, align="left", size=7.5)
        _write(axes, verdict, (1, y), offset=0, align="right", size=7.5, color=MUTED_COLOR)
        return
    _write(axes, name, (0, position), offset=-228, align="left")
    _write(axes, flops, (0, position), offset=-12, align="right", color=MUTED_COLOR)
    _write(axes, verdict, (1, position), offset=8, align="left", size=8, color=MUTED_COLOR)


def _write(
    axes: Axes,
    text: str,
    at: tuple[float, float],
    *,
    offset: float,
    align: str,
    size: float = 8.5,
    color: str = TEXT_COLOR,
) -> None:
    """Write next to the axes; `at` is the fraction of the axes in x and the row in y."""
    axes.annotate(
        text,
        at,
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


def _make_tooltip(control: TestedControl) -> str:
    seeds = ", ".join(format_percent(value) for value in control.result.scores)
    difference = format_points(control.comparison.difference)
    return (
        f"{make_control_label(control.record)}, {control.network.network_id}: {seeds}; "
        f"{control.member_label} minus this control: {difference} points"
    )


def _make_caption(run_data: RunData, controls: Sequence[TestedControl]) -> str:
    verdicts = [control.comparison.verdict for control in run_data.tested_controls]
    return render(
        "controls",
        "caption",
        num_controls=len(verdicts),
        num_shown=len(controls),
        members=sorted({control.member_label for control in controls}),
        images=controls[0].result.images,
        better=verdicts.count("better"),
        worse=verdicts.count("worse"),
        tied=verdicts.count("tied"),
        unknown=verdicts.count(None),
    )
