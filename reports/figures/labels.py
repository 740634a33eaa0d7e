"""Labels beside what they name, instead of a legend: each takes the free place nearest to its
point.

Greedy: in the order given, every label tries places around its point and takes the one that hides
least.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

from phinas.reports.palette import INK, MUTED

_MARK = np.array(
    [(x, y) for x in (-3, 0, 3) for y in (-3, 0, 3)], dtype=float
)  # a mark's extent, in pixels
_APART = 2.0  # pixels that a mark has to be farther from an optional label than the one it names
_DISTANCES = (7, 12, 19, 28, 40, 55)
_NEAR = (5, 7, 9, 12)  # without a line to the point
Point = tuple[float, float]
_DIRECTIONS = tuple(math.radians(angle) for angle in (0, 180, 90, 270, 35, 145, 325, 215))


@dataclass(frozen=True, slots=True)
class Label:
    """text at the data point (x, y). optional: left out where it would hide something or seem to
    name another mark.
    """

    x: float
    y: float
    text: str
    colour: str = INK
    bold: bool = False
    size: float = 8.5
    optional: bool = False


def place_labels(
    axes: Axes,
    labels: Sequence[Label],
    *,
    points: Sequence[Point],
    lines: Sequence[Sequence[Point]] = (),
    marks: Sequence[Point] = (),
) -> None:
    """Write `labels` into `axes` (whose limits are final), clear of each other, of data points, of
    lines through points and of marks, which are some points wide."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    frame = axes.get_window_extent(renderer)
    occupied = [
        axes.transData.transform(np.array(line, dtype=float)) for line in lines if len(line) > 1
    ]
    wide = [axes.transData.transform(np.array(mark, dtype=float)) + _MARK for mark in marks]
    pixels = np.concatenate(
        [axes.transData.transform(np.array(points, dtype=float)), *map(_along, occupied), *wide]
    )
    taken: list[Bbox] = []
    for label in labels:
        weight = "bold" if label.bold else "normal"
        text = axes.annotate(
            label.text,
            (label.x, label.y),
            xytext=(0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            color=label.colour,
            fontsize=label.size,
            fontweight=weight,
            annotation_clip=False,
        )
        size = text.get_window_extent(renderer)
        anchor = axes.transData.transform((label.x, label.y))
        rivals = (
            [mark[4] for mark in wide if float(np.hypot(*(mark[4] - anchor))) > 1e-6]
            if label.optional
            else None
        )
        found = _best_place(
            anchor, size.width, size.height, frame=frame, taken=taken, points=pixels, rivals=rivals
        )
        if found is None:
            text.remove()
            continue
        box, shift, distance = found
        taken.append(box)
        text.set_position((float(shift[0]), float(shift[1])))
        if distance > 12:
            _lead(axes, anchor, box)


def _gap(box: Bbox, point: np.ndarray) -> float:
    """From a point to the nearest point of the box."""
    return float(
        np.hypot(
            max(box.x0 - point[0], 0, point[0] - box.x1),
            max(box.y0 - point[1], 0, point[1] - box.y1),
        )
    )


def _along(line: np.ndarray) -> np.ndarray:
    """Points every few pixels of a line through `line`."""
    pieces = []
    for start, end in pairwise(line):
        count = max(2, math.ceil(float(np.hypot(*(end - start))) / 5))
        pieces.append(start + (end - start) * np.linspace(0, 1, count)[:, None])
    return np.concatenate(pieces)


def _best_place(
    anchor: np.ndarray,
    width: float,
    height: float,
    *,
    frame: Bbox,
    taken: Sequence[Bbox],
    points: np.ndarray,
    rivals: Sequence[np.ndarray] | None,
) -> tuple[Bbox, np.ndarray, float] | None:
    """Where the label lies, its shift from the anchor, and how far that is. rivals: marks that it
    must not seem to name, and None where it hides anything; without them there is always a place.
    """
    best: tuple[float, Bbox, np.ndarray, float] | None = None
    for distance in _DISTANCES if rivals is None else _NEAR:
        for rank, angle in enumerate(_DIRECTIONS):
            direction = np.array([math.cos(angle), math.sin(angle)])
            shift = direction * (
                distance
                + np.array([width / 2, height / 2]) * np.abs(np.sign(np.round(direction, 6)))
            )
            centre = anchor + shift
            box = Bbox.from_extents(
                centre[0] - width / 2 - 1,
                centre[1] - height / 2 - 1,
                centre[0] + width / 2 + 1,
                centre[1] + height / 2 + 1,
            )
            hidden = _hidden(box, frame=frame, taken=taken, points=points)
            if rivals is not None and (
                hidden or any(_gap(box, rival) < _gap(box, anchor) + _APART for rival in rivals)
            ):
                continue
            price = 0.35 * distance + 0.3 * rank + hidden
            if best is None or price < best[0]:
                best = (price, box, shift, distance)
    return best and best[1:]


def _hidden(box: Bbox, *, frame: Bbox, taken: Sequence[Bbox], points: np.ndarray) -> float:
    """What a label in `box` would cost: points under it, labels under it, being cut off."""
    near = box.padded(2.5)
    inside = (
        (points[:, 0] > near.x0)
        & (points[:, 0] < near.x1)
        & (points[:, 1] > near.y0)
        & (points[:, 1] < near.y1)
    )
    outside = (
        box.x0 < frame.x0 or box.x1 > frame.x1 + 4 or box.y0 < frame.y0 or box.y1 > frame.y1 + 4
    )
    return (
        3.0 * float(inside.sum()) + 60 * sum(box.overlaps(other) for other in taken) + 200 * outside
    )


def _lead(axes: Axes, anchor: np.ndarray, box: Bbox) -> None:
    """A hairline from the point to the nearest point of its label's edge."""
    end = np.array([min(max(anchor[0], box.x0), box.x1), min(max(anchor[1], box.y0), box.y1)])
    length = float(np.hypot(*(end - anchor)))
    start = anchor + (end - anchor) * min(1.0, 5 / max(length, 1e-9))
    (x0, y0), (x1, y1) = axes.transData.inverted().transform([start, end])
    axes.plot([x0, x1], [y0, y1], color=MUTED, linewidth=0.5, zorder=2)
