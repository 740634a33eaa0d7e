"""The baseline drawn from image to classes: every block a box, and under each stage what it is and its share of the FLOPs.

A box is as high as the square root of its map's side and as wide as the square root of its channels: linear boxes of a network
that goes from 112 pixels to 7 and from 16 channels to 1280 would be slivers.
"""

import math
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from reports.figures.frame import axes_of
from reports.palette import CHOSEN, FRONT, INK, MUTED, RULE, kernel_colour
from reports.plates import Plate, blank
from reports.records import Records
from reports.wording import TIMES, counted
from space.cost import cost, stage_costs
from space.spec import ArchSpec

DRAWN_BLOCKS = 5  # of a stage; more are told by the number below it
_BOXES, _LINE, _BARS = 112.0, 13.0, 46.0  # heights in points
_ROWS = ("kernel", "expansion", "SE", "width", "blocks", "side")


@dataclass(frozen=True, slots=True)
class Column:
    """A stage as it is drawn; `side` of its output, `share` of the network's FLOPs, `cells` for _ROWS."""

    name: str
    kernel: int
    width: int
    depth: int
    side: int
    se: bool
    share: float
    cells: tuple[str, ...]

    @property
    def drawn(self) -> int:
        return min(self.depth, DRAWN_BLOCKS)

    @property
    def need(self) -> float:
        """Width of its boxes, in units that `scale` of the drawing turns into points."""
        return self.drawn * math.sqrt(self.width)


def columns_of(spec: ArchSpec) -> list[Column]:
    """Stem, stages and head."""
    whole = cost(spec).flops
    first, *stages, last = stage_costs(spec)
    none = "\N{EN DASH}"
    columns = [_plain("stem", spec.stem_kernel, spec.stem_width, first.side, first.cost.flops / whole)]
    for row, stage in zip(stages, spec.stages, strict=True):
        cells = (
            f"{stage.kernel}{TIMES}{stage.kernel}", f"{stage.expansion:g}", f"{stage.se:g}" if stage.se else none,
            str(stage.width), str(stage.depth), str(row.side),
        )  # fmt: skip
        share = row.cost.flops / whole
        columns.append(Column(row.name, stage.kernel, stage.width, stage.depth, row.side, bool(stage.se), share, cells))
    return [*columns, _plain("head", 1, spec.head_width, stages[-1].side, last.cost.flops / whole)]


def _plain(name: str, kernel: int, width: int, side: int, share: float) -> Column:
    none = "\N{EN DASH}"
    cells = (f"{kernel}{TIMES}{kernel}", none, none, str(width), "1", str(side))
    return Column(name, kernel, width, 1, side, False, share, cells)


def draw(records: Records, *, narrow: bool) -> Plate | None:
    spec = records.spec
    if spec is None:
        return None
    columns = columns_of(spec)
    height = 16 + _BOXES + 18 + _LINE * len(_ROWS) + 26 + _BARS + 4
    figure = blank(height / 72, narrow=narrow)
    axes = axes_of(figure, left=0, right=0, top=0, bottom=0)
    width = 72 * figure.get_figwidth()
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    left = 44.0 if narrow else 70.0
    places = _places(columns, left=left, width=width - left - 2)
    size = max(4.0, min(7.5 if narrow else 8.5, min(right - start for start, right in places) / 3.1))
    _draw_boxes(axes, columns, places, middle=height - 16 - _BOXES / 2)
    top = height - 16 - _BOXES - 14
    _write_cells(axes, columns, places, top=top, size=size, left=0.0)
    _draw_bars(axes, columns, places, bottom=4.0, size=size)
    return Plate(figure, _caption(spec))


def _places(columns: list[Column], *, left: float, width: float) -> list[tuple[float, float]]:
    """Start and end of each column: half of the room evenly, half by what the boxes need."""
    total = sum(column.need for column in columns)
    places = []
    for column in columns:
        right = left + width * (0.5 / len(columns) + 0.5 * column.need / total)
        places.append((left, right))
        left = right
    return places


def _draw_boxes(axes: Axes, columns: list[Column], places: list[tuple[float, float]], *, middle: float) -> None:
    gap = 1.5
    scale = min(
        (0.88 * (right - left) - gap * column.drawn) / column.need
        for column, (left, right) in zip(columns, places, strict=True)
    )
    tallest = max(column.side for column in columns)
    axes.plot([places[0][0], places[-1][1]], [middle, middle], color=RULE, linewidth=0.8, zorder=1)
    for column, (left, right) in zip(columns, places, strict=True):
        wide, high = max(0.8, scale * math.sqrt(column.width)), _BOXES * math.sqrt(column.side / tallest)
        start = (left + right - column.drawn * wide - (column.drawn - 1) * gap) / 2
        for block in range(column.drawn):
            corner = (start + block * (wide + gap), middle - high / 2)
            axes.add_patch(Rectangle(corner, wide, high, facecolor=kernel_colour(column.kernel), linewidth=0, zorder=2))
            if column.se:
                axes.plot(
                    [corner[0] + wide / 2], [middle + high / 2 + 4.5], marker="o", markersize=3, color=CHOSEN, linewidth=0
                )
        if column.depth > column.drawn:
            axes.text((left + right) / 2, middle - high / 2 - 7, f"{TIMES}{column.depth}", ha="center", va="center", fontsize=7)


def _write_cells(
    axes: Axes, columns: list[Column], places: list[tuple[float, float]], *, top: float, size: float, left: float
) -> None:
    for column, (start, end) in zip(columns, places, strict=True):
        axes.text((start + end) / 2, top, column.name, ha="center", va="center", fontsize=size, fontweight="bold", color=INK)
        for row, cell in enumerate(column.cells, start=1):
            axes.text((start + end) / 2, top - _LINE * row, cell, ha="center", va="center", fontsize=size, color=INK)
    for row, name in enumerate(("stage", *_ROWS)):
        axes.text(left, top - _LINE * row, name, ha="left", va="center", fontsize=min(8.0, size), color=MUTED)


def _draw_bars(axes: Axes, columns: list[Column], places: list[tuple[float, float]], *, bottom: float, size: float) -> None:
    most = max(column.share for column in columns)
    axes.plot([places[0][0], places[-1][1]], [bottom, bottom], color=RULE, linewidth=0.8)
    axes.text(0, bottom + 5, "FLOPs", ha="left", va="center", fontsize=min(8.0, size), color=MUTED)
    for column, (start, end) in zip(columns, places, strict=True):
        wide = min(26.0, 0.6 * (end - start))
        high = _BARS * column.share / most
        axes.add_patch(Rectangle(((start + end - wide) / 2, bottom), wide, high, facecolor=FRONT, linewidth=0, zorder=2))
        text = f"{100 * column.share:.0f}%" if column.share >= 0.005 else "<1%"
        axes.text((start + end) / 2, bottom + high + 7, text, ha="center", va="center", fontsize=size, color=INK)


def _caption(spec: ArchSpec) -> str:
    seen = f"{spec.resolution}{TIMES}{spec.resolution} pixels"
    return (
        f"The baseline, from {seen} on the left to {counted(spec.classes, 'class', 'classes')} on the right; "
        "each box is a block. Height grows with the square root of its output's side, width with the square root of its "
        f"channels; darker blue is a larger kernel, grey a plain 1{TIMES}1 convolution; an orange dot marks "
        "squeeze-and-excitation (SE). Bars: share of the network's FLOPs."
    )
