"""The drawing of one network: every block a box, and for each stage its properties and its FLOPs.

The kernel is shown by shade, the kind of block by the outline (`glyphs`) and in words above.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from matplotlib.axes import Axes

from phinas.reports.formatting import EN_DASH, format_count
from phinas.reports.network_diagram.columns import StageColumn
from phinas.reports.network_diagram.glyphs import draw_box, measure_text_width
from phinas.reports.network_diagram.scale import ELLIPSIS_WIDTH, GAP, Scale
from phinas.reports.palette import (
    BACKGROUND_COLOR,
    GRID_COLOR,
    MUTED_COLOR,
    PRIMARY_COLOR,
    TEXT_COLOR,
)
from phinas.space.block_kinds import BLOCK_KINDS

# heights in points
_LINE_HEIGHT = 13.0
_KIND_HEIGHT = 16.0
_SE_DOT_HEIGHT = 9.0
_SHORTCUT_HEIGHT = 18.0
_BAR_LABEL_HEIGHT = 20.0
_SHORT_NAMES = {"hard_swish": ("h-swish", "hsw")}
Interval = tuple[float, float]


def _compute_panel_heights(columns: Sequence[StageColumn], scale: Scale) -> tuple[float, float]:
    """Heights of the boxes and of the bars of one network."""
    boxes = [box for column in columns for box in column.boxes]
    return max(map(scale.box_height, boxes)), max(map(scale.bar_height, columns))


def compute_panel_height(columns: Sequence[StageColumn], scale: Scale) -> float:
    """The height of the drawing of one network in points."""
    return (
        _KIND_HEIGHT
        + _SE_DOT_HEIGHT
        + _SHORTCUT_HEIGHT
        + _LINE_HEIGHT * len(scale.rows)
        + _BAR_LABEL_HEIGHT
        + sum(_compute_panel_heights(columns, scale))
        + 16
    )


def draw_panel(
    axes: Axes, columns: Sequence[StageColumn], scale: Scale, *, top: float, width: float
) -> None:
    """Draw one network below `top`: kinds of block, boxes, text and bars."""
    column_widths = [scale.column_width(column) for column in columns]
    extra_width = (width - scale.label_width - sum(column_widths)) / len(columns)
    intervals, start = [], scale.label_width
    for column_width in column_widths:
        intervals.append((start, start + column_width + extra_width))
        start += column_width + extra_width
    _write_kinds(axes, columns, intervals, y=top - 8)
    box_height, bar_height = _compute_panel_heights(columns, scale)
    center_y = top - _KIND_HEIGHT - _SE_DOT_HEIGHT - box_height / 2
    _draw_boxes(axes, columns, intervals, scale, center_y=center_y)
    first_line = center_y - box_height / 2 - _SHORTCUT_HEIGHT
    _write_cells(axes, columns, intervals, scale, top=first_line)
    _draw_bars(
        axes,
        columns,
        intervals,
        scale,
        bottom=first_line - _LINE_HEIGHT * len(scale.rows) - _BAR_LABEL_HEIGHT - bar_height,
    )


def _group_equal(
    values: Sequence[str], intervals: Sequence[Interval]
) -> Iterator[tuple[str, float, float, int]]:
    """Equal neighbors as one: value, start, end, and their number."""
    for value, group in groupby(zip(values, intervals, strict=True), key=lambda pair: pair[0]):
        members = [interval for _, interval in group]
        yield value, members[0][0], members[-1][1], len(members)


def _write_kinds(
    axes: Axes, columns: Sequence[StageColumn], intervals: Sequence[Interval], *, y: float
) -> None:
    """The kind of block above each run of stages, in the longest word that fits."""
    for kind, start, end, _ in _group_equal([column.kind for column in columns], intervals):
        if kind not in BLOCK_KINDS:
            continue
        _write(
            axes,
            (start + end) / 2,
            y,
            _find_longest_fitting(BLOCK_KINDS[kind].labels, 8, max_width=end - start - 6),
            8,
        )
        axes.plot([start + 2, end - 2], [y - 7, y - 7], color=MUTED_COLOR, linewidth=0.6)


def _draw_boxes(
    axes: Axes,
    columns: Sequence[StageColumn],
    intervals: Sequence[Interval],
    scale: Scale,
    *,
    center_y: float,
) -> None:
    for column, (left, right) in zip(columns, intervals, strict=True):
        color, linestyle = (GRID_COLOR, "-") if column.boxes else (MUTED_COLOR, (0, (1.5, 2)))
        axes.plot(
            [left, right],
            [center_y, center_y],
            color=color,
            linewidth=0.8,
            zorder=1,
            linestyle=linestyle,
        )
        start = (left + right - scale.boxes_width(column)) / 2
        boxes = scale.visible_boxes(column)
        ellipsis_after = (len(boxes) + 1) // 2 if len(boxes) < len(column.boxes) else 0
        for number, box in enumerate(boxes, start=1):
            width = scale.box_width(box)
            draw_box(axes, box, start, center_y, width, scale.box_height(box))
            start += width + GAP
            if number == ellipsis_after:
                _write(axes, start + (ELLIPSIS_WIDTH - GAP) / 2, center_y + 3, "...", 8)
                start += ELLIPSIS_WIDTH


def _write_cells(
    axes: Axes,
    columns: Sequence[StageColumn],
    intervals: Sequence[Interval],
    scale: Scale,
    *,
    top: float,
) -> None:
    for line, row in enumerate(("stage", *scale.rows)):
        y = top - _LINE_HEIGHT * line
        axes.text(0, y, row, ha="left", va="center", fontsize=scale.label_size, color=MUTED_COLOR)
        values = [column.name if row == "stage" else scale.cell(column, row) for column in columns]
        if row == "activation":
            _write_runs(axes, values, intervals, scale, y=y)
            continue
        for value, (start, end) in zip(values, intervals, strict=True):
            _write(axes, (start + end) / 2, y, value, scale.size, bold=row == "stage")


def _write_runs(
    axes: Axes, values: Sequence[str], intervals: Sequence[Interval], scale: Scale, *, y: float
) -> None:
    """Words that several columns share, with a line across these columns."""
    for value, start, end, count in _group_equal(values, intervals):
        word = _find_longest_fitting(
            (value, *_SHORT_NAMES.get(value, ())), scale.size, max_width=end - start - 2
        )
        if count > 1 and value != EN_DASH:
            axes.plot([start + 4, end - 4], [y, y], color=GRID_COLOR, linewidth=0.8, zorder=1)
        _write(
            axes,
            (start + end) / 2,
            y,
            word,
            scale.size,
            background={"facecolor": BACKGROUND_COLOR, "linewidth": 0, "pad": 2.0},
        )


def _draw_bars(
    axes: Axes,
    columns: Sequence[StageColumn],
    intervals: Sequence[Interval],
    scale: Scale,
    *,
    bottom: float,
) -> None:
    axes.plot(
        [intervals[0][0], intervals[-1][1]], [bottom, bottom], color=GRID_COLOR, linewidth=0.8
    )
    axes.text(
        0, bottom + 5, "FLOPs", ha="left", va="center", fontsize=scale.label_size, color=MUTED_COLOR
    )
    for column, (start, end) in zip(columns, intervals, strict=True):
        if not column.flops:
            continue
        height = scale.bar_height(column)
        axes.bar(
            (start + end) / 2,
            height,
            min(26.0, 0.6 * (end - start)),
            bottom=bottom,
            color=PRIMARY_COLOR,
            linewidth=0,
            zorder=2,
        )
        percent_text = (
            f"{100 * column.flops_fraction:.0f}%" if column.flops_fraction >= 0.005 else "<1%"
        )
        text = format_count(column.flops) if scale.bars_show_flops else percent_text
        _write(axes, (start + end) / 2, bottom + height + 7, text, scale.size)


def _find_longest_fitting(alternatives: Sequence[str], size: float, *, max_width: float) -> str:
    """The first of the alternatives (longest first) that fits, or the last."""
    return next(
        (word for word in alternatives if measure_text_width(word, size) <= max_width),
        alternatives[-1],
    )


def _write(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    size: float,
    *,
    bold: bool = False,
    background: dict[str, Any] | None = None,
) -> None:
    """Text centered at a point, on a patch `background`."""
    color, weight = MUTED_COLOR if text == EN_DASH else TEXT_COLOR, "bold" if bold else "normal"
    axes.text(
        x,
        y,
        text,
        ha="center",
        va="center",
        fontsize=size,
        fontweight=weight,
        color=color,
        bbox=background,
    )
