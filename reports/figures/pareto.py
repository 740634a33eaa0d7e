"""Score over cost of every trial, the Pareto front, and the curve of equal reward through the best
trial.
"""

import numpy as np
from matplotlib.axes import Axes

from phinas.nas.pareto import hypervolume, pareto_front
from phinas.nas.reward import Reward
from phinas.nas.trial import Trial
from phinas.reports.figure_export import ReportFigure, make_figure
from phinas.reports.figures.axes import (
    add_axes_with_margins,
    set_axis_labels,
    set_cost_scale,
    set_percent_scale,
)
from phinas.reports.figures.labels import Label, LabelsAndLines, Point, place_labels
from phinas.reports.formatting import (
    COST_LABELS,
    TIMES_SIGN,
    format_cost,
    format_percent,
)
from phinas.reports.palette import (
    ACCENT_COLOR,
    BACKGROUND_COLOR,
    MUTED_COLOR,
    NEUTRAL_COLOR,
    PRIMARY_COLOR,
    TEXT_COLOR,
)
from phinas.reports.run_data import RunData
from phinas.reports.sentences.rendering import render

# With more marks than this there are no tooltips, which would make a page of megabytes.
MAX_TOOLTIPS = 1000
MAX_CIRCLED_FINALISTS = 8

COST_BOUND_PHRASES = {
    "flops": "the same FLOPs or fewer",
    "params": "as many parameters or fewer",
    "activations": "as many activations or fewer",
    "latency": "the same latency or less",
}


def choose_marker_size(count: int) -> float:
    """The area of a mark in square points, smaller for many marks."""
    return max(2.0, min(15.0, 6000 / count))


def solve_equal_reward(reward: Reward, level: float, costs: np.ndarray) -> np.ndarray:
    """The score that has reward `level` at each of `costs`: phinas.nas.reward solved for the
    score.
    """
    slope, intercept = reward.linear_coefficients(costs)
    return (level - intercept) / slope


def format_reward(reward: Reward, label: str) -> str:
    """The reward as a formula; `label` is the name of the score."""
    if reward.kind == "accuracy":
        return label
    exponent = f"{reward.exponent:g}".replace("-", "\N{MINUS SIGN}")
    name, target = COST_LABELS[reward.cost_metric], format_cost(reward.cost_metric, reward.target)
    if reward.kind == "absolute":
        formula = f"{label} + w {TIMES_SIGN} |{name}/T \N{MINUS SIGN} 1|"
        return f"{formula}, w = {exponent}, T = {target}"
    if reward.kind == "hard":
        return f"{label} {TIMES_SIGN} max(1, {name}/T)^w, w = {exponent}, T = {target}"
    return f"{label} {TIMES_SIGN} ({name}/T)^w, w = {exponent}, T = {target}"


def draw(run_data: RunData, *, compact: bool) -> ReportFigure | None:
    trials, best_trial = run_data.trials, run_data.best_trial
    if best_trial is None:
        return None
    figure = make_figure(3.6 if compact else 4.6, compact=compact)
    axes = add_axes_with_margins(figure, left=32, right=10, top=26, bottom=42)
    costs = [trial.get_cost(run_data.cost_metric) for trial in trials]
    reference_points = [point for point in (_get_reference_point(run_data),) if point]
    set_cost_scale(axes, costs + [x for x, _ in reference_points], compact=compact)
    set_percent_scale(
        axes, [trial.score for trial in trials] + [y for _, y in reference_points], headroom=0.16
    )
    set_axis_labels(
        axes,
        x_label=f"{COST_LABELS[run_data.cost_metric]} of the "
        f"network{', ms' if run_data.cost_metric == 'latency' else ''} (log scale)",
        y_label=f"{run_data.search_score_label}"
        f"{' after a short training' if run_data.search_trains_networks else ''}",
    )
    axes.scatter(
        costs,
        [trial.score for trial in trials],
        s=choose_marker_size(len(trials)),
        color=NEUTRAL_COLOR,
        linewidth=0,
        zorder=2,
        gid="trials",
        rasterized=len(trials) > MAX_TOOLTIPS,
    )
    labels: list[Label] = []
    lines: list[list[Point]] = []
    for draw_marks in (_draw_finalists, _draw_reference, _draw_front, _draw_equal_reward):
        more_labels, more_lines = draw_marks(axes, run_data)
        labels += more_labels
        lines += more_lines
    points = [(cost, trial.score) for cost, trial in zip(costs, trials, strict=True)]
    place_labels(axes, labels, points=points + reference_points, lines=lines)
    trials_by_group = (
        {"trials": trials, "front": run_data.pareto_front} if len(trials) <= MAX_TOOLTIPS else {}
    )
    tooltips = {
        name: [_make_tooltip(trial, run_data) for trial in group_trials]
        for name, group_trials in trials_by_group.items()
    }
    return ReportFigure(figure, _make_caption(run_data, best_trial), tooltips)


def _make_tooltip(trial: Trial, run_data: RunData) -> str:
    result_text = (
        f"{format_percent(trial.score)} at "
        f"{format_cost(run_data.cost_metric, trial.get_cost(run_data.cost_metric))}"
    )
    if run_data.reward is not None:
        result_text += f", reward {trial.reward:.4f}"
    return f"trial {trial.number}, {trial.spec.network_id}: {result_text}"


def _draw_front(axes: Axes, run_data: RunData) -> LabelsAndLines:
    front = run_data.pareto_front
    x, y = (
        [trial.get_cost(run_data.cost_metric) for trial in front],
        [trial.score for trial in front],
    )
    corners = [(x[0], y[0])]
    for cost, score in zip(x[1:], y[1:], strict=True):
        corners += [(cost, corners[-1][1]), (cost, score)]
    corners.append((axes.get_xlim()[1], y[-1]))
    axes.plot(
        *zip(*corners, strict=True), color=PRIMARY_COLOR, linewidth=1.2, zorder=3, scalex=False
    )
    axes.scatter(x, y, s=20, color=PRIMARY_COLOR, linewidth=0, zorder=4, gid="front")
    return ([Label(x[0], y[0], "Pareto front", PRIMARY_COLOR)] if len(front) > 1 else []), [corners]


def _draw_equal_reward(axes: Axes, run_data: RunData) -> LabelsAndLines:
    reward, best_trial = run_data.reward, run_data.best_trial
    if reward is None or best_trial is None or len(run_data.trials) < 2:
        return [], []
    x = np.geomspace(*axes.get_xlim(), 120)
    y = solve_equal_reward(
        reward, reward(best_trial.score, best_trial.get_cost(run_data.cost_metric)), x
    )
    axes.plot(
        x,
        np.where(y <= 1, y, np.nan),
        color=MUTED_COLOR,
        linewidth=0.9,
        linestyle=(0, (4, 3)),
        zorder=1,
        scaley=False,
    )
    low, high = axes.get_ylim()
    visible_points = [(a, b) for a, b in zip(x, y, strict=True) if low < b < min(high, 1.0)]
    if not visible_points:
        return [], []
    end = visible_points[int(0.88 * (len(visible_points) - 1))]
    return [Label(end[0], end[1], "equal reward", MUTED_COLOR)], [visible_points]


def _draw_finalists(axes: Axes, run_data: RunData) -> LabelsAndLines:
    """The selected finalist with the interval of its score; the others circled."""
    by_number = {trial.number: trial for trial in run_data.trials}
    finalists = [by_number[row.trial] for row in run_data.finalists if row.trial in by_number]
    labels: list[Label] = []
    lines: list[list[Point]] = []
    for trial in finalists:
        if trial.number == run_data.baseline_trial:
            label, lines = _draw_baseline(axes, trial, run_data.cost_metric)
            labels.append(label)
    others = [trial for trial in finalists if trial.number != run_data.baseline_trial]
    for trial in others[:MAX_CIRCLED_FINALISTS]:
        x, y = trial.get_cost(run_data.cost_metric), trial.score
        axes.scatter(
            [x], [y], s=70, facecolor="none", edgecolor=TEXT_COLOR, linewidth=0.9, zorder=5
        )
        labels.append(Label(x, y, f"trial {trial.number}", TEXT_COLOR, size=8))
    return labels, lines


def _draw_baseline(axes: Axes, trial: Trial, cost_metric: str) -> tuple[Label, list[list[Point]]]:
    x, y = trial.get_cost(cost_metric), trial.score
    lines: list[list[Point]] = []
    if trial.measurement.images:
        low, high = trial.measurement.interval()
        axes.plot([x, x], [low, high], color=ACCENT_COLOR, linewidth=0.9, zorder=4, scaley=False)
        lines.append([(x, low), (x, high)])
    axes.scatter([x], [y], s=62, marker="D", color=ACCENT_COLOR, linewidth=0, zorder=5)
    return Label(x, y, f"trial {trial.number}, the baseline", ACCENT_COLOR, bold=True), lines


def _get_reference_point(run_data: RunData) -> Point | None:
    """Cost and score of the reference network after a training like those of the search."""
    reference = run_data.reference
    if reference is None or reference.search_score is None:
        return None
    return reference.cost(run_data.cost_metric), reference.search_score


def _draw_reference(axes: Axes, run_data: RunData) -> LabelsAndLines:
    point = _get_reference_point(run_data)
    if point is None or run_data.reference is None:
        return [], []
    axes.scatter(
        *point,
        s=46,
        marker="s",
        facecolor=BACKGROUND_COLOR,
        edgecolor=TEXT_COLOR,
        linewidth=1.2,
        zorder=5,
        gid="reference",
    )
    return [Label(*point, run_data.reference.name, TEXT_COLOR)], []


def compute_front_hypervolume(run_data: RunData, count: int | None = None) -> float:
    """The hypervolume of the front of the first `count` trials (None: of all), from the smallest to
    the largest cost of all trials.
    """
    costs = [trial.get_cost(run_data.cost_metric) for trial in run_data.trials]
    front = pareto_front(run_data.trials[:count], run_data.cost_metric)
    points = [(trial.get_cost(run_data.cost_metric), trial.score) for trial in front]
    return hypervolume(points, min_cost=min(costs), max_cost=max(costs))


def _finalist_epochs(run_data: RunData) -> int:
    """The epochs of the trainings of the finalists. 0 without one."""
    records = run_data.trial_records["finalists"]
    return max((record.measurement.epochs for record in records if record.is_complete), default=0)


def _make_caption(run_data: RunData, best_trial: Trial) -> str:
    measurement, reference = best_trial.measurement, run_data.reference
    label, num_trials = run_data.search_score_label, len(run_data.trials)
    reward = format_reward(run_data.reward, label) if run_data.reward is not None else ""
    has_reference = reference is not None and reference.search_score is not None
    return render(
        "search",
        "front_caption",
        num_trials=num_trials,
        trains=run_data.search_trains_networks,
        epochs=measurement.epochs,
        finalist_epochs=_finalist_epochs(run_data),
        images=measurement.images,
        split=measurement.split,
        num_front=len(run_data.pareto_front),
        label=label,
        bound=COST_BOUND_PHRASES[run_data.cost_metric],
        hypervolume=compute_front_hypervolume(run_data) if num_trials > 1 else None,
        best_trial=best_trial.number,
        reward=reward if num_trials > 1 else "",
        reference=reference.name if reference is not None and has_reference else "",
        has_baseline=run_data.baseline_trial is not None,
    )
