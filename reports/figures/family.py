"""The family's score on the test split over FLOPs: trained members, the curve through them with its
predictions for the others, and the controls. Predictions are hollow and dashed. Without a curve,
members without a score are marked on the axis. With one, they are left out.
"""

from collections.abc import Sequence

from matplotlib.axes import Axes

from phinas.experiment.artifacts.validation_file import Prediction
from phinas.reports.controls import MARKERS, make_control_label, make_short_control_label
from phinas.reports.family_rows import PredictedMember, ReportMember, TestedControl, TestedMember
from phinas.reports.figure_export import ReportFigure, make_figure
from phinas.reports.figures.axes import (
    add_axes_with_margins,
    set_axis_labels,
    set_cost_scale,
    set_percent_scale,
)
from phinas.reports.figures.labels import Label, LabelsAndLines, Point, place_labels
from phinas.reports.figures.results import draw_results
from phinas.reports.formatting import TIMES_SIGN, format_count, format_percent
from phinas.reports.palette import (
    BACKGROUND_COLOR,
    BAND_COLOR,
    MUTED_COLOR,
    PRIMARY_COLOR,
    TEXT_COLOR,
)
from phinas.reports.run_data import RunData
from phinas.reports.sentences.family import make_family_caption

_DASH_PATTERN = (0, (3, 2))


def draw(run_data: RunData, *, compact: bool) -> ReportFigure | None:
    tested, predicted = run_data.tested_members, run_data.predicted_members
    controls = run_data.tested_controls
    if not tested:
        return None
    figure = make_figure(3.6 if compact else 4.6, compact=compact)
    axes = add_axes_with_margins(figure, left=32, right=14, top=26, bottom=42)
    has_curve = run_data.validation is not None and run_data.validation.curve is not None
    unscored = [] if has_curve else run_data.members_without_score
    members: list[ReportMember] = [*tested, *predicted, *unscored]
    costs = [row.flops for row in members] + [row.flops for row in controls]
    set_cost_scale(axes, costs, compact=compact)
    low, high = axes.get_xlim()
    # room for labels next to the outer bars
    axes.set_xlim(low * (low / high) ** 0.09, high * (high / low) ** 0.03)
    set_percent_scale(axes, _list_scores(run_data))
    set_axis_labels(
        axes,
        x_label="FLOPs of the network (log scale)",
        y_label=f"{run_data.test_score_label} on the test split",
    )
    if unscored:
        _draw_members_without_score(axes, unscored)
    labels: list[Label] = []
    lines: list[list[Point]] = [_draw_curve(axes, run_data)]
    for more_labels, more_lines in (
        _draw_tested_members(axes, tested, compact=compact),
        _draw_predicted_members(axes, predicted, compact=compact),
        _draw_controls(axes, controls, compact=compact),
    ):
        labels += more_labels
        lines += more_lines
    markers: list[Point] = [(row.flops, row.result.score) for row in tested]
    markers += [(row.flops, row.result.score) for row in controls]
    markers += [(row.flops, row.score) for row in predicted]
    place_labels(axes, labels, points=markers, lines=lines, markers=markers)
    tooltips = {
        "trained": [_make_tooltip(row) for row in tested],
        "predicted": [_make_prediction_tooltip(row) for row in predicted],
    }
    tooltips |= {
        f"control-{index}": [_make_control_tooltip(row)] for index, row in enumerate(controls)
    }
    return ReportFigure(figure, make_family_caption(run_data), tooltips)


def _list_scores(run_data: RunData) -> list[float]:
    """Every score that has to be inside the axes."""
    values: list[float] = []
    for member in run_data.tested_members:
        values += (*member.result.interval, *member.result.scores)
    for predicted in run_data.predicted_members:
        values += predicted.interval
    for control in run_data.tested_controls:
        values += (control.result.score, *control.result.scores)
    return values


def _draw_curve(axes: Axes, run_data: RunData) -> list[Point]:
    """The curve with its band, dashed beyond the largest trained member; without a curve a line
    from one member to the next.
    """
    tested = run_data.tested_members
    curve = run_data.validation.curve if run_data.validation else None
    if curve is None:
        line: list[Point] = [(row.flops, row.result.score) for row in tested]
        axes.plot(*zip(*line, strict=True), color=PRIMARY_COLOR, linewidth=1.2, zorder=2)
        return line
    _draw_band(axes, curve.band)
    line = [(point.flops, point.score) for point in curve.band]
    max_flops = tested[-1].flops
    measured_range = [point for point in line if point[0] <= max_flops]
    extrapolated_range = [point for point in line if point[0] >= max_flops]
    axes.plot(
        *zip(*(measured_range + extrapolated_range[:1]), strict=True),
        color=PRIMARY_COLOR,
        linewidth=1.2,
        zorder=2,
        gid="curve",
    )
    if len(extrapolated_range) > 1:
        axes.plot(
            *zip(*extrapolated_range, strict=True),
            color=PRIMARY_COLOR,
            linewidth=1,
            linestyle=_DASH_PATTERN,
            zorder=2,
            gid="curve-beyond",
        )
    return line


def _draw_band(axes: Axes, band: Sequence[Prediction]) -> None:
    lower, upper = zip(*(point.interval for point in band), strict=True)
    axes.fill_between(
        [point.flops for point in band],
        lower,
        upper,
        color=BAND_COLOR,
        linewidth=0,
        zorder=0,
        gid="band",
    )


def _draw_tested_members(
    axes: Axes, members: Sequence[TestedMember], *, compact: bool
) -> LabelsAndLines:
    lines = draw_results(
        axes,
        [row.flops for row in members],
        [row.result for row in members],
        color=PRIMARY_COLOR,
        gid="trained",
    )
    labels = [
        Label(
            row.flops,
            row.result.score,
            _make_label_text(row, row.result.score, compact=compact),
            PRIMARY_COLOR,
        )
        for row in members
    ]
    return labels, lines


def _draw_predicted_members(
    axes: Axes, members: Sequence[PredictedMember], *, compact: bool
) -> LabelsAndLines:
    for row in members:
        axes.plot(
            [row.flops] * 2,
            row.interval,
            color=PRIMARY_COLOR,
            linewidth=1,
            linestyle=_DASH_PATTERN,
            zorder=2,
        )
    labels = [
        Label(row.flops, row.score, _make_label_text(row, row.score, compact=compact), MUTED_COLOR)
        for row in members
    ]
    if members:
        middle = members[len(members) // 2]
        labels.append(Label(middle.flops, middle.interval[1], "predicted", MUTED_COLOR, size=8))
    axes.scatter(
        [row.flops for row in members],
        [row.score for row in members],
        s=34,
        facecolor=BACKGROUND_COLOR,
        edgecolor=PRIMARY_COLOR,
        linewidth=1.1,
        zorder=4,
        gid="predicted",
    )
    return labels, [[(row.flops, end) for end in row.interval] for row in members]


def _draw_controls(
    axes: Axes, controls: Sequence[TestedControl], *, compact: bool
) -> LabelsAndLines:
    """A marker for each kind, and names where there is room: the figure of controls names all."""
    for index, control in enumerate(controls):
        axes.scatter(
            [control.flops],
            [control.result.score],
            s=30,
            marker=MARKERS[control.record.kind][0],
            facecolor=MUTED_COLOR,
            edgecolor=BACKGROUND_COLOR,
            linewidth=0.6,
            zorder=6,
            gid=f"control-{index}",
        )
    limit = 16 if compact else 28
    return [
        Label(
            control.flops,
            control.result.score,
            make_short_control_label(control.record, limit),
            TEXT_COLOR,
            size=8,
            optional=True,
        )
        for control in controls
    ], []


def _make_label_text(member: ReportMember, score: float, *, compact: bool) -> str:
    return member.label if compact else f"{member.label} {format_percent(score)}"


def _draw_members_without_score(axes: Axes, members: Sequence[ReportMember]) -> None:
    """Hollow marks on the axis."""
    low, high = axes.get_ylim()
    axes.set_ylim(low - 0.13 * (high - low), high)
    bottom = axes.get_ylim()[0]
    flops = [row.flops for row in members]
    axes.scatter(
        flops,
        [bottom] * len(flops),
        s=34,
        facecolor=BACKGROUND_COLOR,
        edgecolor=MUTED_COLOR,
        linewidth=1,
        zorder=5,
        clip_on=False,
        gid="untrained",
    )
    middle_flops = (min(flops) * max(flops)) ** 0.5
    texts = [(row.label, float(row.flops), 9.0) for row in members]
    for text, x, offset in [*texts, ("not trained", middle_flops, 20.0)]:
        axes.annotate(
            text,
            (x, bottom),
            xytext=(0, offset),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=8,
            color=MUTED_COLOR,
        )


def _make_tooltip(row: TestedMember) -> str:
    low, high = row.result.interval
    return (
        f"{row.label}, {row.member.network_id}: {format_percent(row.result.score)} (95% CI "
        f"{format_percent(low)} to {format_percent(high)}) at {format_count(row.flops)} FLOPs, "
        f"{row.member.ratio:.2f}{TIMES_SIGN} B0"
    )


def _make_prediction_tooltip(row: PredictedMember) -> str:
    low, high = row.interval
    return (
        f"{row.label}, not trained: {format_percent(row.score)} is predicted (95% CI "
        f"{format_percent(low)} to {format_percent(high)}) at {format_count(row.flops)} FLOPs, "
        f"{row.extrapolation:.2f} times the largest trained network's"
    )


def _make_control_tooltip(control: TestedControl) -> str:
    return (
        f"{make_control_label(control.record)}, {control.network.network_id}: "
        f"{format_percent(control.result.score)} at {format_count(control.flops)} FLOPs"
    )
