"""The marks of a drawn network: a box for a block, told by its outline, and the legend of those
that occur.

The outline is the width of what flows through the block: an MBConv widens and narrows, a fused one
starts wide, a bottleneck has a waist, a plain convolution is a plain box, and a separable one is a
box in two parts.
"""

from collections.abc import Sequence
from functools import lru_cache

from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch, Polygon
from matplotlib.path import Path
from matplotlib.textpath import TextPath

from phinas.reports.formatting import TIMES
from phinas.reports.network_diagram.columns import NAMES, Box, Column
from phinas.reports.palette import CHOSEN, MUTED, PAPER, kernel_colour

_MARKS = {"pool": f"3{TIMES}3 max pooling", "linear": "classifier"}
Item = tuple[str, Box | None]


def text_width(text: str, size: float) -> float:
    """In points."""
    return size * _em_width(text)


@lru_cache(maxsize=1 << 14)
def _em_width(text: str) -> float:
    if not text.strip():
        return 0.0  # matplotlib fails on a path without a stroke
    path = TextPath((0, 0), text, size=10, prop=FontProperties(family="DejaVu Sans"))
    return float(path.get_extents().width) / 10


def draw_box(axes: Axes, box: Box, left: float, middle: float, wide: float, high: float) -> None:
    """One box around the line `middle`, with its dot (SE) above and its arc (shortcut) below."""
    hollow = box.kind == "pool"
    colour = PAPER if hollow else MUTED if box.kind == "linear" else kernel_colour(box.kernel)
    corners = outline(box.kind, left, middle, wide, high)
    axes.add_patch(
        Polygon(
            corners, facecolor=colour, edgecolor=MUTED, linewidth=0.8 if hollow else 0, zorder=2
        )
    )
    centre, bottom, top = left + wide / 2, middle - high / 2, middle + high / 2
    if box.kind == "separable":
        axes.plot(
            [left, left + wide], [bottom, top], color=PAPER, linewidth=min(1.2, wide / 4), zorder=3
        )
    if box.se:
        axes.plot(
            [centre],
            [top + 4.5],
            marker="o",
            markersize=min(3.0, 0.5 + 0.8 * wide),
            color=CHOSEN,
            linewidth=0,
        )
    if box.shortcut:
        _draw_arc(axes, left, left + wide, bottom - 1)


def _draw_arc(axes: Axes, left: float, right: float, top: float) -> None:
    curve = [
        (left - 0.4, top),
        ((left + right) / 2, top - min(8.0, 4 + 0.3 * (right - left))),
        (right + 0.4, top),
    ]
    path = Path(curve, [Path.MOVETO, Path.CURVE3, Path.CURVE3])
    axes.add_patch(PathPatch(path, facecolor="none", edgecolor=MUTED, linewidth=0.7, zorder=2))


def outline(
    kind: str, left: float, middle: float, wide: float, high: float
) -> list[tuple[float, float]]:
    """Corners of a box; `run` and `fall` are how far a slanting corner goes across and down."""
    right, low, top = left + wide, middle - high / 2, middle + high / 2
    fall = min(7.0, 0.3 * high)
    run = min(5.0, wide / 2)
    if kind == "mbconv":
        half = [(left, top - fall), (left + run, top), (right - run, top), (right, top - fall)]
    elif kind == "fused_mbconv":
        half = [
            (left, top),
            (right - 2 * run if wide < 10 else right - 5, top),
            (right, top - fall),
        ]
    elif kind == "bottleneck":
        half = [(left, top), (left + run, top - fall), (right - run, top - fall), (right, top)]
    else:
        half = [(left, top), (right, top)]
    return half + [(x, low + top - y) for x, y in reversed(half)]


def legend_lines(columns: Sequence[Column], *, width: float) -> list[list[Item]]:
    """What occurs, in lines of at most `width` points."""
    boxes = [box for column in columns for box in column.boxes]
    kinds = [
        kind
        for kind in NAMES
        if kind != "identity" and any(column.kind == kind for column in columns)
    ]
    kernels_of = {column.kind: column.kernel for column in reversed(columns)}
    items: list[Item] = [(NAMES[kind][0], Box(kind, kernels_of[kind], 9, 9)) for kind in kinds]
    by_colour: dict[str, list[int]] = {}
    for kernel in sorted({box.kernel for box in boxes if box.kernel}):
        by_colour.setdefault(kernel_colour(kernel), []).append(kernel)
    items += [
        (", ".join(f"{k}{TIMES}{k}" for k in kernels), Box("conv", kernels[0], 9, 9))
        for kernels in by_colour.values()
    ]
    items += [
        (name, Box(kind, 0, 9, 9))
        for kind, name in _MARKS.items()
        if any(box.kind == kind for box in boxes)
    ]
    if any(box.se for box in boxes):
        items.append(("squeeze-and-excitation", Box("se", 0, 0, 0, se=True)))
    if any(box.shortcut for box in boxes):
        items.append(("shortcut", Box("shortcut", 0, 0, 0, shortcut=True)))
    items += [("box height: root of side", None), ("box width: root of channels", None)]
    lines: list[list[Item]] = [[]]
    used = 0.0
    for item in items:
        need = _item_width(item)
        if lines[-1] and used + need > width:
            lines.append([])
            used = 0.0
        lines[-1].append(item)
        used += need
    return lines


def _item_width(item: Item) -> float:
    text, box = item
    return text_width(text, 8) + (26 if box else 10)


def draw_legend(axes: Axes, lines: Sequence[Sequence[Item]], *, top: float) -> None:
    for number, line in enumerate(lines):
        x, y = 0.0, top - 6 - 14 * number
        for item in line:
            text, box = item
            if box is not None and box.kind == "se":
                axes.plot([x + 5], [y], marker="o", markersize=3, color=CHOSEN, linewidth=0)
            elif box is not None and box.kind == "shortcut":
                _draw_arc(axes, x, x + 10, y + 2)
            elif box is not None:
                draw_box(axes, box, x, y, 10, 10)
            axes.text(
                x + (14 if box else 0), y, text, ha="left", va="center", fontsize=8, color=MUTED
            )
            x += _item_width(item)
