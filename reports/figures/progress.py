"""The search over time: the reward of every trial and the best so far; of a search for a front, how
much it covers.
"""

from itertools import accumulate, pairwise

from matplotlib.ticker import MaxNLocator

from phinas.experiment.schema.config import EXPONENT_ESTIMATION_TRIALS
from phinas.nas.trial import Trial
from phinas.reports.figure_export import ReportFigure, make_figure
from phinas.reports.figures.axes import add_axes_with_margins, set_axis_labels
from phinas.reports.figures.labels import Label, place_labels
from phinas.reports.figures.pareto import (
    MAX_TOOLTIPS,
    choose_marker_size,
    compute_front_hypervolume,
)
from phinas.reports.formatting import format_cost, format_percent, pluralize
from phinas.reports.palette import ACCENT_COLOR, GRID_COLOR, NEUTRAL_COLOR, PRIMARY_COLOR
from phinas.reports.run_data import RunData


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
    axes.xaxis.set_major_locator(MaxNLocator(4 if compact else 8, integer=True))
    axes.grid(axis="y", color=GRID_COLOR, linewidth=0.5)
    axes.tick_params(axis="y", length=0)
    set_axis_labels(axes, x_label="trial number", y_label="reward")
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
    axes.step(
        [*numbers, last_number],
        [*accumulate(rewards, max), high],
        where="post",
        color=PRIMARY_COLOR,
        linewidth=1.3,
        zorder=3,
    )
    axes.scatter(
        [best_trial.number], [best_trial.reward], s=24, color=PRIMARY_COLOR, linewidth=0, zorder=4
    )
    labels = [
        Label(
            best_trial.number, best_trial.reward, f"best: trial {best_trial.number}", PRIMARY_COLOR
        )
    ]
    if failed_numbers:
        bottom = low - 0.6 * pad
        axes.scatter(
            failed_numbers,
            [bottom] * len(failed_numbers),
            s=16,
            marker="x",
            color=ACCENT_COLOR,
            linewidth=1,
            zorder=4,
            gid="failed",
        )
        labels.append(Label(failed_numbers[0], bottom, "failed", ACCENT_COLOR, size=8))
    steps = list(zip(numbers, accumulate(rewards, max), strict=True))
    step_corners = [
        corner
        for (_, previous_reward), (x, reward) in pairwise(steps)
        for corner in ((x, previous_reward), (x, reward))
    ]
    place_labels(
        axes,
        labels,
        points=list(zip(numbers, rewards, strict=True)),
        lines=[[steps[0], *step_corners, (last_number, high)]],
    )

    def format_trial_cost(trial: Trial) -> str:
        return format_cost(run_data.cost_metric, trial.get_cost(run_data.cost_metric))

    tooltip_texts = [
        f"trial {t.number}: reward {t.reward:.4f}, {format_percent(t.accuracy)} at "
        f"{format_trial_cost(t)}"
        for t in trials
    ]
    caption = (
        f"Reward of each trial and, in blue, the best so far: {best_trial.reward:.4f} since trial "
        f"{best_trial.number} of {pluralize(len(trials), 'measured trial')} "
        f"({format_percent(best_trial.accuracy)} at {format_trial_cost(best_trial)}). Strategy: "
        f"{run_data.config.search.strategy}."
    )
    if run_data.pruned_trials:
        caption += (
            f" {pluralize(len(run_data.pruned_trials), 'trial')} stopped on their way by the "
            "pruner are not shown."
        )
    if run_data.config.search.reward_exponent == "auto":
        caption += (
            f" The first {EXPONENT_ESTIMATION_TRIALS} were drawn at random, to estimate the weight "
            "of the reward."
        )
    if failed_numbers:
        caption += f" Crosses at the bottom: {pluralize(len(failed_numbers), 'trial')} that failed."
    return ReportFigure(
        figure, caption, {"trials": tooltip_texts} if len(trials) <= MAX_TOOLTIPS else {}
    )


def _draw_hypervolume(run_data: RunData, *, compact: bool) -> ReportFigure:
    figure = make_figure(2.5 if compact else 2.7, compact=compact)
    axes = add_axes_with_margins(figure, left=38, right=10, top=26, bottom=42)
    numbers = [trial.number for trial in run_data.trials]
    hypervolumes = [
        compute_front_hypervolume(run_data, count) for count in range(1, len(numbers) + 1)
    ]
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_locator(MaxNLocator(4 if compact else 8, integer=True))
    axes.grid(axis="y", color=GRID_COLOR, linewidth=0.5)
    axes.tick_params(axis="y", length=0)
    set_axis_labels(axes, x_label="trial number", y_label="hypervolume of the front")
    axes.step(numbers, hypervolumes, where="post", color=PRIMARY_COLOR, linewidth=1.3, zorder=3)
    caption = (
        f"Hypervolume of the front over the trials: {hypervolumes[-1]:.4f} after "
        f"{pluralize(len(numbers), 'measured trial')}. Strategy: {run_data.config.search.strategy}."
    )
    return ReportFigure(figure, caption)
