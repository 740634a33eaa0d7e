"""The family's accuracy on the test split against FLOPs: trained members, the curve through them
and what it predicts of the others, and the controls beside the member that they are held against.
What is predicted is hollow and dashed, what nothing is known of is marked on the axis."""

from typing import Any

from matplotlib.axes import Axes

from phinas.reports.controls import MARKERS, get_control_kind, make_control_label
from phinas.reports.figure_export import ReportFigure, make_figure
from phinas.reports.figures.axes import (
    add_axes_with_margins,
    set_axis_labels,
    set_cost_scale,
    set_percent_scale,
)
from phinas.reports.figures.family_caption import make_family_caption
from phinas.reports.figures.labels import Label, Point, place_labels
from phinas.reports.formatting import TIMES_SIGN, format_count, format_percent
from phinas.reports.palette import (
    BACKGROUND_COLOR,
    BAND_COLOR,
    MUTED_COLOR,
    PRIMARY_COLOR,
    SEED_MARKER_STYLE,
    TEXT_COLOR,
)
from phinas.reports.run_data import RunData

LabelsAndLines = tuple[list[Label], list[list[Point]]]
_DASH_PATTERN = (0, (3, 2))


def draw(run_data: RunData, *, compact: bool) -> ReportFigure | None:
    trained_members = run_data.validated_members
    if not trained_members:
        return None
    figure = make_figure(3.6 if compact else 4.6, compact=compact)
    axes = add_axes_with_margins(figure, left=32, right=14, top=26, bottom=42)
    controls = run_data.trained_controls
    set_cost_scale(axes, [row["flops"] for row in (*run_data.members, *controls)], compact=compact)
    low, high = axes.get_xlim()
    # room for labels beside the outer bars
    axes.set_xlim(low * (low / high) ** 0.09, high * (high / low) ** 0.03)
    set_percent_scale(axes, _list_accuracies(run_data))
    set_axis_labels(
        axes, x_label="FLOPs of the network (log scale)", y_label="accuracy on the test split"
    )
    if run_data.members_without_accuracy:
        _draw_members_without_accuracy(axes, run_data.members_without_accuracy)
    labels: list[Label] = []
    lines: list[list[Point]] = []
    lines.append(_draw_curve(axes, run_data))
    for draw_marks in (_draw_trained_members, _draw_predicted_members, _draw_controls):
        more_labels, more_lines = draw_marks(axes, run_data, compact=compact)
        labels += more_labels
        lines += more_lines
    markers = [(row["flops"], row["accuracy"]) for row in (*trained_members, *controls)]
    markers += [(row["flops"], row["prediction"]["accuracy"]) for row in run_data.predicted_members]
    place_labels(axes, labels, points=markers, lines=lines, markers=markers)
    tooltips = {
        "trained": [_make_tooltip(row) for row in trained_members],
        "predicted": [_make_prediction_tooltip(row) for row in run_data.predicted_members],
    }
    tooltips |= {
        f"control-{index}": [_make_control_tooltip(row)] for index, row in enumerate(controls)
    }
    return ReportFigure(figure, make_family_caption(run_data), tooltips)


def _list_accuracies(run_data: RunData) -> list[float]:
    """Every accuracy that has to be inside the axes."""
    values = [
        value
        for row in run_data.validated_members
        for value in (*row["interval"], *row["accuracies"])
    ]
    values += [
        value for row in run_data.predicted_members for value in row["prediction"]["interval"]
    ]
    return values + [
        value
        for row in run_data.trained_controls
        for value in (row["accuracy"], *row["accuracies"])
    ]


def _draw_curve(axes: Axes, run_data: RunData) -> list[Point]:
    """The law with its band, dashed beyond the largest trained; without a law a line from one
    member to the next.
    """
    trained_members = run_data.validated_members
    if not run_data.curve:
        line = [(row["flops"], row["accuracy"]) for row in trained_members]
        axes.plot(*zip(*line, strict=True), color=PRIMARY_COLOR, linewidth=1.2, zorder=2)
        return line
    band = run_data.curve["band"]
    lower, upper = zip(*(point["interval"] for point in band), strict=True)
    axes.fill_between(
        [point["flops"] for point in band],
        lower,
        upper,
        color=BAND_COLOR,
        linewidth=0,
        zorder=0,
        gid="band",
    )
    line = [(point["flops"], point["accuracy"]) for point in band]
    max_flops = trained_members[-1]["flops"]
    measured_range, extrapolated_range = (
        [point for point in line if point[0] <= max_flops],
        [point for point in line if point[0] >= max_flops],
    )
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


def _draw_trained_members(axes: Axes, run_data: RunData, *, compact: bool) -> LabelsAndLines:
    trained_members = run_data.validated_members
    for row in trained_members:
        axes.plot([row["flops"]] * 2, row["interval"], color=PRIMARY_COLOR, linewidth=1.2, zorder=2)
        axes.scatter(
            [row["flops"]] * len(row["accuracies"]), row["accuracies"], **SEED_MARKER_STYLE
        )
    x, y = [row["flops"] for row in trained_members], [row["accuracy"] for row in trained_members]
    axes.scatter(x, y, s=34, color=PRIMARY_COLOR, linewidth=0, zorder=4, gid="trained")
    labels = [
        Label(
            row["flops"],
            row["accuracy"],
            _make_label_text(row, row, compact=compact),
            PRIMARY_COLOR,
        )
        for row in trained_members
    ]
    return labels, [[(row["flops"], end) for end in row["interval"]] for row in trained_members]


def _draw_predicted_members(axes: Axes, run_data: RunData, *, compact: bool) -> LabelsAndLines:
    rows = run_data.predicted_members
    labels, bars = [], []
    for row in rows:
        prediction, x = row["prediction"], row["flops"]
        axes.plot(
            [x, x],
            prediction["interval"],
            color=PRIMARY_COLOR,
            linewidth=1,
            linestyle=_DASH_PATTERN,
            zorder=2,
        )
        bars.append([(x, end) for end in prediction["interval"]])
        labels.append(
            Label(
                x,
                prediction["accuracy"],
                _make_label_text(row, prediction, compact=compact),
                MUTED_COLOR,
            )
        )
    if rows:
        middle_row = rows[len(rows) // 2]
        labels.append(
            Label(
                middle_row["flops"],
                middle_row["prediction"]["interval"][1],
                "predicted",
                MUTED_COLOR,
                size=8,
            )
        )
    x, y = [row["flops"] for row in rows], [row["prediction"]["accuracy"] for row in rows]
    axes.scatter(
        x,
        y,
        s=34,
        facecolor=BACKGROUND_COLOR,
        edgecolor=PRIMARY_COLOR,
        linewidth=1.1,
        zorder=4,
        gid="predicted",
    )
    return labels, bars


def _draw_controls(axes: Axes, run_data: RunData, *, compact: bool) -> LabelsAndLines:
    """A marker a kind, and names where they can't be misread: all stand in the figure of controls,
    by the same markers.
    """
    rows = run_data.trained_controls
    for index, row in enumerate(rows):
        marker, _ = MARKERS[get_control_kind(row)]
        axes.scatter(
            [row["flops"]],
            [row["accuracy"]],
            s=30,
            marker=marker,
            facecolor=MUTED_COLOR,
            edgecolor=BACKGROUND_COLOR,
            linewidth=0.6,
            zorder=6,
            gid=f"control-{index}",
        )
    names = [make_control_label(row, 16 if compact else 28, short=True) for row in rows]
    return [
        Label(r["flops"], r["accuracy"], w, TEXT_COLOR, size=8, optional=True)
        for r, w in zip(rows, names, strict=True)
    ], []


def _make_label_text(row: dict[str, Any], accuracy_result: dict[str, Any], *, compact: bool) -> str:
    return (
        row["name"].upper()
        if compact
        else f"{row['name'].upper()} {format_percent(accuracy_result['accuracy'])}"
    )


def _draw_members_without_accuracy(axes: Axes, members: list[dict[str, Any]]) -> None:
    """Hollow marks on the axis, where no accuracy is to be read."""
    low, high = axes.get_ylim()
    axes.set_ylim(low - 0.13 * (high - low), high)
    bottom = axes.get_ylim()[0]
    flops = [row["flops"] for row in members]
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
    for row in members:
        axes.annotate(
            row["name"].upper(),
            (row["flops"], bottom),
            xytext=(0, 9),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=8,
            color=MUTED_COLOR,
        )
    middle_flops = (min(flops) * max(flops)) ** 0.5
    axes.annotate(
        "not validated",
        (middle_flops, bottom),
        xytext=(0, 20),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=8,
        color=MUTED_COLOR,
    )


def _make_tooltip(row: dict[str, Any]) -> str:
    low, high = row["interval"]
    return (
        f"{row['name'].upper()}, {row['spec_id']}: {format_percent(row['accuracy'])} (95%: "
        f"{format_percent(low)} to {format_percent(high)}) at {format_count(row['flops'])} FLOPs, "
        f"{row['ratio']:.2f}{TIMES_SIGN} B0"
    )


def _make_prediction_tooltip(row: dict[str, Any]) -> str:
    prediction = row["prediction"]
    low, high = prediction["interval"]
    return (
        f"{row['name'].upper()}, not trained: {format_percent(prediction['accuracy'])} is "
        f"predicted (95%: {format_percent(low)} to {format_percent(high)}) at "
        f"{format_count(row['flops'])} FLOPs, {prediction['extrapolation']:.2f} times the largest "
        "trained network's"
    )


def _make_control_tooltip(row: dict[str, Any]) -> str:
    return (
        f"{row['label']}, {row['spec_id']}: {format_percent(row['accuracy'])} at "
        f"{format_count(row['flops'])} FLOPs"
    )
