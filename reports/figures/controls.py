"""Other ways to scale, held against the family's own: how far each is from the member of its FLOPs,
noise and all.
"""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from phinas.reports.controls import MARKERS, VERDICTS, kind_of, label, member_of
from phinas.reports.figure_export import Plate, blank
from phinas.reports.figures.axes import axes_of
from phinas.reports.formatting import TIMES, counted, joined_names, percent, points
from phinas.reports.palette import CHOSEN, CROWD, FRONT, INK, MUTED, PAPER, RULE, SEED_DOT
from phinas.reports.run_data import Records

SHOWN = 40
_COLOURS = {"better": CROWD, "worse": CHOSEN, "tied": FRONT}
_WORDS = 8.5  # size of the text


def draw(records: Records, *, narrow: bool) -> Plate | None:
    rows = records.trained_controls[:SHOWN]
    if not rows:
        return None
    row_height, top = (36.0 if narrow else 28.0), 30.0
    figure = blank((top + row_height * len(rows) + 40) / 72, narrow=narrow)
    axes = axes_of(
        figure, left=8 if narrow else 236, right=12 if narrow else 118, top=top, bottom=40
    )
    differences = [_differences(row, records) for row in rows]
    ends = [
        value
        for row, found in zip(rows, differences, strict=True)
        for value in (*_interval(row), *found, 0.0)
    ]
    _scale(axes, min(ends), max(ends), narrow=narrow)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.axvline(0, color=MUTED, linewidth=0.8, zorder=1)
    low, high = axes.get_xlim()
    align = (
        "left" if -low < 0.2 * (high - low) else "right" if high < 0.2 * (high - low) else "center"
    )
    axes.annotate(
        _held_against(rows),
        (0, 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, 8),
        textcoords="offset points",
        ha=align,
        va="center",
        fontsize=8,
        color=MUTED,
        annotation_clip=False,
    )
    for place, (row, found) in enumerate(zip(rows, differences, strict=True)):
        _draw_control(axes, place, row, found, narrow=narrow)
        _write_names(axes, place, row, records, narrow=narrow)
    tips = {f"control-{place}": [_tip(row)] for place, row in enumerate(rows)}
    return Plate(figure, _caption(records, rows), tips)


def _interval(row: dict[str, Any]) -> tuple[float, float]:
    """Of the control's accuracy less the member's."""
    low, high = row.get("behind_interval") or (row["behind"], row["behind"])
    return -high, -low


def _differences(row: dict[str, Any], records: Records) -> list[float]:
    """Of trainings with the same seed, corrected as their mean is; none where a seed failed and
    they are no pairs.
    """
    member = member_of(row, records) or {}
    theirs, ours = member.get("accuracies") or [], row["accuracies"]
    if len(theirs) != len(ours) or row.get("failed") or member.get("failed"):
        return []
    raw = [control - compound for control, compound in zip(ours, theirs, strict=True)]
    shift = -row["behind"] - sum(raw) / len(raw)
    return [value + shift for value in raw]


def _scale(axes: Axes, low: float, high: float, *, narrow: bool) -> None:
    pad = max(0.06 * (high - low), 0.0005)
    axes.set_xlim(low - pad, high + pad)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))
    axes.grid(axis="x", color=RULE, linewidth=0.5)
    axes.xaxis.set_tick_params(length=0)
    axes.yaxis.set_major_locator(NullLocator())
    axes.spines["left"].set_visible(False)
    axes.annotate(
        f"points of {'' if narrow else 'test '}accuracy, less the compound member's",
        (1, 0),
        xycoords="axes fraction",
        xytext=(0, -24),
        textcoords="offset points",
        ha="right",
        va="top",
        color=MUTED,
        fontsize=8.5,
    )


def _tick(value: float) -> str:
    return "0" if abs(value) < 1e-9 else f"{100 * value:+.3g}".replace("-", "\N{MINUS SIGN}")


def _held_against(rows: list[dict[str, Any]]) -> str:
    names = sorted({row["against"].upper() for row in rows})
    return f"as good as {names[0] if len(names) == 1 else 'its member'}"


def _draw_control(
    axes: Axes, place: int, row: dict[str, Any], differences: list[float], *, narrow: bool
) -> None:
    colour, line = _COLOURS.get(row.get("verdict") or "", MUTED), place + 0.12 if narrow else place
    axes.plot(_interval(row), [line, line], color=colour, linewidth=1.4, zorder=3)
    axes.scatter(differences, [line + (0.22 if narrow else 0.26)] * len(differences), **SEED_DOT)
    marker, _ = MARKERS[kind_of(row)]
    axes.scatter(
        [-row["behind"]],
        [line],
        s=44,
        marker=marker,
        color=colour,
        linewidth=0,
        zorder=4,
        gid=f"control-{place}",
    )


def _write_names(
    axes: Axes, place: int, row: dict[str, Any], records: Records, *, narrow: bool
) -> None:
    """The rule and its FLOPs beside the member's; what came of it."""
    member, verdict = member_of(row, records), VERDICTS.get(row.get("verdict") or "", "")
    flops = (
        f"{row['flops'] / member['flops']:.2f}{TIMES} {row['against'].upper()}"
        if member
        else row["against"].upper()
    )
    if narrow:
        text = "\N{EM SPACE}".join(
            part for part in (label(row, 30), flops) if part
        )  # SVG shows several plain spaces as one
        _write(axes, text, place - 0.24, across=0, offset=0, align="left", size=7.5)
        _write(
            axes, verdict, place - 0.24, across=1, offset=0, align="right", size=7.5, colour=MUTED
        )
        return
    _write(axes, label(row, 30), place, across=0, offset=-228, align="left")
    _write(axes, flops, place, across=0, offset=-12, align="right", colour=MUTED)
    _write(axes, verdict, place, across=1, offset=8, align="left", size=8, colour=MUTED)


def _write(
    axes: Axes,
    text: str,
    line: float,
    *,
    across: int,
    offset: float,
    align: str,
    size: float = _WORDS,
    colour: str = INK,
) -> None:
    axes.annotate(
        text,
        (across, line),
        xycoords=("axes fraction", "data"),
        xytext=(offset, 0),
        textcoords="offset points",
        ha=align,
        va="center",
        fontsize=size,
        color=colour,
        annotation_clip=False,
        bbox={"facecolor": PAPER, "linewidth": 0, "pad": 1},
    )


def _tip(row: dict[str, Any]) -> str:
    seeds = ", ".join(percent(value) for value in row["accuracies"])
    behind = points(-row["behind"])
    return (
        f"{row['rule']}, {row['spec_id']}: {seeds}; {behind} points beside {row['against'].upper()}"
    )


def _caption(records: Records, rows: list[dict[str, Any]]) -> str:
    every = len(records.trained_controls)
    few = f" The best {len(rows)} are drawn." if len(rows) < every else ""
    names = joined_names(sorted({row["against"].upper() for row in rows}))
    images = rows[0]["images"]
    counts = {
        verdict: sum(row.get("verdict") == verdict for row in records.trained_controls)
        for verdict in _COLOURS
    }
    return (
        f"{counted(every, 'other way', 'other ways')} to spend about the FLOPs of {names}, the "
        f"best first.{few} Mark: mean "
        f"accuracy of the control on the {images:,} test images less that of the member it is "
        "held against, after what their "
        "difference in FLOPs is worth; line: its 95% interval, all controls together; dots below: "
        "differences of two trainings "
        f"with the same seed. Compound scaling is better beyond doubt than {counts['better']} "
        "(grey) and worse than "
        f"{counts['worse']} (orange); of {counts['tied']} (blue) it can't be told. Intervals "
        "cover the luck of training and "
        "the finite number of test images."
    )
