"""Compound scaling compared with scaling of one dimension alone, from B0 on.

Figures 3 (`draw_dimensions`) and 8 (`draw`) of Tan and Le, "EfficientNet" (2019), arXiv:1905.11946.
The networks of one dimension are the controls, of about the FLOPs of one member of the family.
"""

import textwrap
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from phinas.experiment.artifacts.validation_file import ControlKind
from phinas.reports.controls import MARKERS, SINGLE_DIMENSIONS
from phinas.reports.family_rows import TestedControl, TestedMember
from phinas.reports.figure_export import make_figure
from phinas.reports.figures.axes import (
    add_axes_with_margins,
    set_axis_labels,
    set_cost_scale,
    set_percent_scale,
)
from phinas.reports.figures.labels import Label, LabelsAndLines, Point, place_labels
from phinas.reports.figures.results import draw_results, list_scores
from phinas.reports.formatting import TIMES_SIGN
from phinas.reports.palette import (
    BACKGROUND_COLOR,
    MUTED_COLOR,
    PRIMARY_COLOR,
    TEXT_COLOR,
    SeriesStyle,
    get_series_style,
)
from phinas.reports.run_data import RunData
from phinas.reports.sentences.controls import describe_missing_verdict

_BASELINE = "b0"
_FACTORS = {"depth": "alpha", "width": "beta", "resolution": "gamma"}
# compound scaling is the first series, solid and blue
_STYLES: dict[ControlKind, tuple[SeriesStyle, tuple[int, tuple[float, ...]]]] = {
    "depth": (get_series_style(1), (0, (5, 2))),
    "width": (get_series_style(2), (0, (1, 1.5))),
    "resolution": (get_series_style(3), (0, (5, 1.5, 1, 1.5))),
}


def draw(run_data: RunData, *, compact: bool) -> Figure | None:
    """Draw the family and a line from B0 to the network of each dimension; None without a trained
    B0 and a trained network of one dimension.
    """
    baseline, controls = run_data.find_tested_member(_BASELINE), _find_controls(run_data)
    if baseline is None or not controls:
        return None
    members = run_data.tested_members
    figure = make_figure(4.1 if compact else 4.8, compact=compact)
    top = 68 if compact else 52
    axes = add_axes_with_margins(figure, left=32, right=14, top=top, bottom=42)
    networks: list[TestedMember | TestedControl] = [*members, *controls.values()]
    set_cost_scale(axes, [row.flops for row in networks], compact=compact, margin=0.08)
    set_percent_scale(axes, [end for row in networks for end in row.result.interval])
    set_axis_labels(
        axes,
        x_label="FLOPs of the network (log scale)",
        y_label=f"{run_data.test_score_label} on the test split",
    )
    labels, lines = _draw_compound(axes, members)
    for kind, control in controls.items():
        lines += _draw_dimension(axes, kind, baseline, control, show_seeds=False)
    _draw_legend(axes, controls, compact=compact)
    points = [(float(row.flops), row.result.score) for row in networks]
    place_labels(axes, labels, points=points, lines=lines, markers=points)
    return figure


def draw_dimensions(run_data: RunData, *, compact: bool) -> Figure | None:
    """Draw each dimension in axes of its own, with the factor that it is multiplied by; None
    without a trained B0 and a trained network of one dimension.
    """
    baseline, controls = run_data.find_tested_member(_BASELINE), _find_controls(run_data)
    if baseline is None or not controls:
        return None
    figure = make_figure(7.4 if compact else 3.1, compact=compact)
    width, height = 72 * figure.get_figwidth(), 72 * figure.get_figheight()
    figure.text(
        4 / width,
        1 - 16 / height,
        f"{run_data.test_score_label} on the test split",
        color=MUTED_COLOR,
        fontsize=8.5,
    )
    for position, kind in enumerate(SINGLE_DIMENSIONS):
        if compact:
            top = 42 + position * (height - 22) / 3
            margins = {"left": 32, "right": 14, "top": top, "bottom": height - top - 110}
        else:
            left = 32 + position * (width - 10) / 3
            margins = {"left": left, "right": width - left - 154, "top": 42, "bottom": 42}
        axes = add_axes_with_margins(figure, **margins)
        _draw_panel(axes, run_data, kind, baseline, controls)
    return figure


def _draw_panel(
    axes: Axes,
    run_data: RunData,
    kind: ControlKind,
    baseline: TestedMember,
    controls: Mapping[ControlKind, TestedControl],
) -> None:
    """One dimension, on the same scales as the others."""
    networks: list[TestedMember | TestedControl] = [baseline, *controls.values()]
    set_cost_scale(axes, [row.flops for row in networks], compact=True, margin=0.12)
    set_percent_scale(axes, list_scores([row.result for row in networks]), headroom=0.2)
    set_axis_labels(axes, x_label="FLOPs of the network (log scale)")
    style = _STYLES[kind][0]
    axes.annotate(
        f"{kind} only",
        (0.5, 1),
        xytext=(0, 8),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="center",
        color=style.text_color,
        fontweight="bold",
    )
    if kind not in controls:
        _write_missing(axes, run_data, kind)
        return
    lines = _draw_dimension(axes, kind, baseline, controls[kind], show_seeds=True)
    ends = lines[0]
    lines += draw_results(axes, [baseline.flops], [baseline.result], color=PRIMARY_COLOR)
    factor = _format_factor(kind, controls[kind])
    labels = [
        Label(*ends[0], f"{TIMES_SIGN}1", TEXT_COLOR),
        Label(*ends[-1], factor, style.text_color, bold=True),
    ]
    place_labels(axes, labels, points=ends, lines=lines, markers=ends)


def _find_controls(run_data: RunData) -> dict[ControlKind, TestedControl]:
    """The trained networks of one dimension, in the order depth, width, resolution."""
    by_kind = {control.record.kind: control for control in run_data.tested_controls}
    return {kind: by_kind[kind] for kind in SINGLE_DIMENSIONS if kind in by_kind}


def _draw_compound(axes: Axes, members: Sequence[TestedMember]) -> LabelsAndLines:
    line: list[Point] = [(float(row.flops), row.result.score) for row in members]
    axes.plot(*zip(*line, strict=True), color=PRIMARY_COLOR, linewidth=1.4, zorder=3)
    lines = draw_results(
        axes,
        [flops for flops, _ in line],
        [row.result for row in members],
        color=PRIMARY_COLOR,
        show_seeds=False,
    )
    labels = [
        Label(*point, row.label, PRIMARY_COLOR) for point, row in zip(line, members, strict=True)
    ]
    return labels, [line, *lines]


def _draw_dimension(
    axes: Axes,
    kind: ControlKind,
    baseline: TestedMember,
    control: TestedControl,
    *,
    show_seeds: bool,
) -> list[list[Point]]:
    """The line from B0 to the network of one dimension, which is the first that is returned, and
    the result of this network.
    """
    style, dashes = _STYLES[kind]
    line: list[Point] = [(float(row.flops), row.result.score) for row in (baseline, control)]
    axes.plot(
        *zip(*line, strict=True), color=style.color, linewidth=1.4, linestyle=dashes, zorder=2
    )
    intervals = draw_results(
        axes,
        [control.flops],
        [control.result],
        color=style.color,
        marker=MARKERS[kind][0],
        show_seeds=show_seeds,
    )
    return [line, *intervals]


def _draw_legend(
    axes: Axes, controls: Mapping[ControlKind, TestedControl], *, compact: bool
) -> None:
    """Line, marker and name of each way to scale, above the axes: the ends of the lines have about
    the same FLOPs, so there is no room for names.
    """
    entries = [Line2D([], [], color=PRIMARY_COLOR, marker="o", label="compound scaling")]
    for kind, control in controls.items():
        style, dashes = _STYLES[kind]
        entries.append(
            Line2D(
                [],
                [],
                color=style.color,
                linestyle=dashes,
                marker=MARKERS[kind][0],
                label=f"{kind} only, {_format_factor(kind, control)}",
            )
        )
    for entry in entries:
        entry.set(linewidth=1.4, markersize=5.5, markeredgewidth=0)
    axes.legend(
        handles=entries,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        bbox_transform=axes.transAxes
        + ScaledTranslation(-28 / 72, 24 / 72, axes.figure.dpi_scale_trans),
        ncols=2 if compact else 4,
        frameon=False,
        fontsize=8.5,
        borderaxespad=0,
        borderpad=0,
        handlelength=3,
        columnspacing=1.5,
    )


def _format_factor(kind: ControlKind, control: TestedControl) -> str:
    """What the dimension is multiplied by, before rounding."""
    factors, phi = control.record.coefficients, control.record.phi
    assert factors is not None
    assert phi is not None
    return f"{TIMES_SIGN}{getattr(factors, _FACTORS[kind]) ** phi:.3g}"


def _write_missing(axes: Axes, run_data: RunData, kind: ControlKind) -> None:
    """Why there is no network of this dimension."""
    record = next((row for row in run_data.controls if row.kind == kind), None)
    reason = describe_missing_verdict(record) if record else "it is not in validation.controls"
    axes.annotate(
        textwrap.fill(f"not trained: {reason}", 34),
        (0.5, 0.5),
        xycoords="axes fraction",
        ha="center",
        va="center",
        color=MUTED_COLOR,
        fontsize=8,
        bbox={"facecolor": BACKGROUND_COLOR, "linewidth": 0, "pad": 2},
    )
