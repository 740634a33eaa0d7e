"""How large a network is drawn: one scale for all networks of a figure, so that they can be
compared by eye.

A box is as high as the square root of its map's side and as wide as the square root of its
channels: linear boxes of a network that goes from 112 pixels to 7 and from 16 channels to 1280
would be slivers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from phinas.reports.formatting import TIMES
from phinas.reports.network_diagram.columns import Box, Column
from phinas.reports.network_diagram.glyphs import text_width

GAP, CUT = 1.5, 9.0  # points between boxes, and where a stage has more boxes than are drawn
_BOXES, _BARS, _THINNEST = 112.0, 44.0, 1.6
_SMALLEST_TEXT, _GOOD_TEXT = 4.0, 7.0
_GOOD_UNIT, _LEAST_UNIT, _MOST_UNIT = 1.0, 0.2, 4.0


@dataclass(frozen=True, slots=True)
class Scale:
    """unit: points for the square root of a channel. tallest: the side that fills the height. most:
    what the longest bar tells, FLOPs if `absolute`, else a share of them. drawn: at most so many
    boxes of a stage. rows of text, and its size.
    terse: text without what can be guessed, "5" for "5\N{MULTIPLICATION SIGN}5" and ".25" for
    "0.25"."""

    unit: float
    tallest: int
    most: float
    absolute: bool
    drawn: int
    rows: tuple[str, ...]
    size: float
    terse: bool = False

    def box_width(self, box: Box) -> float:
        return max(_THINNEST, self.unit * math.sqrt(box.width))

    def box_height(self, box: Box) -> float:
        return _BOXES * math.sqrt(box.side / self.tallest)

    def bar_height(self, column: Column) -> float:
        return _BARS * (column.flops if self.absolute else column.share) / self.most

    def shown(self, column: Column) -> tuple[Box, ...]:
        """The boxes that are drawn: of too many, the first ones and the last."""
        boxes, half = column.boxes, self.drawn // 2
        whole = len(boxes) <= self.drawn or column.kind in ("stem", "head")
        return boxes if whole else (*boxes[: self.drawn - half], *boxes[len(boxes) - half :])

    def boxes_width(self, column: Column) -> float:
        boxes = self.shown(column)
        wide = sum(self.box_width(box) + GAP for box in boxes) - GAP if boxes else 0.0
        return wide + (CUT if len(boxes) < len(column.boxes) else 0)

    def cell(self, column: Column, row: str) -> str:
        text = column.cells[row]
        return text.partition(TIMES)[0].removeprefix("0") if self.terse else text

    def need(self, column: Column) -> float:
        """Width of a column: its boxes or its text, the activation aside, which is written over
        several.
        """
        words = [column.name, "88.8M" if self.absolute else "100%"]
        words += [self.cell(column, row) for row in self.rows if row != "activation"]
        return max(
            (2 if self.terse else 4) + max(text_width(word, self.size) for word in words),
            7 + self.boxes_width(column),
        )

    @property
    def label_size(self) -> float:
        return min(8.0, self.size)

    @property
    def left(self) -> float:
        """Room for the names of the rows."""
        return 10 + max(text_width(row, self.label_size) for row in (*self.rows, "FLOPs"))

    def width(self, networks: Sequence[Sequence[Column]]) -> float:
        """What the widest of the networks needs in all."""
        return self.left + max(sum(map(self.need, columns)) for columns in networks)

    def widened(self, networks: Sequence[Sequence[Column]], room: float) -> "Scale":
        """With the largest unit at which every network fits."""
        low, high = 0.0, _MOST_UNIT
        for _ in range(24):
            middle = (low + high) / 2
            low, high = (
                (middle, high)
                if replace(self, unit=middle).width(networks) <= room
                else (low, middle)
            )
        return replace(self, unit=low)


def scale_of(networks: Sequence[Sequence[Column]], rows: tuple[str, ...], *, narrow: bool) -> Scale:
    """The usual scale, before anything has to fit. Of one network the bars tell shares, of several
    FLOPs.
    """
    columns = [column for network in networks for column in network]
    absolute = len(networks) > 1
    return Scale(
        unit=1.2,
        tallest=max(box.side for column in columns for box in column.boxes),
        most=max(column.flops if absolute else column.share for column in columns),
        absolute=absolute,
        drawn=6 if narrow else 24,
        rows=rows,
        size=7.5 if narrow else 8.5,
    )


def fitted(usual: Scale, networks: Sequence[Sequence[Column]], room: float) -> Scale:
    """The scale at which every network fits into `room` points: large boxes in text of a good size
    if it can be; else in smaller text; else fewer boxes, or terse text. The last resort may not
    fit."""
    sizes = [
        usual.size - step / 4 for step in range(math.floor(4 * (usual.size - _SMALLEST_TEXT)) + 1)
    ]
    for size in sizes:
        found = replace(usual, size=size).widened(networks, room)
        if found.unit >= _GOOD_UNIT or (size <= _GOOD_TEXT and found.unit >= _LEAST_UNIT):
            return found
    for terse in (False, True):
        for size in sizes:
            for drawn in range(usual.drawn, 0, -1):
                least = replace(usual, size=size, drawn=drawn, terse=terse, unit=_LEAST_UNIT)
                if least.width(networks) <= room:
                    return least.widened(networks, room)
    return replace(usual, size=sizes[-1], drawn=1, terse=True, unit=0.0)
