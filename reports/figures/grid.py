"""The scaling grid: networks of about equal FLOPs, their mean accuracies, and which can't be told from the best."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from reports.figures.frame import axes_of, percent_scale
from reports.palette import CROWD, FRONT, INK, MUTED, SEED_DOT, SHADE
from reports.plates import Plate, blank
from reports.records import Records
from reports.wording import ALPHA, BETA, GAMMA, GREEK, counted, percent, span

SHOWN = 40
_NOTE = "accuracy on the validation images"


def draw(records: Records, *, narrow: bool) -> Plate | None:
    facts = records.coefficients
    if not facts or not facts["members"]:
        return None
    members = sorted(facts["members"], key=lambda row: -row["accuracy"])[:SHOWN]
    row_height = 34.0 if narrow else 21.0
    top = 30.0
    figure = blank((top + row_height * len(members) + 40) / 72, narrow=narrow)
    axes = axes_of(figure, left=8 if narrow else 236, right=12, top=top, bottom=40)
    half = facts["half_width"]
    values = [value for row in members for value in (*row["accuracies"], row["accuracy"] - half, row["accuracy"] + half)]
    percent_scale(axes, [min(1.0, value) for value in values], across=True)
    axes.set_ylim(len(members) - 0.5, -0.5)
    axes.yaxis.set_major_locator(NullLocator())
    axes.spines["left"].set_visible(False)
    best = members[0]["accuracy"]
    axes.axvspan(max(best - facts["margin"], axes.get_xlim()[0]), best, color=SHADE, linewidth=0, zorder=0)
    axes.annotate(
        "can't be told from the best", (best, 1), xycoords=("data", "axes fraction"), xytext=(-3, 9 if narrow else 8),
        textcoords="offset points", ha="right", va="center", fontsize=8, color=MUTED,
    )  # fmt: skip
    axes.annotate(
        _NOTE, (1, 0), xycoords="axes fraction", xytext=(0, -24), textcoords="offset points", ha="right", va="top", color=MUTED,
        fontsize=8.5,
    )  # fmt: skip
    for place, row in enumerate(members):
        _draw_member(axes, place, row, half=half, narrow=narrow)
    if not narrow:
        _head_columns(axes)
    tips = {f"member-{place}": [_tip(row)] for place, row in enumerate(members)}
    return Plate(figure, _caption(records, len(members)), tips)


def _draw_member(axes: Axes, place: int, row: dict[str, Any], *, half: float, narrow: bool) -> None:
    colour = FRONT if row["tied"] else CROWD
    line = place + 0.2 if narrow else place
    axes.plot([row["accuracy"] - half, row["accuracy"] + half], [line, line], color=colour, linewidth=1.4, zorder=3)
    axes.scatter(row["accuracies"], [line] * len(row["accuracies"]), **SEED_DOT)
    axes.scatter(
        [row["accuracy"]], [line], s=44 if row["winner"] else 30, color=colour, linewidth=0, zorder=4, gid=f"member-{place}"
    )
    weight = "bold" if row["winner"] else "normal"
    if narrow:
        words = [*(f"{GREEK[name]} {span(*row[name])}" for name in GREEK), f"{row['resolution']} px"]
        text = "\N{EM SPACE}".join(words)  # SVG shows several plain spaces as one
        axes.annotate(
            text, (0, place - 0.2), xycoords=("axes fraction", "data"), ha="left", va="center", fontsize=7.5,
            fontweight=weight, color=INK,
        )  # fmt: skip
        return
    for offset, text in zip(_COLUMNS, (*(span(*row[name]) for name in GREEK), f"{row['resolution']} px"), strict=True):
        _write(axes, text, line, offset, weight=weight)


_COLUMNS = (-203.0, -140.0, -72.0, -17.0)  # right of the last, in points from the axes


def _write(axes: Axes, text: str, line: float, offset: float, *, weight: str) -> None:
    axes.annotate(
        text, (0, line), xycoords=("axes fraction", "data"), xytext=(offset, 0), textcoords="offset points", ha="center",
        va="center", fontsize=8.5, fontweight=weight, color=INK, annotation_clip=False,
    )  # fmt: skip


def _head_columns(axes: Axes) -> None:
    for offset, text in zip(_COLUMNS, (f"{ALPHA} depth", f"{BETA} width", f"{GAMMA} resolution", "side"), strict=True):
        axes.annotate(
            text, (0, 1), xycoords="axes fraction", xytext=(offset, 8), textcoords="offset points", ha="center", va="center",
            fontsize=8, color=MUTED, annotation_clip=False,
        )  # fmt: skip


def _tip(row: dict[str, Any]) -> str:
    factors = ", ".join(f"{GREEK[name]} {span(*row[name])}" for name in GREEK)
    seeds = ", ".join(percent(value) for value in row["accuracies"])
    return f"{row['spec_id']}: {percent(row['accuracy'])} ({seeds}); {factors}; {row['ratio']:.2f} times B0's FLOPs"


def _caption(records: Records, shown: int) -> str:
    facts = records.coefficients
    assert facts is not None
    members = facts["members"]
    tied = sum(row["tied"] for row in members)
    seeds = len(members[0]["accuracies"])
    few = f" The best {shown} are drawn." if shown < len(members) else ""
    return (
        f"{counted(len(members), 'way')} to spend {facts['multiple']:g} times the baseline's FLOPs, best first.{few} "
        f"Large dot: mean of {counted(seeds, 'training')} with the same seeds for all (small dots). Line: the 95% interval of "
        f"that mean. Shaded: within {100 * facts['margin']:.1f} points of the best, the least difference that counts after "
        f"correction for all comparisons; {tied} of {len(members)} (blue) lie in it. Intervals cover the luck of training "
        "(weights, data order), not the draw of the validation images, which are the same for all."
    )
