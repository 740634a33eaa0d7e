"""What a bench of searchers shows: a table in Markdown, and regret over evaluations as a figure."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from phinas.nas.benchmark.regret import NEAR, quartiles, regrets
from phinas.reports.figure_export import Plate, blank
from phinas.reports.figures.axes import axes_of, name_axes, round_ticks
from phinas.reports.palette import CHOSEN, CROWD, FRONT, INK, MUTED, RULE

_LEAST = 1e-4  # regret below this is drawn as this: on a log axis there is no zero
_INKS = (CHOSEN, FRONT, INK, "#009e73", "#cc79a7", "#e69f00", MUTED, CROWD)
_DASHES = ((), (5, 2), (1.5, 1.5), (6, 2, 1.5, 2))


def table(facts: Mapping[str, Any]) -> str:
    """Rows by median regret at the last checkpoint."""
    rows = facts["searchers"]
    checkpoints = sorted({int(at) for row in rows.values() for at in row["regret"]})
    head = [
        "searcher",
        f"to beat {facts['reference']}",
        f"to within {NEAR:g} of the best",
        "worst of these",
    ]
    head += [f"regret x100 at {at}" for at in checkpoints] + ["ms a proposal"]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "--:|" * (len(head) - 1)]
    last = str(checkpoints[-1])
    for name, row in sorted(rows.items(), key=lambda item: item[1]["regret"][last][1]):
        cells = [
            name,
            _count(row["to_beat_reference"]),
            _count(row["to_come_near"]),
            _never(row["to_come_near"]["worst"]),
        ]
        cells += [_regret(row["regret"][str(at)]) for at in checkpoints]
        cells.append(f"{row['milliseconds']['mean']:.0f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _count(told: Mapping[str, float | None]) -> str:
    return f"{_never(told['median'])} [{_never(told['lower'])}, {_never(told['upper'])}]"


def _never(value: float | None) -> str:
    return "never" if value is None else f"{value:.0f}"


def _regret(told: list[float]) -> str:
    lower, middle, upper = (100 * value for value in told)
    return f"{middle:.2f} [{lower:.2f}, {upper:.2f}]"


def draw(facts: Mapping[str, Any], runs: Mapping[str, list[dict[str, Any]]]) -> Plate:
    """Median regret of each searcher over evaluations, its quartiles shaded."""
    optimum = facts["optimum"]
    curves = {
        name: np.maximum(quartiles([regrets(run, optimum) for run in found]), _LEAST)
        for name, found in runs.items()
    }
    order = sorted(curves, key=lambda name: curves[name][-1, 1])
    longest = max(len(curve) for curve in curves.values())
    figure = blank(4.8, narrow=False)
    axes = axes_of(figure, left=64, right=118, top=26, bottom=42)
    axes.set_xlim(1, longest)
    axes.set_yscale("log")
    low = min(float(curve[:, 1].min()) for curve in curves.values())
    high = max(float(curve[0, 1]) for curve in curves.values())
    axes.set_ylim(0.8 * low, 1.3 * high)
    axes.yaxis.set_major_locator(FixedLocator(round_ticks(low, high, least=4)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))
    axes.grid(axis="y", color=RULE, linewidth=0.5)
    name_axes(
        axes,
        across="evaluations",
        up="regret x 100: best reward there is, less that of the network which looks best so far",
    )
    for place, name in enumerate(order):
        ink, dashes = _INKS[place % len(_INKS)], _DASHES[place // len(_INKS)]
        steps = np.arange(1, len(curves[name]) + 1)
        lower, middle, upper = curves[name].T
        axes.fill_between(steps, lower, upper, color=ink, alpha=0.10, linewidth=0)
        axes.plot(
            steps,
            middle,
            color=ink,
            linewidth=1.6 if place == 0 else 1.1,
            dashes=dashes or (None, None),
        )
    _label_ends(
        axes,
        [
            (name, float(curves[name][-1, 1]), _INKS[place % len(_INKS)])
            for place, name in enumerate(order)
        ],
    )
    noise = (
        f", accuracies with noise of {100 * facts['noise']:.2g} points"
        if facts["noise"]
        else ", accuracies without noise"
    )
    caption = (
        f"Median over {facts['seeds']} seeds of the regret after each evaluation, quartiles "
        f"shaded{noise}. "
        f"The best reward there is: {optimum:.4f}; {facts['reference']}: "
        f"{facts['reference_reward']:.4f}."
    )
    return Plate(figure, caption)


def _tick(value: float) -> str:
    return f"{100 * value:g} or less" if value <= 1.001 * _LEAST else f"{100 * value:g}"


def _label_ends(axes: Any, ends: list[tuple[str, float, str]]) -> None:
    """Names at the right end of the lines, from the bottom up, pushed apart where they would
    touch.
    """
    height = 72 * axes.figure.get_figheight() * axes.get_position().height
    low, high = (np.log(limit) for limit in axes.get_ylim())
    least = 0.0
    for name, value, ink in ends:
        wanted = height * (np.log(value) - low) / (high - low)
        place = max(wanted, least)
        least = place + 11
        axes.annotate(
            name,
            (1, 0),
            xytext=(6, place),
            xycoords="axes fraction",
            textcoords="offset points",
            va="center",
            color=ink,
            fontsize=8.5,
            annotation_clip=False,
        )
