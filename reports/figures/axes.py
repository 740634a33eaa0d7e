"""Axes in the style of the report: labels above the axes, few ticks, costs on a log scale."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from phinas.reports.formatting import format_tick
from phinas.reports.palette import GRID_COLOR, MUTED_COLOR

# Steps of a decade, ever denser; the first with enough ticks is used.
_TICK_STEPS = (
    (1.0,),
    (1.0, 3.0),
    (1.0, 2.0, 5.0),
    (1.0, 1.5, 2.0, 3.0, 5.0, 7.0),
    (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9),
)


def add_axes_with_margins(
    figure: Figure, *, left: float, right: float, top: float, bottom: float
) -> Axes:
    """Axes inside margins that are given in points."""
    width, height = 72 * figure.get_figwidth(), 72 * figure.get_figheight()
    return figure.add_axes(
        (left / width, bottom / height, 1 - (left + right) / width, 1 - (top + bottom) / height)
    )


def set_axis_labels(axes: Axes, *, x_label: str, y_label: str = "") -> None:
    """Write `y_label` at the top left, if there is one, and `x_label` at the bottom right."""
    if y_label:
        axes.annotate(
            y_label,
            (0, 1),
            xytext=(-28, 8),
            xycoords="axes fraction",
            textcoords="offset points",
            color=MUTED_COLOR,
            fontsize=8.5,
        )
    axes.annotate(
        x_label,
        (1, 0),
        xytext=(0, -24),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="right",
        va="top",
        color=MUTED_COLOR,
        fontsize=8.5,
    )


def set_percent_scale(
    axes: Axes, values: Sequence[float], *, on_x_axis: bool = False, headroom: float = 0.08
) -> None:
    """A percent axis around `values` (fractions), not far above 100%, with light grid lines.

    Args:
        headroom: Fraction of the range that stays free above, for labels.
    """
    low, high = min(values), max(values)
    pad = max(0.08 * (high - low), 0.004)
    limits = (
        max(-0.02, low - pad),
        high + (0.3 * pad if high > 0.999 else max(pad, headroom * (high - low))),
    )
    axis = axes.xaxis if on_x_axis else axes.yaxis
    (axes.set_xlim if on_x_axis else axes.set_ylim)(*limits)
    axis.set_major_locator(MaxNLocator(5 if on_x_axis else 6, steps=[1, 2, 5, 10]))
    digits = 0 if limits[1] - limits[0] > 0.04 else 1
    axis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{100 * value:.{digits}f}%" if value <= 1 else "")
    )
    axes.grid(axis="x" if on_x_axis else "y", color=GRID_COLOR, linewidth=0.5)
    axis.set_tick_params(length=0)


def set_difference_scale(
    axes: Axes, values: Sequence[float], *, num_rows: int, label: str, signed: bool
) -> None:
    """A horizontal axis of differences of scores (fractions) in points, and one row for each
    network, the first at the top.

    Args:
        values: Everything that has to be inside the axes.
        num_rows: Number of networks.
        label: The name of the horizontal axis.
        signed: Whether positive differences are written with a plus sign.
    """
    low, high = min(values), max(values)
    pad = max(0.06 * (high - low), 0.0005)
    axes.set_xlim(low - pad, high + pad)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: _format_difference(value, signed=signed))
    )
    axes.grid(axis="x", color=GRID_COLOR, linewidth=0.5)
    axes.xaxis.set_tick_params(length=0)
    axes.set_ylim(num_rows - 0.5, -0.5)
    axes.yaxis.set_major_locator(NullLocator())
    axes.spines["left"].set_visible(False)
    axes.axvline(0, color=MUTED_COLOR, linewidth=0.8, zorder=1)
    set_axis_labels(axes, x_label=label)


def _format_difference(value: float, *, signed: bool) -> str:
    if abs(value) < 1e-9:
        return "0"
    text = f"{100 * value:+.3g}" if signed else f"{100 * value:.3g}"
    return text.replace("-", "\N{MINUS SIGN}")


def set_cost_scale(
    axes: Axes, costs: Sequence[float], *, compact: bool, margin: float = 0.06
) -> None:
    """A log axis with ticks at round numbers.

    Args:
        margin: Fraction of the axis that stays free on each side.
    """
    low, high = math.log10(min(costs)), math.log10(max(costs))
    pad = max(margin * (high - low), 0.03)
    limits = 10 ** (low - pad), 10 ** (high + pad)
    axes.set_xscale("log")
    axes.set_xlim(*limits)
    axes.xaxis.set_major_locator(FixedLocator(round_ticks(*limits, min_count=3 if compact else 4)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_tick(value)))


def round_ticks(low: float, high: float, *, min_count: int) -> list[float]:
    """Round numbers between `low` and `high` for a log axis: at least `min_count`, as few as
    possible.
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in _TICK_STEPS:
        ticks = [
            step * 10**decade
            for decade in decades
            for step in steps
            if low <= step * 10**decade <= high
        ]
        if len(ticks) >= min_count:
            return ticks
    return [
        float(value)
        for value in MaxNLocator(min_count, steps=[1, 2, 5, 10]).tick_values(low, high)
        if low <= value <= high
    ]
