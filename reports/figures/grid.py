"""The scaling grid: networks of about equal FLOPs, how far behind the best each is, and which can't
be told from it.
"""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from phinas.reports.figure_export import Plate, blank
from phinas.reports.figures.axes import axes_of
from phinas.reports.formatting import ALPHA, BETA, GAMMA, GREEK, counted, percent, span
from phinas.reports.palette import CROWD, FRONT, INK, MUTED, PAPER, RULE, SEED_DOT
from phinas.reports.run_data import Records

SHOWN = 40
_NOTE = "points of accuracy behind the best"


def draw(records: Records, *, narrow: bool) -> Plate | None:
    facts = records.coefficients
    if not facts or not facts["members"]:
        return None
    members = shown_members(facts)
    row_height = 34.0 if narrow else 21.0
    top = 30.0
    figure = blank((top + row_height * len(members) + 40) / 72, narrow=narrow)
    axes = axes_of(figure, left=8 if narrow else 236, right=12, top=top, bottom=40)
    winner = next(row for row in members if row["winner"])
    ends = [end for row in members for end in _reach(row, winner)]
    _points_scale(axes, min(ends), max(ends))
    axes.set_ylim(len(members) - 0.5, -0.5)
    axes.yaxis.set_major_locator(NullLocator())
    axes.spines["left"].set_visible(False)
    axes.axvline(0, color=MUTED, linewidth=0.8, zorder=1)
    axes.annotate(
        _NOTE,
        (1, 0),
        xycoords="axes fraction",
        xytext=(0, -24),
        textcoords="offset points",
        ha="right",
        va="top",
        color=MUTED,
        fontsize=8.5,
    )
    for place, row in enumerate(members):
        _draw_member(axes, place, row, winner, narrow=narrow)
    if not narrow:
        _head_columns(axes)
    tips = {f"member-{place}": [_tip(row)] for place, row in enumerate(members)}
    return Plate(figure, _caption(records, len(members)), tips)


def shown_members(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Those of which anything is known, the likeliest first."""
    known = [row for row in facts["members"] if row["behind"] is not None]
    return sorted(known, key=lambda row: row["behind"])[:SHOWN]


def _interval(row: dict[str, Any]) -> tuple[float, float]:
    """Of the member's accuracy less the winner's."""
    low, high = row["behind_interval"] or (row["behind"], row["behind"])
    return -high, -low


def _differences(row: dict[str, Any], winner: dict[str, Any]) -> list[float]:
    """Of full trainings with the same seed."""
    if row["winner"]:
        return []
    return [
        ours - theirs for ours, theirs in zip(row["accuracies"], winner["accuracies"], strict=False)
    ]


def _reach(row: dict[str, Any], winner: dict[str, Any]) -> list[float]:
    return [*_interval(row), *_differences(row, winner), 0.0]


def _points_scale(axes: Axes, low: float, high: float) -> None:
    pad = max(0.06 * (high - low), 0.0005)
    axes.set_xlim(low - pad, high + pad)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _points(value)))
    axes.grid(axis="x", color=RULE, linewidth=0.5)
    axes.xaxis.set_tick_params(length=0)


def _points(value: float) -> str:
    return "0" if abs(value) < 1e-9 else f"{100 * value:+.3g}".replace("-", "\N{MINUS SIGN}")


def _draw_member(
    axes: Axes, place: int, row: dict[str, Any], winner: dict[str, Any], *, narrow: bool
) -> None:
    colour = FRONT if row["tied"] else CROWD
    line = place + 0.2 if narrow else place
    axes.plot(_interval(row), [line, line], color=colour, linewidth=1.4, zorder=3)
    differences = _differences(row, winner)
    axes.scatter(differences, [line] * len(differences), **SEED_DOT)
    face = PAPER if row["status"] == "open" else colour
    axes.scatter(
        [-row["behind"]],
        [line],
        s=44 if row["winner"] else 30,
        facecolor=face,
        edgecolor=colour,
        linewidth=1.2,
        zorder=4,
        gid=f"member-{place}",
    )
    weight = "bold" if row["winner"] else "normal"
    if narrow:
        words = [
            *(f"{GREEK[name]} {span(*row[name])}" for name in GREEK),
            f"{row['resolution']} px",
        ]
        text = "\N{EM SPACE}".join(words)  # SVG shows several plain spaces as one
        axes.annotate(
            text,
            (0, place - 0.2),
            xycoords=("axes fraction", "data"),
            ha="left",
            va="center",
            fontsize=7.5,
            fontweight=weight,
            color=INK,
        )
        return
    for offset, text in zip(
        _COLUMNS, (*(span(*row[name]) for name in GREEK), f"{row['resolution']} px"), strict=True
    ):
        _write(axes, text, line, offset, weight=weight)


_COLUMNS = (-203.0, -140.0, -72.0, -17.0)  # right of the last, in points from the axes


def _write(axes: Axes, text: str, line: float, offset: float, *, weight: str) -> None:
    axes.annotate(
        text,
        (0, line),
        xycoords=("axes fraction", "data"),
        xytext=(offset, 0),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=8.5,
        fontweight=weight,
        color=INK,
        annotation_clip=False,
    )


def _head_columns(axes: Axes) -> None:
    for offset, text in zip(
        _COLUMNS, (f"{ALPHA} depth", f"{BETA} width", f"{GAMMA} resolution", "side"), strict=True
    ):
        axes.annotate(
            text,
            (0, 1),
            xycoords="axes fraction",
            xytext=(offset, 8),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=8,
            color=MUTED,
            annotation_clip=False,
        )


def _tip(row: dict[str, Any]) -> str:
    factors = ", ".join(f"{GREEK[name]} {span(*row[name])}" for name in GREEK)
    seeds = ", ".join(percent(value) for value in row["accuracies"]) or "no full training"
    return f"{row['spec_id']}: {seeds}; {factors}; {row['ratio']:.2f} times B0's FLOPs"


def _caption(records: Records, shown: int) -> str:
    facts = records.coefficients
    assert facts is not None
    members = facts["members"]
    tied = sum(row["tied"] for row in members)
    few = f" The likeliest {shown} are drawn." if shown < len(members) else ""
    spent, full = facts["epochs"], facts["full_grid_epochs"]
    raced = (
        f" They raced: {spent:,} of the {full:,} epochs that all with every seed would have "
        "taken; hollow: the budget ended "
        "before it was trained with every seed."
    )
    corrected = (
        f" What more FLOPs buy is taken off ({facts['slope']:.2g} points a percent of FLOPs)."
    )
    return (
        f"{counted(len(members), 'way')} to spend "
        f"{facts['multiple'] ** facts['compared_at_phi']:.3g} times the baseline's "
        f"FLOPs, the likeliest best first.{few} Large dot: expected accuracy less that of the "
        "best, from all trainings "
        "together; line: its 95% interval; small dots: differences of two full trainings with the "
        "same seed. "
        f"{tied} of {len(members)} (blue) can't be told from the best, all comparisons together."
        f"{raced if spent < full else ''}{corrected if facts['slope'] else ''} {_scope(records)}"
    )


def _scope(records: Records) -> str:
    if records.scaled_by:
        return f"Accuracies are those of {records.scaled_by}."
    return (
        "Accuracy is of the validation images. Intervals cover the luck of training (weights, "
        "data order), not the draw of "
        "these images, which are the same for all."
    )
