"""Labels next to their points, instead of a legend.

Labels are placed greedily, in their order: each at the position around its point that covers least.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from phinas.reports.palette import MUTED_COLOR, TEXT_COLOR

# the extent of a mark in px
_MARKER_OFFSETS = np.array([(x, y) for x in (-3, 0, 3) for y in (-3, 0, 3)], dtype=float)
# px that any other mark must be farther from an optional label than its own
_MIN_CLEARANCE = 2.0
_DISTANCES = (7, 12, 19, 28, 40, 55)
_SHORT_DISTANCES = (5, 7, 9, 12)  # for labels without a line to the point
Point = tuple[float, float]
_DIRECTIONS = tuple(math.radians(angle) for angle in (0, 180, 90, 270, 35, 145, 325, 215))


@dataclass(frozen=True, slots=True)
class Label:
    """A text for the data point (x, y).

    An optional label is omitted where it would cover something or seem to name another mark.
    """

    x: float
    y: float
    text: str
    color: str = TEXT_COLOR
    bold: bool = False
    size: float = 8.5
    optional: bool = False


LabelsAndLines = tuple[list[Label], list[list[Point]]]  # what a group of marks needs and covers


def place_labels(
    axes: Axes,
    labels: Sequence[Label],
    *,
    points: Sequence[Point],
    lines: Sequence[Sequence[Point]] = (),
    markers: Sequence[Point] = (),
) -> None:
    """Write `labels` into `axes`, whose limits are final, so that they cover little.

    Args:
        points: Data points not to cover.
        lines: Lines through points not to cover.
        markers: Data points with marks of some width, not to cover.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    axes_box = axes.get_window_extent(renderer)
    line_pixels = [
        axes.transData.transform(np.array(line, dtype=float)) for line in lines if len(line) > 1
    ]
    marker_extents = [
        axes.transData.transform(np.array(marker, dtype=float)) + _MARKER_OFFSETS
        for marker in markers
    ]
    obstacles = np.concatenate(
        [
            axes.transData.transform(np.array(points, dtype=float)),
            *map(_sample_line, line_pixels),
            *marker_extents,
        ]
    )
    placed_boxes: list[Bbox] = []
    for label in labels:
        text = _write_label(axes, label)
        anchor = axes.transData.transform((label.x, label.y))
        size = text.get_window_extent(renderer)
        position = _find_best_position(
            anchor,
            size.width,
            size.height,
            axes_box=axes_box,
            placed_boxes=placed_boxes,
            points=obstacles,
            other_markers=_list_other_markers(anchor, marker_extents) if label.optional else None,
        )
        if position is None:
            text.remove()
            continue
        box, shift, distance = position
        placed_boxes.append(box)
        text.set_position((float(shift[0]), float(shift[1])))
        if distance > 12:
            _draw_leader_line(axes, anchor, box)


def _write_label(axes: Axes, label: Label) -> Annotation:
    """Write a label centered on its point."""
    return axes.annotate(
        label.text,
        (label.x, label.y),
        xytext=(0, 0),
        textcoords="offset points",
        ha="center",
        va="center",
        color=label.color,
        fontsize=label.size,
        fontweight="bold" if label.bold else "normal",
        annotation_clip=False,
    )


def _list_other_markers(
    anchor: np.ndarray, marker_extents: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """The centers of the marks that are not at the anchor."""
    centers = [extent[len(_MARKER_OFFSETS) // 2] for extent in marker_extents]
    return [center for center in centers if float(np.hypot(*(center - anchor))) > 1e-6]


def _compute_distance_to_box(box: Bbox, point: np.ndarray) -> float:
    """The distance from a point to a box."""
    return float(
        np.hypot(
            max(box.x0 - point[0], 0, point[0] - box.x1),
            max(box.y0 - point[1], 0, point[1] - box.y1),
        )
    )


def _sample_line(line: np.ndarray) -> np.ndarray:
    """Points at every few px of the line through `line`."""
    segments = []
    for start, end in pairwise(line):
        count = max(2, math.ceil(float(np.hypot(*(end - start))) / 5))
        segments.append(start + (end - start) * np.linspace(0, 1, count)[:, None])
    return np.concatenate(segments)


def _find_best_position(
    anchor: np.ndarray,
    width: float,
    height: float,
    *,
    axes_box: Bbox,
    placed_boxes: Sequence[Bbox],
    points: np.ndarray,
    other_markers: Sequence[np.ndarray] | None,
) -> tuple[Bbox, np.ndarray, float] | None:
    """The box of a label, its shift from the anchor, and the length of that.

    Args:
        other_markers: Marks that an optional label must not seem to name; None for other labels,
            which always have a position.
    """
    best: tuple[float, Bbox, np.ndarray, float] | None = None
    for distance in _DISTANCES if other_markers is None else _SHORT_DISTANCES:
        for rank, angle in enumerate(_DIRECTIONS):
            direction = np.array([math.cos(angle), math.sin(angle)])
            shift = direction * (
                distance
                + np.array([width / 2, height / 2]) * np.abs(np.sign(np.round(direction, 6)))
            )
            center = anchor + shift
            box = Bbox.from_extents(
                center[0] - width / 2 - 1,
                center[1] - height / 2 - 1,
                center[0] + width / 2 + 1,
                center[1] + height / 2 + 1,
            )
            overlap_cost = _compute_overlap_cost(
                box, axes_box=axes_box, placed_boxes=placed_boxes, points=points
            )
            if other_markers is not None and (
                overlap_cost
                or any(
                    _compute_distance_to_box(box, other)
                    < _compute_distance_to_box(box, anchor) + _MIN_CLEARANCE
                    for other in other_markers
                )
            ):
                continue
            score = 0.35 * distance + 0.3 * rank + overlap_cost
            if best is None or score < best[0]:
                best = (score, box, shift, distance)
    return best and best[1:]


def _compute_overlap_cost(
    box: Bbox, *, axes_box: Bbox, placed_boxes: Sequence[Bbox], points: np.ndarray
) -> float:
    """The cost of a label in `box`: covered points, covered labels, and being cut off."""
    padded_box = box.padded(2.5)
    is_covered = (
        (points[:, 0] > padded_box.x0)
        & (points[:, 0] < padded_box.x1)
        & (points[:, 1] > padded_box.y0)
        & (points[:, 1] < padded_box.y1)
    )
    is_outside = (
        box.x0 < axes_box.x0
        or box.x1 > axes_box.x1 + 4
        or box.y0 < axes_box.y0
        or box.y1 > axes_box.y1 + 4
    )
    return (
        3.0 * float(is_covered.sum())
        + 60 * sum(box.overlaps(other) for other in placed_boxes)
        + 200 * is_outside
    )


def _draw_leader_line(axes: Axes, anchor: np.ndarray, box: Bbox) -> None:
    """A thin line from the point to the nearest point of its label's edge."""
    end = np.array([min(max(anchor[0], box.x0), box.x1), min(max(anchor[1], box.y0), box.y1)])
    length = float(np.hypot(*(end - anchor)))
    start = anchor + (end - anchor) * min(1.0, 5 / max(length, 1e-9))
    (x0, y0), (x1, y1) = axes.transData.inverted().transform([start, end])
    axes.plot([x0, x1], [y0, y1], color=MUTED_COLOR, linewidth=0.5, zorder=2)
