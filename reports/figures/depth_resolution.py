"""The compared networks of about equal FLOPs by their depth and resolution coefficients. The width
coefficient follows from both.

Figure 4 of Tan and Le, "EfficientNet" (2019), arXiv:1905.11946, shows that no dimension can be
chosen without the others. They scale the width at four pairs of depth and resolution, which have
different FLOPs. Here all networks have the same FLOPs.
"""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from phinas.experiment.artifacts.coefficients_file import RacedMember, RaceRecord
from phinas.reports.figure_export import make_figure
from phinas.reports.figures.axes import add_axes_with_margins, set_axis_labels
from phinas.reports.figures.labels import Label, Point, place_labels
from phinas.reports.formatting import ALPHA, BETA, GAMMA
from phinas.reports.palette import (
    ACCENT_COLOR,
    BACKGROUND_COLOR,
    BAND_COLOR,
    GRID_COLOR,
    LIGHT_COLORS,
    MUTED_COLOR,
    TEXT_COLOR,
)
from phinas.reports.run_data import RunData

# the best network is the darkest; one hue, so that lightness alone tells the order
_COLORS = LinearSegmentedColormap.from_list(
    "behind_best",
    [LIGHT_COLORS["kernel7"], LIGHT_COLORS["kernel5"], LIGHT_COLORS["kernel3"], BAND_COLOR],
)
_WIDTH_STEPS = (0.05, 0.1, 0.2, 0.5)
_MAX_WIDTH_LINES = 6


def draw(run_data: RunData, *, compact: bool) -> Figure | None:
    """Draw how far each network is behind the best; None before the race has a result."""
    race = run_data.race
    members = [row for row in race.members if row.score_gap is not None] if race else []
    if race is None or not members:
        return None
    points = [_locate(row) for row in members]
    figure = make_figure(3.8 if compact else 4.6, compact=compact)
    axes = add_axes_with_margins(figure, left=34, right=84, top=26, bottom=56)
    _set_scales(axes, points)
    set_axis_labels(
        axes, x_label=f"depth coefficient {ALPHA}", y_label=f"resolution coefficient {GAMMA}"
    )
    axes.annotate(
        "dark edge: tied with the best (95%)",
        (1, 0),
        xytext=(0, -38),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="right",
        va="top",
        color=MUTED_COLOR,
        fontsize=8,
    )
    _draw_width_lines(axes, race)
    max_gap = max(map(_gap, members))
    norm = Normalize(0, max_gap or 1.0)
    for point, row in zip(points, members, strict=True):
        axes.scatter(
            *point,
            s=70 if compact else 110,
            facecolor=_COLORS(norm(_gap(row))),
            edgecolor=TEXT_COLOR if row.tied else MUTED_COLOR,
            linewidth=1.5 if row.tied else 0.5,
            zorder=4,
        )
    _draw_color_scale(figure, axes, norm, label=run_data.race_score_label)
    # all are 0.1 points behind otherwise, where they are nearly equal
    digits = 1 if max_gap >= 0.01 else 2
    labels = [
        Label(
            *point,
            "best" if row.winner else _format_gap(row, digits=digits),
            ACCENT_COLOR if row.winner else TEXT_COLOR,
            bold=row.winner,
            size=8,
            optional=not row.winner,
        )
        for point, row in sorted(zip(points, members, strict=True), key=lambda item: _gap(item[1]))
    ]
    place_labels(axes, labels, points=points, markers=points)
    return figure


def _gap(row: RacedMember) -> float:
    assert row.score_gap is not None
    return row.score_gap


def _format_gap(row: RacedMember, *, digits: int) -> str:
    """Points of score relative to the best network."""
    return f"\N{MINUS SIGN}{100 * _gap(row):.{digits}f}"


def _locate(row: RacedMember) -> Point:
    """The centers of the intervals of alpha and gamma that give the network."""
    return math.sqrt(row.alpha[0] * row.alpha[1]), math.sqrt(row.gamma[0] * row.gamma[1])


def _set_scales(axes: Axes, points: Sequence[Point]) -> None:
    """Coefficients from 1 on, with room for labels at all sides."""
    alphas, gammas = zip(*points, strict=True)
    for values, set_limits in ((alphas, axes.set_xlim), (gammas, axes.set_ylim)):
        span = max(max(values) - 1, 0.1)
        set_limits(1 - 0.18 * span, max(values) + 0.12 * span)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    formatter = FuncFormatter(lambda value, _: f"{value:.2f}" if value >= 1 - 1e-9 else "")
    axes.xaxis.set_major_formatter(formatter)
    axes.yaxis.set_major_formatter(formatter)


def _draw_width_lines(axes: Axes, race: RaceRecord) -> None:
    """Lines of equal width at alpha * beta^2 * gamma^2 of the compared networks, with their width
    coefficients at the left end.
    """
    low, high = axes.get_ylim()
    alphas = np.linspace(*axes.get_xlim(), 200)
    max_beta = math.sqrt(race.flops_multiple)
    step = next(
        (step for step in _WIDTH_STEPS if (max_beta - 1) / step <= _MAX_WIDTH_LINES),
        _WIDTH_STEPS[-1],
    )
    for beta in np.arange(1, max_beta + 1e-9, step):
        gammas = np.sqrt(race.flops_multiple / alphas) / beta
        is_inside = (low <= gammas) & (gammas <= high)
        if is_inside.sum() < 2:
            continue
        x, y = alphas[is_inside], gammas[is_inside]
        axes.plot(x, y, color=GRID_COLOR, linewidth=0.8, zorder=1, scalex=False, scaley=False)
        axes.annotate(
            f"{BETA} {beta:.4g}",
            (x[0], y[0]),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            color=MUTED_COLOR,
            bbox={"facecolor": BACKGROUND_COLOR, "linewidth": 0, "pad": 0.5},
            zorder=1,
        )


def _draw_color_scale(figure: Figure, axes: Axes, norm: Normalize, *, label: str) -> None:
    """A bar of colors right of the axes, the best at the top."""
    box, point = axes.get_position(), 1 / (72 * figure.get_figwidth())
    bar_axes = figure.add_axes((box.x1 + 18 * point, box.y0, 8 * point, box.height))
    bar = figure.colorbar(ScalarMappable(norm, _COLORS), cax=bar_axes)
    bar.ax.invert_yaxis()
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    bar.ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    bar.ax.yaxis.set_major_formatter(
        FuncFormatter(lambda gap, _: f"\N{MINUS SIGN}{100 * gap:.3g}" if gap > 0 else "0")
    )
    bar.ax.annotate(
        f"points of {label}, relative to the best",
        (1, 0.5),
        xytext=(40, 0),
        xycoords="axes fraction",
        textcoords="offset points",
        rotation=90,
        ha="center",
        va="center",
        color=MUTED_COLOR,
        fontsize=8.5,
    )
