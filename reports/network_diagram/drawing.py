"""Networks drawn from image to classes: every block a box, and under each stage what it is and its
share of the FLOPs.

Kernels are told by shade, kinds of block by the outline (`glyphs`) and in words above.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from phinas.reports.figure_export import blank
from phinas.reports.formatting import DASH, TIMES, counted, quantity
from phinas.reports.network_diagram.columns import NAMES, Column, columns_of, rows_of
from phinas.reports.network_diagram.glyphs import draw_box, draw_legend, legend_lines, text_width
from phinas.reports.network_diagram.scale import CUT, GAP, Scale, fitted, scale_of
from phinas.reports.palette import FRONT, INK, MUTED, PAPER, RULE
from phinas.space.cost import cost
from phinas.space.spec import ArchSpec

_LINE, _TITLE, _KINDS, _DOTS, _ARCS, _BAR_LABEL = (
    13.0,
    34.0,
    16.0,
    9.0,
    18.0,
    20.0,
)  # heights in points
_WIDEST = 10.5 * 72
_SHORTER = {"hard_swish": ("h-swish", "hsw")}
Place = tuple[float, float]


def draw_networks(
    networks: Sequence[tuple[str, ArchSpec]], *, narrow: bool = False, titled: bool = True
) -> Figure:
    """Named networks, one below the other. narrow: for a column of a page. titled: with their names
    and costs above.
    """
    shown = [columns_of(spec) for _, spec in networks]
    rows = rows_of(shown)
    usual = scale_of(shown, rows, narrow=narrow)
    margin, title = (10.0, _TITLE) if titled else (1.0, 0.0)
    figure = blank(1.0, narrow=narrow)
    width = 72 * figure.get_figwidth() - 2 * margin
    if titled:
        width = min(_WIDEST - 2 * margin, max(width, usual.width(shown)))
    scale = fitted(usual, shown, width)
    lines = legend_lines([column for columns in shown for column in columns], width=width)
    heights = [title + _panel_height(columns, scale) for columns in shown]
    top = sum(heights) + 14 * len(lines)
    figure.set_size_inches((width + 2 * margin) / 72, (top + 2 * margin) / 72)
    axes = figure.add_axes(
        (0, 0, 1, 1), xlim=(-margin, width + margin), ylim=(-margin, top + margin)
    )
    axes.set_axis_off()
    for (name, spec), columns, height in zip(networks, shown, heights, strict=True):
        if titled:
            _write_title(axes, name, spec, top=top, width=width)
        _draw_panel(axes, columns, scale, top=top - title, width=width)
        top -= height
    draw_legend(axes, lines, top=top)
    return figure


def _write_title(axes: Axes, name: str, spec: ArchSpec, *, top: float, width: float) -> None:
    """Name, and below it what goes in, what comes out and what it costs."""
    name = name if len(name) <= 200 else "..." + name[-197:]
    while 1.15 * text_width(name, 10.5) > width and len(name) > 8:
        name = "..." + name[8:]
    price = cost(spec)
    memory = quantity(price.inference_bytes())
    activations = {stage.activation or spec.activation for stage in spec.stages} | {spec.activation}
    facts = (
        f"{spec.resolution}{TIMES}{spec.resolution}{TIMES}{spec.channels} to "
        f"{counted(spec.classes, 'class', 'classes')}",
        f"{quantity(price.flops)} FLOPs",
        f"{quantity(price.params)} parameters",
        f"{quantity(price.activations)} activations",
        f"{memory[:-1]} {memory[-1]}B for inference",
        *(activations if len(activations) == 1 else ()),
    )
    axes.text(0, top - 6, name, ha="left", va="center", fontsize=10.5, fontweight="bold", color=INK)
    axes.text(0, top - 21, "   ".join(facts), ha="left", va="center", fontsize=8.5, color=MUTED)


def _rooms(columns: Sequence[Column], scale: Scale) -> tuple[float, float]:
    """Heights of the boxes and of the bars of one network."""
    boxes = [box for column in columns for box in column.boxes]
    return max(map(scale.box_height, boxes)), max(map(scale.bar_height, columns))


def _panel_height(columns: Sequence[Column], scale: Scale) -> float:
    return (
        _KINDS
        + _DOTS
        + _ARCS
        + _LINE * len(scale.rows)
        + _BAR_LABEL
        + sum(_rooms(columns, scale))
        + 16
    )


def _draw_panel(
    axes: Axes, columns: Sequence[Column], scale: Scale, *, top: float, width: float
) -> None:
    needs = [scale.need(column) for column in columns]
    spare = (width - scale.left - sum(needs)) / len(columns)
    places, start = [], scale.left
    for need in needs:
        places.append((start, start + need + spare))
        start += need + spare
    _write_kinds(axes, columns, places, y=top - 8)
    high, bars = _rooms(columns, scale)
    middle = top - _KINDS - _DOTS - high / 2
    _draw_boxes(axes, columns, places, scale, middle=middle)
    first_line = middle - high / 2 - _ARCS
    _write_cells(axes, columns, places, scale, top=first_line)
    _draw_bars(
        axes,
        columns,
        places,
        scale,
        bottom=first_line - _LINE * len(scale.rows) - _BAR_LABEL - bars,
    )


def _runs(
    values: Sequence[str], places: Sequence[Place]
) -> Iterator[tuple[str, float, float, int]]:
    """Neighbours alike as one: value, start, end, and how many they are."""
    for value, group in groupby(zip(values, places, strict=True), key=lambda pair: pair[0]):
        members = [place for _, place in group]
        yield value, members[0][0], members[-1][1], len(members)


def _write_kinds(
    axes: Axes, columns: Sequence[Column], places: Sequence[Place], *, y: float
) -> None:
    """The kind of block over each run of stages, in as long a word as there is room for."""
    for kind, start, end, _ in _runs([column.kind for column in columns], places):
        if kind not in NAMES:
            continue
        _write(axes, (start + end) / 2, y, _longest(NAMES[kind], 8, room=end - start - 6), 8)
        axes.plot([start + 2, end - 2], [y - 7, y - 7], color=MUTED, linewidth=0.6)


def _draw_boxes(
    axes: Axes, columns: Sequence[Column], places: Sequence[Place], scale: Scale, *, middle: float
) -> None:
    for column, (left, right) in zip(columns, places, strict=True):
        colour, dashes = (RULE, "-") if column.boxes else (MUTED, (0, (1.5, 2)))
        axes.plot(
            [left, right], [middle, middle], color=colour, linewidth=0.8, zorder=1, linestyle=dashes
        )
        start = (left + right - scale.boxes_width(column)) / 2
        boxes = scale.shown(column)
        cut = (len(boxes) + 1) // 2 if len(boxes) < len(column.boxes) else 0
        for number, box in enumerate(boxes, start=1):
            wide = scale.box_width(box)
            draw_box(axes, box, start, middle, wide, scale.box_height(box))
            start += wide + GAP
            if number == cut:
                _write(axes, start + (CUT - GAP) / 2, middle + 3, "...", 8)
                start += CUT


def _write_cells(
    axes: Axes, columns: Sequence[Column], places: Sequence[Place], scale: Scale, *, top: float
) -> None:
    for line, row in enumerate(("stage", *scale.rows)):
        y = top - _LINE * line
        axes.text(0, y, row, ha="left", va="center", fontsize=scale.label_size, color=MUTED)
        values = [column.name if row == "stage" else scale.cell(column, row) for column in columns]
        if row == "activation":
            _write_runs(axes, values, places, scale, y=y)
            continue
        for value, (start, end) in zip(values, places, strict=True):
            _write(axes, (start + end) / 2, y, value, scale.size, bold=row == "stage")


def _write_runs(
    axes: Axes, values: Sequence[str], places: Sequence[Place], scale: Scale, *, y: float
) -> None:
    """Words that several columns share, with a line to both sides as far as they hold."""
    for value, start, end, count in _runs(values, places):
        word = _longest((value, *_SHORTER.get(value, ())), scale.size, room=end - start - 2)
        if count > 1 and value != DASH:
            axes.plot([start + 4, end - 4], [y, y], color=RULE, linewidth=0.8, zorder=1)
        _write(
            axes,
            (start + end) / 2,
            y,
            word,
            scale.size,
            behind={"facecolor": PAPER, "linewidth": 0, "pad": 2.0},
        )


def _draw_bars(
    axes: Axes, columns: Sequence[Column], places: Sequence[Place], scale: Scale, *, bottom: float
) -> None:
    axes.plot([places[0][0], places[-1][1]], [bottom, bottom], color=RULE, linewidth=0.8)
    axes.text(
        0, bottom + 5, "FLOPs", ha="left", va="center", fontsize=scale.label_size, color=MUTED
    )
    for column, (start, end) in zip(columns, places, strict=True):
        if not column.flops:
            continue
        high = scale.bar_height(column)
        axes.bar(
            (start + end) / 2,
            high,
            min(26.0, 0.6 * (end - start)),
            bottom=bottom,
            color=FRONT,
            linewidth=0,
            zorder=2,
        )
        share = f"{100 * column.share:.0f}%" if column.share >= 0.005 else "<1%"
        text = quantity(column.flops) if scale.absolute else share
        _write(axes, (start + end) / 2, bottom + high + 7, text, scale.size)


def _longest(words: Sequence[str], size: float, *, room: float) -> str:
    """The first of ever shorter words that fits, or the last."""
    return next((word for word in words if text_width(word, size) <= room), words[-1])


def _write(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    size: float,
    *,
    bold: bool = False,
    behind: dict[str, Any] | None = None,
) -> None:
    """Text around a point. behind: the patch that it stands on."""
    colour, weight = MUTED if text == DASH else INK, "bold" if bold else "normal"
    axes.text(
        x,
        y,
        text,
        ha="center",
        va="center",
        fontsize=size,
        fontweight=weight,
        color=colour,
        bbox=behind,
    )
