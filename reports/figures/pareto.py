"""Accuracy against cost of every trial, the Pareto front, and the curve of equal reward through the
best trial.
"""

import numpy as np
from matplotlib.axes import Axes

from phinas.nas.pareto import hypervolume, pareto_front
from phinas.nas.reward import Reward
from phinas.nas.trial import Trial
from phinas.reports.figure_export import Plate, blank
from phinas.reports.figures.axes import axes_of, cost_scale, name_axes, percent_scale
from phinas.reports.figures.labels import Label, Point, place_labels
from phinas.reports.formatting import METRICS, TIMES, amount, counted, percent
from phinas.reports.palette import CHOSEN, CROWD, FRONT, INK, MUTED, PAPER
from phinas.reports.run_data import Records

POINTED_AT = (
    1000  # more marks than this say nothing when pointed at, which would make a page of megabytes
)
RINGED = 8

WITHIN = {
    "flops": "the same FLOPs or fewer",
    "params": "as many parameters or fewer",
    "activations": "as many activations or fewer",
    "latency": "the same latency or less",
}
Marks = tuple[list[Label], list[list[Point]]]


def dot_size(count: int) -> float:
    """Of the crowd, in square points: smaller where there are hundreds."""
    return max(2.0, min(15.0, 6000 / count))


def equal_reward(reward: Reward, level: float, costs: np.ndarray) -> np.ndarray:
    """The accuracy that has reward `level` at each of `costs`: phinas.nas.reward solved for
    accuracy.
    """
    slope, intercept = reward.line(costs)
    return (level - intercept) / slope


def equation(reward: Reward) -> str:
    weight = f"{reward.weight:g}".replace("-", "\N{MINUS SIGN}")
    name, target = METRICS[reward.metric], f"T = {amount(reward.metric, reward.target)}"
    if reward.kind == "absolute":
        return f"accuracy + w {TIMES} |{name}/T \N{MINUS SIGN} 1|, w = {weight}, {target}"
    if reward.kind == "hard":
        return f"accuracy {TIMES} max(1, {name}/T)^w, w = {weight}, {target}"
    return f"accuracy {TIMES} ({name}/T)^w, w = {weight}; T is a common factor and chooses nothing"


def draw(records: Records, *, narrow: bool) -> Plate | None:
    trials, best = records.trials, records.best
    if best is None:
        return None
    figure = blank(3.6 if narrow else 4.6, narrow=narrow)
    axes = axes_of(figure, left=32, right=10, top=26, bottom=42)
    costs = [trial.cost_in(records.metric) for trial in trials]
    beside = [point for point in (_reference_point(records),) if point]
    cost_scale(axes, costs + [across for across, _ in beside], narrow=narrow)
    percent_scale(axes, [trial.accuracy for trial in trials] + [up for _, up in beside], room=0.16)
    name_axes(
        axes,
        across=f"{METRICS[records.metric]} of the "
        f"network{', ms' if records.metric == 'latency' else ''} (log scale)",
        up="accuracy, short training" if records.trained else "accuracy",
    )
    axes.scatter(
        costs,
        [trial.accuracy for trial in trials],
        s=dot_size(len(trials)),
        color=CROWD,
        linewidth=0,
        zorder=2,
        gid="trials",
        rasterized=len(trials) > POINTED_AT,
    )
    labels: list[Label] = []
    lines: list[list[Point]] = []
    for mark in (_mark_finalists, _mark_reference, _draw_front, _draw_equal_reward):
        more_labels, more_lines = mark(axes, records)
        labels += more_labels
        lines += more_lines
    points = [(cost, trial.accuracy) for cost, trial in zip(costs, trials, strict=True)]
    place_labels(axes, labels, points=points + beside, lines=lines)
    marks = {"trials": trials, "front": records.front} if len(trials) <= POINTED_AT else {}
    tips = {name: [_tip(trial, records) for trial in shown] for name, shown in marks.items()}
    return Plate(figure, _caption(records, best), tips)


def _tip(trial: Trial, records: Records) -> str:
    measured = (
        f"{percent(trial.accuracy)} at {amount(records.metric, trial.cost_in(records.metric))}"
    )
    if records.reward is not None:
        measured += f", reward {trial.reward:.4f}"
    return f"trial {trial.number}, {trial.spec.spec_id}: {measured}"


def _draw_front(axes: Axes, records: Records) -> Marks:
    front = records.front
    x, y = [trial.cost_in(records.metric) for trial in front], [trial.accuracy for trial in front]
    corners = [(x[0], y[0])]
    for across, up in zip(x[1:], y[1:], strict=True):
        corners += [(across, corners[-1][1]), (across, up)]
    corners.append((axes.get_xlim()[1], y[-1]))
    axes.plot(*zip(*corners, strict=True), color=FRONT, linewidth=1.2, zorder=3, scalex=False)
    axes.scatter(x, y, s=20, color=FRONT, linewidth=0, zorder=4, gid="front")
    return ([Label(x[0], y[0], "Pareto front", FRONT)] if len(front) > 1 else []), [corners]


def _draw_equal_reward(axes: Axes, records: Records) -> Marks:
    reward, best = records.reward, records.best
    if reward is None or best is None or len(records.trials) < 2:
        return [], []
    x = np.geomspace(*axes.get_xlim(), 120)
    y = equal_reward(reward, reward(best.accuracy, best.cost_in(records.metric)), x)
    axes.plot(
        x,
        np.where(y <= 1, y, np.nan),
        color=MUTED,
        linewidth=0.9,
        linestyle=(0, (4, 3)),
        zorder=1,
        scaley=False,
    )
    low, high = axes.get_ylim()
    seen = [(a, b) for a, b in zip(x, y, strict=True) if low < b < min(high, 1.0)]
    if not seen:
        return [], []
    end = seen[int(0.88 * (len(seen) - 1))]
    return [Label(end[0], end[1], "equal reward", MUTED)], [seen]


def _mark_finalists(axes: Axes, records: Records) -> Marks:
    """The chosen one filled, with the interval of its accuracy; the others ringed."""
    by_number = {trial.number: trial for trial in records.trials}
    labels: list[Label] = []
    lines: list[list[Point]] = []
    chosen = by_number.get(records.chosen) if records.chosen is not None else None
    if chosen is not None:
        x, y = chosen.cost_in(records.metric), chosen.accuracy
        if chosen.measurement.images:
            low, high = chosen.measurement.interval()
            axes.plot([x, x], [low, high], color=CHOSEN, linewidth=0.9, zorder=4, scaley=False)
            lines.append([(x, low), (x, high)])
        axes.scatter([x], [y], s=62, marker="D", color=CHOSEN, linewidth=0, zorder=5)
        labels.append(Label(x, y, f"trial {chosen.number}, the baseline", CHOSEN, bold=True))
    others = [by_number[row["trial"]] for row in records.finalists if row["trial"] in by_number]
    for trial in [trial for trial in others if trial is not chosen][:RINGED]:
        x, y = trial.cost_in(records.metric), trial.accuracy
        axes.scatter([x], [y], s=70, facecolor="none", edgecolor=INK, linewidth=0.9, zorder=5)
        labels.append(Label(x, y, f"trial {trial.number}", INK, size=8))
    return labels, lines


def _reference_point(records: Records) -> Point | None:
    """Cost and accuracy of the published network after a training like those of the search."""
    found = records.reference
    if found is None or found["search_accuracy"] is None:
        return None
    return float(found["latency_ms" if records.metric == "latency" else records.metric]), found[
        "search_accuracy"
    ]


def _mark_reference(axes: Axes, records: Records) -> Marks:
    point = _reference_point(records)
    if point is None or records.reference is None:
        return [], []
    axes.scatter(
        *point,
        s=46,
        marker="s",
        facecolor=PAPER,
        edgecolor=INK,
        linewidth=1.2,
        zorder=5,
        gid="reference",
    )
    return [Label(*point, records.reference["name"], INK)], []


def covered(records: Records, count: int | None = None) -> float:
    """The hypervolume of the front of the first `count` trials (of all), between the cheapest and
    the dearest of all.
    """
    costs = [trial.cost_in(records.metric) for trial in records.trials]
    front = pareto_front(records.trials[:count], records.metric)
    points = [(trial.cost_in(records.metric), trial.accuracy) for trial in front]
    return hypervolume(points, cheapest=min(costs), dearest=max(costs))


def _covered(records: Records) -> str:
    return (
        f"Its hypervolume is {covered(records):.4f}: the best accuracy to be had, averaged over "
        "the logarithm of the cost "
        "from the cheapest to the dearest network measured."
    )


def _caption(records: Records, best: Trial) -> str:
    measured = best.measurement
    sentences = [
        f"{counted(len(records.trials), 'network')}, each "
        + (
            f"trained once for {counted(measured.epochs, 'epoch')}"
            if records.trained
            else "measured once"
        )
        + (
            f" and measured on {measured.images:,} {measured.split} images."
            if measured.images
            else "."
        ),
        f"Blue: the Pareto front, {counted(len(records.front), 'network')} that no other beats in "
        "accuracy at "
        f"{WITHIN[records.metric]}.",
    ]
    if len(records.trials) > 1:
        sentences.append(_covered(records))
    if records.reward is not None and len(records.trials) > 1:
        sentences.append(
            f"Along the dashed curve the reward equals that of the best trial ({best.number}): "
            f"{equation(records.reward)}."
        )
    if records.reference is not None and records.reference["search_accuracy"] is not None:
        done = "trained" if records.trained else "measured"
        sentences.append(
            f"Square: {records.reference['name']}, a published network, {done} like the others."
        )
    if records.chosen is not None:
        again = "trained again, longer" if records.trained else "measured again"
        sentences.append(
            f"Ringed: the other finalists, which were {again}; the choice was made there, not here."
        )
        if measured.images:
            sentences.append(
                f"The bar at the baseline is the 95% interval that {measured.images:,} images "
                "leave one accuracy."
            )
    return " ".join(sentences)
