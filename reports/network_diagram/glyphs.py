"""The marks of a drawn network: a box for each block, shaped by its kind, and the legend.

The outline is the width of what flows through the block: an MBConv widens and narrows, a fused one
starts wide, a bottleneck has a waist. A plain convolution is a plain box, a diagonal divides a
separable one, and a vertical line divides a basic block, which is two convolutions.
"""

from collections.abc import Sequence
from functools import lru_cache

from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch, Polygon
from matplotlib.path import Path
from matplotlib.textpath import TextPath

from phinas.reports.formatting import TIMES_SIGN
from phinas.reports.network_diagram.columns import BlockBox, StageColumn
from phinas.reports.palette import ACCENT_COLOR, BACKGROUND_COLOR, MUTED_COLOR, get_kernel_color
from phinas.space.block_kinds import BLOCK_KINDS
from phinas.space.block_kinds.block import Outline

_MARKER_NAMES = {"pool": f"3{TIMES_SIGN}3 max pooling", "linear": "classifier"}
LegendItem = tuple[str, BlockBox | None]


def measure_text_width(text: str, size: float) -> float:
    """The width of a text in points."""
    return size * _em_width(text)


@lru_cache(maxsize=1 << 14)
def _em_width(text: str) -> float:
    if not text.strip():
        return 0.0  # matplotlib fails on a path without a stroke
    path = TextPath((0, 0), text, size=10, prop=FontProperties(family="DejaVu Sans"))
    return float(path.get_extents().width) / 10


def draw_box(
    axes: Axes, box: BlockBox, left: float, center_y: float, width: float, height: float
) -> None:
    """Draw a box around `center_y`, with a dot (SE) above and an arc (shortcut) below."""
    is_hollow = box.kind == "pool"
    color = (
        BACKGROUND_COLOR
        if is_hollow
        else MUTED_COLOR
        if box.kind == "linear"
        else get_kernel_color(box.kernel)
    )
    outline = _get_outline(box.kind)
    corners = make_outline(outline, left, center_y, width, height)
    axes.add_patch(
        Polygon(
            corners,
            facecolor=color,
            edgecolor=MUTED_COLOR,
            linewidth=0.8 if is_hollow else 0,
            zorder=2,
        )
    )
    center, bottom, top = left + width / 2, center_y - height / 2, center_y + height / 2
    if outline in ("diagonal", "halves"):
        axes.plot(
            [left, left + width] if outline == "diagonal" else [center, center],
            [bottom, top],
            color=BACKGROUND_COLOR,
            linewidth=min(1.2, width / 4),
            zorder=3,
        )
    if box.se:
        axes.plot(
            [center],
            [top + 4.5],
            marker="o",
            markersize=min(3.0, 0.5 + 0.8 * width),
            color=ACCENT_COLOR,
            linewidth=0,
        )
    if box.shortcut:
        _draw_arc(axes, left, left + width, bottom - 1)


def _draw_arc(axes: Axes, left: float, right: float, top: float) -> None:
    curve = [
        (left - 0.4, top),
        ((left + right) / 2, top - min(8.0, 4 + 0.3 * (right - left))),
        (right + 0.4, top),
    ]
    path = Path(curve, [Path.MOVETO, Path.CURVE3, Path.CURVE3])
    axes.add_patch(
        PathPatch(path, facecolor="none", edgecolor=MUTED_COLOR, linewidth=0.7, zorder=2)
    )


def _get_outline(kind: str) -> Outline:
    return BLOCK_KINDS[kind].outline if kind in BLOCK_KINDS else "plain"


def make_outline(
    outline: Outline, left: float, center_y: float, width: float, height: float
) -> list[tuple[float, float]]:
    """Corners of a box. `slope_width` and `slope_height` are the extent of a slanting corner."""
    right, bottom, top = left + width, center_y - height / 2, center_y + height / 2
    slope_height = min(7.0, 0.3 * height)
    slope_width = min(5.0, width / 2)
    if outline == "widening":
        upper_half = [
            (left, top - slope_height),
            (left + slope_width, top),
            (right - slope_width, top),
            (right, top - slope_height),
        ]
    elif outline == "narrowing":
        upper_half = [
            (left, top),
            (right - 2 * slope_width if width < 10 else right - 5, top),
            (right, top - slope_height),
        ]
    elif outline == "waist":
        upper_half = [
            (left, top),
            (left + slope_width, top - slope_height),
            (right - slope_width, top - slope_height),
            (right, top),
        ]
    else:
        upper_half = [(left, top), (right, top)]
    return upper_half + [(x, bottom + top - y) for x, y in reversed(upper_half)]


def make_legend_lines(columns: Sequence[StageColumn], *, width: float) -> list[list[LegendItem]]:
    """The legend of the marks that occur, in lines of at most `width` points."""
    boxes = [box for column in columns for box in column.boxes]
    kinds = [
        kind
        for kind in BLOCK_KINDS
        if kind != "identity" and any(column.kind == kind for column in columns)
    ]
    kernels_of = {column.kind: column.kernel for column in reversed(columns)}
    items: list[LegendItem] = [
        (BLOCK_KINDS[kind].labels[0], BlockBox(kind, kernels_of[kind], 9, 9)) for kind in kinds
    ]
    by_color: dict[str, list[int]] = {}
    for kernel in sorted({box.kernel for box in boxes if box.kernel}):
        by_color.setdefault(get_kernel_color(kernel), []).append(kernel)
    items += [
        (", ".join(f"{k}{TIMES_SIGN}{k}" for k in kernels), BlockBox("conv", kernels[0], 9, 9))
        for kernels in by_color.values()
    ]
    items += [
        (name, BlockBox(kind, 0, 9, 9))
        for kind, name in _MARKER_NAMES.items()
        if any(box.kind == kind for box in boxes)
    ]
    if any(box.se for box in boxes):
        items.append(("squeeze-and-excitation", BlockBox("se", 0, 0, 0, se=True)))
    if any(box.shortcut for box in boxes):
        items.append(("shortcut", BlockBox("shortcut", 0, 0, 0, shortcut=True)))
    items += [("box height: root of resolution", None), ("box width: root of channels", None)]
    lines: list[list[LegendItem]] = [[]]
    line_width = 0.0
    for item in items:
        item_width = _measure_item_width(item)
        if lines[-1] and line_width + item_width > width:
            lines.append([])
            line_width = 0.0
        lines[-1].append(item)
        line_width += item_width
    return lines


def _measure_item_width(item: LegendItem) -> float:
    text, box = item
    return measure_text_width(text, 8) + (26 if box else 10)


def draw_legend(axes: Axes, lines: Sequence[Sequence[LegendItem]], *, top: float) -> None:
    for number, line in enumerate(lines):
        x, y = 0.0, top - 6 - 14 * number
        for item in line:
            text, box = item
            if box is not None and box.kind == "se":
                axes.plot([x + 5], [y], marker="o", markersize=3, color=ACCENT_COLOR, linewidth=0)
            elif box is not None and box.kind == "shortcut":
                _draw_arc(axes, x, x + 10, y + 2)
            elif box is not None:
                draw_box(axes, box, x, y, 10, 10)
            axes.text(
                x + (14 if box else 0),
                y,
                text,
                ha="left",
                va="center",
                fontsize=8,
                color=MUTED_COLOR,
            )
            x += _measure_item_width(item)
