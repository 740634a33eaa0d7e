"""What a bench of searchers shows: a table in Markdown, and regret over evaluations as a figure."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from phinas.nas.benchmark.regret import REGRET_TOLERANCE, compute_regrets, quartiles
from phinas.reports.figure_export import ReportFigure, make_figure
from phinas.reports.figures.axes import add_axes_with_margins, round_ticks, set_axis_labels
from phinas.reports.palette import (
    ACCENT_COLOR,
    GRID_COLOR,
    MUTED_COLOR,
    NEUTRAL_COLOR,
    PRIMARY_COLOR,
    TEXT_COLOR,
)

_MIN_REGRET = 1e-4  # regret below this is drawn as this: on a log axis there is no zero
_LINE_COLORS = (
    ACCENT_COLOR,
    PRIMARY_COLOR,
    TEXT_COLOR,
    "#009e73",
    "#cc79a7",
    "#e69f00",
    MUTED_COLOR,
    NEUTRAL_COLOR,
)
_DASH_PATTERNS = ((), (5, 2), (1.5, 1.5), (6, 2, 1.5, 2))


def make_regret_table(summary: Mapping[str, Any]) -> str:
    """The table in Markdown."""
    titles, rows = make_regret_cells(summary)
    lines = ["| " + " | ".join(titles) + " |", "|---|" + "--:|" * (len(titles) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(cells) + " |" for cells in rows)])


def make_regret_cells(summary: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Column titles, and the cells of each strategy, by median regret at the last checkpoint."""
    rows = summary["strategies"]
    checkpoints = sorted({int(checkpoint) for row in rows.values() for checkpoint in row["regret"]})
    titles = [
        "strategy",
        f"to beat {summary['reference']}",
        f"to within {REGRET_TOLERANCE:g} of the best",
        "worst of these",
    ]
    titles += [f"regret x100 at {checkpoint}" for checkpoint in checkpoints] + ["ms a proposal"]
    last = str(checkpoints[-1])
    table = []
    for name, row in sorted(rows.items(), key=lambda item: item[1]["regret"][last][1]):
        cells = [
            name,
            _format_quartiles(row["to_beat_reference"]),
            _format_quartiles(row["to_reach_tolerance"]),
            _format_evaluations(row["to_reach_tolerance"]["worst"]),
        ]
        cells += [_format_regret(row["regret"][str(checkpoint)]) for checkpoint in checkpoints]
        cells.append(f"{row['proposal_ms']['mean']:.0f}")
        table.append(cells)
    return titles, table


def _format_quartiles(quartile_values: Mapping[str, float | None]) -> str:
    return (
        f"{_format_evaluations(quartile_values['median'])} "
        f"[{_format_evaluations(quartile_values['lower'])}, "
        f"{_format_evaluations(quartile_values['upper'])}]"
    )


def _format_evaluations(value: float | None) -> str:
    return "never" if value is None else f"{value:.0f}"


def _format_regret(quartile_values: list[float]) -> str:
    lower, median, upper = (100 * value for value in quartile_values)
    return f"{median:.2f} [{lower:.2f}, {upper:.2f}]"


def draw_regret(
    summary: Mapping[str, Any], runs: Mapping[str, list[dict[str, Any]]]
) -> ReportFigure:
    """Median regret of each searcher over evaluations, its quartiles shaded."""
    optimum = summary["optimum"]
    curves = {
        name: np.maximum(
            quartiles([compute_regrets(run, optimum) for run in seed_runs]), _MIN_REGRET
        )
        for name, seed_runs in runs.items()
    }
    ranking = sorted(curves, key=lambda name: curves[name][-1, 1])
    max_evaluations = max(len(curve) for curve in curves.values())
    figure = make_figure(4.8, compact=False)
    axes = add_axes_with_margins(figure, left=64, right=118, top=26, bottom=42)
    axes.set_xlim(1, max_evaluations)
    axes.set_yscale("log")
    low = min(float(curve[:, 1].min()) for curve in curves.values())
    high = max(float(curve[0, 1]) for curve in curves.values())
    axes.set_ylim(0.8 * low, 1.3 * high)
    axes.yaxis.set_major_locator(FixedLocator(round_ticks(low, high, min_count=4)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _format_tick(value)))
    axes.grid(axis="y", color=GRID_COLOR, linewidth=0.5)
    set_axis_labels(
        axes,
        x_label="evaluations",
        y_label="regret x 100: best reward there is, less that of the network which looks "
        "best so far",
    )
    for index, name in enumerate(ranking):
        color, dash_pattern = (
            _LINE_COLORS[index % len(_LINE_COLORS)],
            _DASH_PATTERNS[index // len(_LINE_COLORS)],
        )
        steps = np.arange(1, len(curves[name]) + 1)
        lower, median, upper = curves[name].T
        axes.fill_between(steps, lower, upper, color=color, alpha=0.10, linewidth=0)
        axes.plot(
            steps,
            median,
            color=color,
            linewidth=1.6 if index == 0 else 1.1,
            dashes=dash_pattern or (None, None),
        )
    _label_ends(
        axes,
        [
            (name, float(curves[name][-1, 1]), _LINE_COLORS[index % len(_LINE_COLORS)])
            for index, name in enumerate(ranking)
        ],
    )
    noise = (
        f", accuracies with noise of {100 * summary['noise_std']:.2g} points"
        if summary["noise_std"]
        else ", accuracies without noise"
    )
    caption = (
        f"Median over {summary['seeds']} seeds of the regret after each evaluation, quartiles "
        f"shaded{noise}. The best reward there is: {optimum:.4f}; {summary['reference']}: "
        f"{summary['reference_reward']:.4f}."
    )
    return ReportFigure(figure, caption)


def _format_tick(value: float) -> str:
    return f"{100 * value:g} or less" if value <= 1.001 * _MIN_REGRET else f"{100 * value:g}"


def _label_ends(axes: Any, ends: list[tuple[str, float, str]]) -> None:
    """Names at the right end of the lines, from the bottom up, pushed apart where they would
    touch.
    """
    height = 72 * axes.figure.get_figheight() * axes.get_position().height
    low, high = (np.log(limit) for limit in axes.get_ylim())
    min_offset = 0.0
    for name, value, color in ends:
        offset = height * (np.log(value) - low) / (high - low)
        label_offset = max(offset, min_offset)
        min_offset = label_offset + 11
        axes.annotate(
            name,
            (1, 0),
            xytext=(6, label_offset),
            xycoords="axes fraction",
            textcoords="offset points",
            va="center",
            color=color,
            fontsize=8.5,
            annotation_clip=False,
        )
