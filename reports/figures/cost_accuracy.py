"""The test score of the trained members of a family over FLOPs or parameters, for one run or
several.

Figures 1 (parameters) and 5 (FLOPs) of Tan and Le, "EfficientNet" (2019), arXiv:1905.11946.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from phinas.reports.controls import MARKERS, make_short_control_label
from phinas.reports.family_rows import TestedControl
from phinas.reports.figure_export import make_figure
from phinas.reports.figures.axes import (
    add_axes_with_margins,
    set_axis_labels,
    set_cost_scale,
    set_percent_scale,
)
from phinas.reports.figures.labels import Label, LabelsAndLines, Point, place_labels
from phinas.reports.figures.results import draw_results, list_scores
from phinas.reports.formatting import COST_LABELS, format_percent, truncate
from phinas.reports.palette import (
    BACKGROUND_COLOR,
    MUTED_COLOR,
    TEXT_COLOR,
    SeriesStyle,
    get_series_style,
)
from phinas.reports.run_data import RunData

ComputedCost = Literal["flops", "params"]


def draw(runs: Mapping[str, RunData], *, cost_metric: ComputedCost, compact: bool) -> Figure | None:
    """Draw the families, and the controls of a run that is alone; None without a trained member.

    Args:
        runs: The runs by name. All have the same metric.
        cost_metric: The cost on the horizontal axis.
        compact: Whether the figure is as wide as one column of two.
    """
    trained = {name: data for name, data in runs.items() if data.tested_members}
    if not trained:
        return None
    is_alone = len(runs) == 1
    first = next(iter(trained.values()))
    controls = first.tested_controls if is_alone else []
    members = [row for data in trained.values() for row in data.tested_members]
    member_points = [(float(getattr(row.member, cost_metric)), row.result.score) for row in members]
    control_points = [_locate_control(row, cost_metric) for row in controls]
    points = member_points + control_points
    figure = make_figure(3.6 if compact else 4.6, compact=compact)
    axes = add_axes_with_margins(figure, left=32, right=14, top=26, bottom=42)
    set_cost_scale(axes, [cost for cost, _ in points], compact=compact, margin=0.1)
    set_percent_scale(
        axes, list_scores([row.result for row in members]) + [y for _, y in control_points]
    )
    set_axis_labels(
        axes,
        x_label=f"{COST_LABELS[cost_metric]} of the network (log scale)",
        y_label=f"{first.test_score_label} on the test split",
    )
    labels: list[Label] = []
    lines: list[list[Point]] = []
    for index, (name, data) in enumerate(trained.items()):
        style = get_series_style(index)
        more_labels, more_lines = _draw_family(
            axes, data, style, cost_metric, title="" if is_alone else name, compact=compact
        )
        labels += more_labels
        lines += more_lines
    labels += _draw_controls(axes, controls, control_points, compact=compact)
    # the names of runs before those of members
    labels.sort(key=lambda label: label.optional)
    place_labels(axes, labels, points=points, lines=lines, markers=points)
    return figure


def _locate_control(control: TestedControl, cost_metric: ComputedCost) -> Point:
    return float(getattr(control.network, cost_metric)), control.result.score


def _draw_family(
    axes: Axes,
    run_data: RunData,
    style: SeriesStyle,
    cost_metric: ComputedCost,
    *,
    title: str,
    compact: bool,
) -> LabelsAndLines:
    """The trained members of one run, joined by a line.

    Args:
        title: The name of the run at its largest member; "" for a run that is alone, whose members
            have their scores instead.
    """
    members = run_data.tested_members
    costs = [float(getattr(row.member, cost_metric)) for row in members]
    line = [(cost, row.result.score) for cost, row in zip(costs, members, strict=True)]
    axes.plot(*zip(*line, strict=True), color=style.color, linewidth=1.2, zorder=2)
    lines = draw_results(
        axes,
        costs,
        [row.result for row in members],
        color=style.color,
        marker=style.marker,
        show_seeds=not title,
    )
    labels = [
        Label(
            x,
            y,
            row.label if title or compact else f"{row.label} {format_percent(y)}",
            style.text_color,
            size=8 if title else 8.5,
            optional=bool(title),
        )
        for (x, y), row in zip(line, members, strict=True)
    ]
    if title:
        name = truncate(title, 18 if compact else 40)
        labels.append(Label(*line[-1], name, style.text_color, bold=True))
    return labels, [line, *lines]


def _draw_controls(
    axes: Axes, controls: Sequence[TestedControl], points: Sequence[Point], *, compact: bool
) -> list[Label]:
    """A marker for each kind, and a name for each control."""
    for control, point in zip(controls, points, strict=True):
        axes.scatter(
            *point,
            s=30,
            marker=MARKERS[control.record.kind][0],
            facecolor=MUTED_COLOR,
            edgecolor=BACKGROUND_COLOR,
            linewidth=0.6,
            zorder=6,
        )
    limit = 16 if compact else 28
    return [
        Label(
            *point,
            make_short_control_label(control.record, limit),
            TEXT_COLOR,
            size=8,
        )
        for control, point in zip(controls, points, strict=True)
    ]
