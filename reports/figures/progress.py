"""The search over time: the reward of every trial and the best so far; of a search for a front, how
much it covers.
"""

from itertools import accumulate, pairwise

from matplotlib.ticker import MaxNLocator

from phinas.experiment.schema.config import FIRST_TRIALS
from phinas.nas.trial import Trial
from phinas.reports.figure_export import Plate, blank
from phinas.reports.figures.axes import axes_of, name_axes
from phinas.reports.figures.labels import Label, place_labels
from phinas.reports.figures.pareto import POINTED_AT, covered, dot_size
from phinas.reports.formatting import amount, counted, percent
from phinas.reports.palette import CHOSEN, CROWD, FRONT, RULE
from phinas.reports.run_data import Records


def draw(records: Records, *, narrow: bool) -> Plate | None:
    trials, best = records.trials, records.best
    if best is None:
        return None
    if records.pareto:
        return _draw_cover(records, narrow=narrow)
    figure = blank(2.5 if narrow else 2.7, narrow=narrow)
    axes = axes_of(figure, left=32, right=10, top=26, bottom=42)
    numbers, rewards = [trial.number for trial in trials], [trial.reward for trial in trials]
    failed = [row.number for study, row in records.failures if study == "search"]
    last = max([*numbers, *failed])
    axes.set_xlim(-0.5 - 0.01 * last, last + 0.5 + 0.02 * last)
    low, high = min(rewards), max(rewards)
    pad = max(0.1 * (high - low), 0.01)
    axes.set_ylim(low - pad, high + 2 * pad)
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_locator(MaxNLocator(4 if narrow else 8, integer=True))
    axes.grid(axis="y", color=RULE, linewidth=0.5)
    axes.tick_params(axis="y", length=0)
    name_axes(axes, across="trial number", up="reward")
    axes.scatter(
        numbers,
        rewards,
        s=dot_size(len(trials)),
        color=CROWD,
        linewidth=0,
        zorder=2,
        gid="trials",
        rasterized=len(trials) > POINTED_AT,
    )
    axes.step(
        [*numbers, last],
        [*accumulate(rewards, max), high],
        where="post",
        color=FRONT,
        linewidth=1.3,
        zorder=3,
    )
    axes.scatter([best.number], [best.reward], s=24, color=FRONT, linewidth=0, zorder=4)
    labels = [Label(best.number, best.reward, f"best: trial {best.number}", FRONT)]
    if failed:
        bottom = low - 0.6 * pad
        axes.scatter(
            failed,
            [bottom] * len(failed),
            s=16,
            marker="x",
            color=CHOSEN,
            linewidth=1,
            zorder=4,
            gid="failed",
        )
        labels.append(Label(failed[0], bottom, "failed", CHOSEN, size=8))
    steps = list(zip(numbers, accumulate(rewards, max), strict=True))
    line = [
        corner
        for (_, before), (x, after) in pairwise(steps)
        for corner in ((x, before), (x, after))
    ]
    place_labels(
        axes,
        labels,
        points=list(zip(numbers, rewards, strict=True)),
        lines=[[steps[0], *line, (last, high)]],
    )

    def cost_of(trial: Trial) -> str:
        return amount(records.metric, trial.cost_in(records.metric))

    texts = [
        f"trial {t.number}: reward {t.reward:.4f}, {percent(t.accuracy)} at {cost_of(t)}"
        for t in trials
    ]
    caption = (
        f"Reward of each trial and, in blue, the best so far: {best.reward:.4f} since trial "
        f"{best.number} of "
        f"{counted(len(trials), 'measured trial')} ({percent(best.accuracy)} at {cost_of(best)}). "
        f"Strategy: {records.config.search.strategy}."
    )
    if records.pruned:
        caption += (
            f" {counted(len(records.pruned), 'trial')} stopped on their way by the "
            "pruner are not shown."
        )
    if records.config.search.weight == "auto":
        caption += (
            f" The first {FIRST_TRIALS} were drawn at random, to estimate the weight of the reward."
        )
    if failed:
        caption += f" Crosses at the bottom: {counted(len(failed), 'trial')} that failed."
    return Plate(figure, caption, {"trials": texts} if len(trials) <= POINTED_AT else {})


def _draw_cover(records: Records, *, narrow: bool) -> Plate:
    figure = blank(2.5 if narrow else 2.7, narrow=narrow)
    axes = axes_of(figure, left=38, right=10, top=26, bottom=42)
    numbers = [trial.number for trial in records.trials]
    covers = [covered(records, count) for count in range(1, len(numbers) + 1)]
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_locator(MaxNLocator(4 if narrow else 8, integer=True))
    axes.grid(axis="y", color=RULE, linewidth=0.5)
    axes.tick_params(axis="y", length=0)
    name_axes(axes, across="trial number", up="hypervolume of the front")
    axes.step(numbers, covers, where="post", color=FRONT, linewidth=1.3, zorder=3)
    caption = (
        f"Hypervolume of the front over the trials: {covers[-1]:.4f} after "
        f"{counted(len(numbers), 'measured trial')}. "
        f"Strategy: {records.config.search.strategy}."
    )
    return Plate(figure, caption)
