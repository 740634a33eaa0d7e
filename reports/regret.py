"""A comparison of search strategies as a table in Markdown and as a figure of regret."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from phinas.experiment.artifacts.bench import (
    BenchRun,
    BenchSummary,
    EvaluationCounts,
    RegretQuartiles,
    StrategySummary,
)
from phinas.nas.benchmark.regret import REGRET_TOLERANCE, compute_regrets, quartiles
from phinas.nas.surrogate.gaussian_process import FloatArray
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

_MIN_REGRET = 1e-4  # smaller regret is drawn as this, as a log axis has no zero
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


def make_regret_table(summary: BenchSummary) -> str:
    """The comparison as a table in Markdown, and what its numbers are."""
    titles, rows = make_regret_cells(summary)
    lines = ["| " + " | ".join(titles) + " |", "|---|" + "--:|" * (len(titles) - 1)]
    lines += ["| " + " | ".join(cells) + " |" for cells in rows]
    return "\n".join([*lines, "", describe_comparison(summary)])


def make_regret_cells(summary: BenchSummary) -> tuple[list[str], list[list[str]]]:
    """Column titles, and the cells of each strategy, the smallest final regret first."""
    rows = summary.strategies
    checkpoints = sorted({at.evaluations for row in rows.values() for at in row.regret})
    target = summary.target_network
    titles = [
        "strategy",
        *([] if target is None else [f"evaluations to beat {target}"]),
        f"evaluations to within {REGRET_TOLERANCE:g} of the optimum",
        "the same, slowest seed",
        *(f"regret x100 at {checkpoint}" for checkpoint in checkpoints),
        "ms per proposal",
    ]
    ranking = sorted(rows.items(), key=lambda item: item[1].final_regret.median)
    return titles, [_strategy_cells(name, row, checkpoints) for name, row in ranking]


def _strategy_cells(name: str, row: StrategySummary, checkpoints: Sequence[int]) -> list[str]:
    regrets = {at.evaluations: _format_regret(at) for at in row.regret}
    return [
        name,
        *([] if row.to_beat_target is None else [_format_counts(row.to_beat_target)]),
        _format_counts(row.to_reach_tolerance),
        _format_evaluations(row.to_reach_tolerance.worst),
        *(regrets.get(checkpoint, "") for checkpoint in checkpoints),
        f"{row.proposal_ms.mean:.0f}",
    ]


def _format_counts(counts: EvaluationCounts) -> str:
    return (
        f"{_format_evaluations(counts.median)} "
        f"[{_format_evaluations(counts.lower)}, {_format_evaluations(counts.upper)}]"
    )


def _format_evaluations(value: float | None) -> str:
    return "never" if value is None else f"{value:.0f}"


def _format_regret(at: RegretQuartiles) -> str:
    return f"{100 * at.median:.2f} [{100 * at.lower:.2f}, {100 * at.upper:.2f}]"


def draw_regret(summary: BenchSummary, runs: Mapping[str, Sequence[BenchRun]]) -> ReportFigure:
    """Draw the median regret of each strategy over the evaluations, with quartiles shaded."""
    curves = {
        name: np.maximum(
            quartiles([compute_regrets(run, summary.optimum) for run in seed_runs]), _MIN_REGRET
        )
        for name, seed_runs in runs.items()
    }
    figure = make_figure(4.8, compact=False)
    axes = _make_axes(figure, curves)
    ranking = sorted(curves, key=lambda name: curves[name][-1, 1])
    for index, name in enumerate(ranking):
        _draw_curve(axes, curves[name], index)
    _label_ends(
        axes,
        [
            (name, float(curves[name][-1, 1]), _LINE_COLORS[index % len(_LINE_COLORS)])
            for index, name in enumerate(ranking)
        ],
    )
    caption = (
        "Median over the seeds of the regret after each evaluation, with quartiles shaded. "
        + describe_comparison(summary)
    )
    return ReportFigure(figure, caption)


def _make_axes(figure: Figure, curves: Mapping[str, FloatArray]) -> Axes:
    """Axes that hold all curves: evaluations, and regret on a log scale."""
    axes = add_axes_with_margins(figure, left=64, right=118, top=26, bottom=42)
    axes.set_xlim(1, max(len(curve) for curve in curves.values()))
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
        y_label="regret x 100: optimum minus the reward of the network that looks best so far",
    )
    return axes


def _draw_curve(axes: Axes, curve: FloatArray, index: int) -> None:
    """The median of one strategy and its quartiles; the best strategy has a thicker line."""
    color = _LINE_COLORS[index % len(_LINE_COLORS)]
    dash_pattern = _DASH_PATTERNS[index // len(_LINE_COLORS)]
    steps = np.arange(1, len(curve) + 1)
    lower, median, upper = curve.T
    axes.fill_between(steps, lower, upper, color=color, alpha=0.10, linewidth=0)
    axes.plot(
        steps,
        median,
        color=color,
        linewidth=1.6 if index == 0 else 1.1,
        dashes=dash_pattern or (None, None),
    )


def describe_comparison(summary: BenchSummary) -> str:
    """What the rewards and the regret of a comparison are, in one sentence each."""
    noise = (
        f"with noise of {100 * summary.noise_std:.2g} points"
        if summary.noise_std
        else "without noise"
    )
    source = {
        "stated": "stated",
        "best_run": "best of all runs",
        "beam_search": "best of all runs and of a beam search",
    }[summary.optimum_source]
    target = (
        ""
        if summary.target_reward is None
        else f"; {summary.target_network}: {summary.target_reward:.4f}"
    )
    seeds = f"{summary.seeds} seed{'s' * (summary.seeds != 1)}"
    reward = "the score" if summary.reward == "accuracy" else f"the {summary.reward} reward"
    return (
        f"The reward is {reward}, {noise}; {seeds} of {summary.evaluations:,} evaluations. "
        f"Optimum ({source}): {summary.optimum:.4f}{target}."
    )


def _format_tick(value: float) -> str:
    return f"{100 * value:g} or less" if value <= 1.001 * _MIN_REGRET else f"{100 * value:g}"


def _label_ends(axes: Axes, ends: list[tuple[str, float, str]]) -> None:
    """Write names at the right ends of the lines, moved up where they would overlap."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    height = 72 * figure.get_figheight() * axes.get_position().height
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
