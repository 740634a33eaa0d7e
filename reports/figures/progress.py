"""The search over time: the reward of every trial and the best so far, or the hypervolume of the
front for a search of a Pareto front.
"""

from itertools import accumulate, pairwise

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from phinas.experiment.schema.config import EXPONENT_ESTIMATION_TRIALS
from phinas.nas.trial import Trial
from phinas.reports.figure_export import ReportFigure, make_figure
from phinas.reports.figures.axes import add_axes_with_margins, set_axis_labels
from phinas.reports.figures.labels import Label, Point, place_labels
from phinas.reports.figures.pareto import (
    MAX_TOOLTIPS,
    choose_marker_size,
    compute_front_hypervolume,
)
from phinas.reports.formatting import format_cost, format_percent
from phinas.reports.palette import ACCENT_COLOR, GRID_COLOR, NEUTRAL_COLOR, PRIMARY_COLOR
from phinas.reports.run_data import RunData
from phinas.reports.sentences.rendering import render


def draw(run_data: RunData, *, compact: bool) -> ReportFigure | None:
    trials, best_trial = run_data.trials, run_data.best_trial
    if best_trial is None:
        return None
    if run_data.is_pareto_search:
        return _draw_hypervolume(run_data, compact=compact)
    figure = make_figure(2.5 if compact else 2.7, compact=compact)
    axes = add_axes_with_margins(figure, left=32, right=10, top=26, bottom=42)
    numbers, rewards = [trial.number for trial in trials], [trial.reward for trial in trials]
    failed_numbers = [row.number for study, row in run_data.failures if study == "search"]
    last_number = max([*numbers, *failed_numbers])
    axes.set_xlim(-0.5 - 0.01 * last_number, last_number + 0.5 + 0.02 * last_number)
    low, high = min(rewards), max(rewards)
    pad = max(0.1 * (high - low), 0.01)
    axes.set_ylim(low - pad, high + 2 * pad)
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    _style_axes(axes, y_label="reward", compact=compact)
    axes.scatter(
        numbers,
        rewards,
        s=choose_marker_size(len(trials)),
        color=NEUTRAL_COLOR,
        linewidth=0,
        zorder=2,
        gid="trials",
        rasterized=len(trials) > MAX_TOOLTIPS,
    )
    best_line = _draw_best_so_far(axes, numbers, rewards, last_number)
    axes.scatter(
        [best_trial.number], [best_trial.reward], s=24, color=PRIMARY_COLOR, linewidth=0, zorder=4
    )
    best_label = f"best: trial {best_trial.number}"
    labels = [Label(best_trial.number, best_trial.reward, best_label, PRIMARY_COLOR)]
    if failed_numbers:
        labels.append(_draw_failures(axes, failed_numbers, y=low - 0.6 * pad))
    points = [(float(x), y) for x, y in zip(numbers, rewards, strict=True)]
    place_labels(axes, labels, points=points, lines=[best_line])
    tooltips = {}
    if len(trials) <= MAX_TOOLTIPS:
        tooltips = {"trials": [_make_tooltip(trial, run_data) for trial in trials]}
    caption = _make_caption(run_data, best_trial, num_failed=len(failed_numbers))
    return ReportFigure(figure, caption, tooltips)


def _style_axes(axes: Axes, *, y_label: str, compact: bool) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(4 if compact else 8, integer=True))
    axes.grid(axis="y", color=GRID_COLOR, linewidth=0.5)
    axes.tick_params(axis="y", length=0)
    set_axis_labels(axes, x_label="trial number", y_label=y_label)


def _draw_best_so_far(
    axes: Axes, numbers: list[int], rewards: list[float], last_number: int
) -> list[Point]:
    """Draw the step line of the best reward so far; returns its corners."""
    best = list(accumulate(rewards, max))
    axes.step(
        [*numbers, last_number],
        [*best, best[-1]],
        where="post",
        color=PRIMARY_COLOR,
        linewidth=1.3,
        zorder=3,
    )
    steps = list(zip(numbers, best, strict=True))
    corners = [
        corner
        for (_, previous_reward), (x, reward) in pairwise(steps)
        for corner in ((float(x), previous_reward), (float(x), reward))
    ]
    return [(float(numbers[0]), best[0]), *corners, (float(last_number), best[-1])]


def _draw_failures(axes: Axes, numbers: list[int], *, y: float) -> Label:
    axes.scatter(
        numbers,
        [y] * len(numbers),
        s=16,
        marker="x",
        color=ACCENT_COLOR,
        linewidth=1,
        zorder=4,
        gid="failed",
    )
    return Label(numbers[0], y, "failed", ACCENT_COLOR, size=8)


def _format_trial_cost(trial: Trial, run_data: RunData) -> str:
    return format_cost(run_data.cost_metric, trial.get_cost(run_data.cost_metric))


def _make_tooltip(trial: Trial, run_data: RunData) -> str:
    return (
        f"trial {trial.number}: reward {trial.reward:.4f}, {format_percent(trial.score)} at "
        f"{_format_trial_cost(trial, run_data)}"
    )


def _make_caption(run_data: RunData, best_trial: Trial, *, num_failed: int) -> str:
    is_estimated = run_data.config.search.reward_exponent == "auto"
    return render(
        "search",
        "progress_caption",
        reward=best_trial.reward,
        trial=best_trial.number,
        num_trials=len(run_data.trials),
        score=best_trial.score,
        cost=_format_trial_cost(best_trial, run_data),
        strategy=run_data.config.search.strategy,
        num_pruned=len(run_data.pruned_trials),
        num_random=EXPONENT_ESTIMATION_TRIALS if is_estimated else 0,
        num_failed=num_failed,
    )


def _draw_hypervolume(run_data: RunData, *, compact: bool) -> ReportFigure:
    figure = make_figure(2.5 if compact else 2.7, compact=compact)
    axes = add_axes_with_margins(figure, left=38, right=10, top=26, bottom=42)
    numbers = [trial.number for trial in run_data.trials]
    hypervolumes = [
        compute_front_hypervolume(run_data, count) for count in range(1, len(numbers) + 1)
    ]
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    _style_axes(axes, y_label="hypervolume of the front", compact=compact)
    axes.step(numbers, hypervolumes, where="post", color=PRIMARY_COLOR, linewidth=1.3, zorder=3)
    caption = render(
        "search",
        "hypervolume_caption",
        hypervolume=hypervolumes[-1],
        num_trials=len(numbers),
        strategy=run_data.config.search.strategy,
    )
    return ReportFigure(figure, caption)
