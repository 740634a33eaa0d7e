"""The scale of the drawn networks: one for all networks of a figure, so that they are comparable.

The height of a box is proportional to the square root of its resolution, its width to the square
root of its channels: with linear sizes a network from 112 px to 7 px and from 16 to 1280 channels
would have very thin boxes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from phinas.reports.formatting import TIMES_SIGN
from phinas.reports.network_diagram.columns import BlockBox, StageColumn
from phinas.reports.network_diagram.glyphs import measure_text_width

GAP = 1.5  # points between boxes
ELLIPSIS_WIDTH = 9.0  # points of the ellipsis where a stage has more boxes than are drawn
_MAX_BOX_HEIGHT, _MAX_BAR_HEIGHT, _MIN_BOX_WIDTH = 112.0, 44.0, 1.6
_MIN_TEXT_SIZE, _PREFERRED_TEXT_SIZE = 4.0, 7.0
_PREFERRED_UNIT, _MIN_UNIT, _MAX_UNIT = 1.0, 0.2, 4.0


@dataclass(frozen=True, slots=True)
class Scale:
    """The scale of a figure.

    Attributes:
        unit: Points for the square root of a channel.
        max_resolution: The resolution in px that fills the height.
        max_bar_value: The value of the longest bar.
        bars_show_flops: Bars show FLOPs, else fractions of the network's FLOPs.
        max_boxes: Boxes of a stage at most.
        rows: Rows of text.
        size: Of the text in points.
        abbreviated: Texts are short: "5" for "5\N{MULTIPLICATION SIGN}5" and ".25" for "0.25".
    """

    unit: float
    max_resolution: int
    max_bar_value: float
    bars_show_flops: bool
    max_boxes: int
    rows: tuple[str, ...]
    size: float
    abbreviated: bool = False

    def box_width(self, box: BlockBox) -> float:
        return max(_MIN_BOX_WIDTH, self.unit * math.sqrt(box.width))

    def box_height(self, box: BlockBox) -> float:
        return _MAX_BOX_HEIGHT * math.sqrt(box.resolution / self.max_resolution)

    def bar_height(self, column: StageColumn) -> float:
        return (
            _MAX_BAR_HEIGHT
            * (column.flops if self.bars_show_flops else column.flops_fraction)
            / self.max_bar_value
        )

    def visible_boxes(self, column: StageColumn) -> tuple[BlockBox, ...]:
        """The boxes that are drawn: all, or the first and the last ones of many."""
        boxes, half = column.boxes, self.max_boxes // 2
        shows_all = len(boxes) <= self.max_boxes or column.kind in ("stem", "head")
        return (
            boxes if shows_all else (*boxes[: self.max_boxes - half], *boxes[len(boxes) - half :])
        )

    def boxes_width(self, column: StageColumn) -> float:
        boxes = self.visible_boxes(column)
        width = sum(self.box_width(box) + GAP for box in boxes) - GAP if boxes else 0.0
        return width + (ELLIPSIS_WIDTH if len(boxes) < len(column.boxes) else 0)

    def cell(self, column: StageColumn, row: str) -> str:
        text = column.cells[row]
        return text.partition(TIMES_SIGN)[0].removeprefix("0") if self.abbreviated else text

    def column_width(self, column: StageColumn) -> float:
        """Width of a column: that of its boxes or of its text, but for the activation, which
        several columns share.
        """
        texts = [column.name, "88.8M" if self.bars_show_flops else "100%"]
        texts += [self.cell(column, row) for row in self.rows if row != "activation"]
        return max(
            (2 if self.abbreviated else 4)
            + max(measure_text_width(text, self.size) for text in texts),
            7 + self.boxes_width(column),
        )

    @property
    def label_size(self) -> float:
        return min(8.0, self.size)

    @property
    def label_width(self) -> float:
        """Room for the names of the rows."""
        return 10 + max(measure_text_width(row, self.label_size) for row in (*self.rows, "FLOPs"))

    def width(self, networks: Sequence[Sequence[StageColumn]]) -> float:
        """The total width of the widest network."""
        return self.label_width + max(sum(map(self.column_width, columns)) for columns in networks)

    def with_largest_unit(
        self, networks: Sequence[Sequence[StageColumn]], max_width: float
    ) -> "Scale":
        """The scale with the largest unit at which every network fits."""
        low, high = 0.0, _MAX_UNIT
        for _ in range(24):
            middle = (low + high) / 2
            low, high = (
                (middle, high)
                if replace(self, unit=middle).width(networks) <= max_width
                else (low, middle)
            )
        return replace(self, unit=low)


def make_default_scale(
    networks: Sequence[Sequence[StageColumn]], rows: tuple[str, ...], *, compact: bool
) -> Scale:
    """The usual scale, before anything has to fit. The bars of one network show percentages, those
    of several networks show FLOPs.
    """
    columns = [column for network in networks for column in network]
    bars_show_flops = len(networks) > 1
    return Scale(
        unit=1.2,
        max_resolution=max(box.resolution for column in columns for box in column.boxes),
        max_bar_value=max(
            column.flops if bars_show_flops else column.flops_fraction for column in columns
        ),
        bars_show_flops=bars_show_flops,
        max_boxes=6 if compact else 24,
        rows=rows,
        size=7.5 if compact else 8.5,
    )


def fit_scale(default: Scale, networks: Sequence[Sequence[StageColumn]], max_width: float) -> Scale:
    """The scale at which every network fits into `max_width` points: large boxes in text of a good
    size if it can be; else in smaller text; else fewer boxes, or abbreviated text. The last resort
    may not fit."""
    sizes = [
        default.size - step / 4
        for step in range(math.floor(4 * (default.size - _MIN_TEXT_SIZE)) + 1)
    ]
    for size in sizes:
        scale = replace(default, size=size).with_largest_unit(networks, max_width)
        if scale.unit >= _PREFERRED_UNIT or (
            size <= _PREFERRED_TEXT_SIZE and scale.unit >= _MIN_UNIT
        ):
            return scale
    for abbreviated in (False, True):
        for size in sizes:
            for max_boxes in range(default.max_boxes, 0, -1):
                candidate = replace(
                    default, size=size, max_boxes=max_boxes, abbreviated=abbreviated, unit=_MIN_UNIT
                )
                if candidate.width(networks) <= max_width:
                    return candidate.with_largest_unit(networks, max_width)
    return replace(default, size=sizes[-1], max_boxes=1, abbreviated=True, unit=0.0)
