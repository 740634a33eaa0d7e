"""The family's accuracy on the test split against FLOPs: trained members, the curve through them
and what it predicts of the others, and the controls beside the member that they are held against.
What is predicted is hollow and dashed, what nothing is known of is marked on the axis."""

from typing import Any

from matplotlib.axes import Axes

from phinas.reports.controls import MARKERS, kind_of, label
from phinas.reports.figure_export import Plate, blank
from phinas.reports.figures.axes import axes_of, cost_scale, name_axes, percent_scale
from phinas.reports.figures.family_caption import caption
from phinas.reports.figures.labels import Label, Point, place_labels
from phinas.reports.formatting import TIMES, percent, quantity
from phinas.reports.palette import FRONT, INK, MUTED, PAPER, SEED_DOT, SHADE
from phinas.reports.run_data import Records

Marks = tuple[list[Label], list[list[Point]]]
_DASHED = (0, (3, 2))


def draw(records: Records, *, narrow: bool) -> Plate | None:
    trained = records.validated
    if not trained:
        return None
    figure = blank(3.6 if narrow else 4.6, narrow=narrow)
    axes = axes_of(figure, left=32, right=14, top=26, bottom=42)
    controls = records.trained_controls
    cost_scale(axes, [row["flops"] for row in (*records.members, *controls)], narrow=narrow)
    low, high = axes.get_xlim()
    axes.set_xlim(
        low * (low / high) ** 0.09, high * (high / low) ** 0.03
    )  # room for labels beside the outer bars
    percent_scale(axes, _heights(records))
    name_axes(axes, across="FLOPs of the network (log scale)", up="accuracy on the test split")
    if records.unknown:
        _mark_unknown(axes, records.unknown)
    labels: list[Label] = []
    lines: list[list[Point]] = []
    lines.append(_draw_curve(axes, records))
    for mark in (_mark_trained, _mark_predicted, _mark_controls):
        more_labels, more_lines = mark(axes, records, narrow=narrow)
        labels += more_labels
        lines += more_lines
    marks = [(row["flops"], row["accuracy"]) for row in (*trained, *controls)]
    marks += [(row["flops"], row["prediction"]["accuracy"]) for row in records.predicted]
    place_labels(axes, labels, points=marks, lines=lines, marks=marks)
    tips = {
        "trained": [_tip(row) for row in trained],
        "predicted": [_predicted_tip(row) for row in records.predicted],
    }
    tips |= {f"rival-{place}": [_control_tip(row)] for place, row in enumerate(controls)}
    return Plate(figure, caption(records), tips)


def _heights(records: Records) -> list[float]:
    """Every accuracy that has to be inside the axes."""
    values = [
        value for row in records.validated for value in (*row["interval"], *row["accuracies"])
    ]
    values += [value for row in records.predicted for value in row["prediction"]["interval"]]
    return values + [
        value for row in records.trained_controls for value in (row["accuracy"], *row["accuracies"])
    ]


def _draw_curve(axes: Axes, records: Records) -> list[Point]:
    """The law with its band, dashed beyond the largest trained; without a law a line from one
    member to the next.
    """
    trained = records.validated
    if not records.curve:
        line = [(row["flops"], row["accuracy"]) for row in trained]
        axes.plot(*zip(*line, strict=True), color=FRONT, linewidth=1.2, zorder=2)
        return line
    band = records.curve["band"]
    lows, highs = zip(*(point["interval"] for point in band), strict=True)
    axes.fill_between(
        [point["flops"] for point in band],
        lows,
        highs,
        color=SHADE,
        linewidth=0,
        zorder=0,
        gid="band",
    )
    line = [(point["flops"], point["accuracy"]) for point in band]
    last = trained[-1]["flops"]
    inside, beyond = (
        [point for point in line if point[0] <= last],
        [point for point in line if point[0] >= last],
    )
    axes.plot(
        *zip(*(inside + beyond[:1]), strict=True), color=FRONT, linewidth=1.2, zorder=2, gid="curve"
    )
    if len(beyond) > 1:
        axes.plot(
            *zip(*beyond, strict=True),
            color=FRONT,
            linewidth=1,
            linestyle=_DASHED,
            zorder=2,
            gid="curve-beyond",
        )
    return line


def _mark_trained(axes: Axes, records: Records, *, narrow: bool) -> Marks:
    trained = records.validated
    for row in trained:
        axes.plot([row["flops"]] * 2, row["interval"], color=FRONT, linewidth=1.2, zorder=2)
        axes.scatter([row["flops"]] * len(row["accuracies"]), row["accuracies"], **SEED_DOT)
    x, y = [row["flops"] for row in trained], [row["accuracy"] for row in trained]
    axes.scatter(x, y, s=34, color=FRONT, linewidth=0, zorder=4, gid="trained")
    labels = [
        Label(row["flops"], row["accuracy"], _name(row, row, narrow=narrow), FRONT)
        for row in trained
    ]
    return labels, [[(row["flops"], end) for end in row["interval"]] for row in trained]


def _mark_predicted(axes: Axes, records: Records, *, narrow: bool) -> Marks:
    rows = records.predicted
    labels, bars = [], []
    for row in rows:
        found, x = row["prediction"], row["flops"]
        axes.plot([x, x], found["interval"], color=FRONT, linewidth=1, linestyle=_DASHED, zorder=2)
        bars.append([(x, end) for end in found["interval"]])
        labels.append(Label(x, found["accuracy"], _name(row, found, narrow=narrow), MUTED))
    if rows:
        middle = rows[len(rows) // 2]
        labels.append(
            Label(middle["flops"], middle["prediction"]["interval"][1], "predicted", MUTED, size=8)
        )
    x, y = [row["flops"] for row in rows], [row["prediction"]["accuracy"] for row in rows]
    axes.scatter(
        x, y, s=34, facecolor=PAPER, edgecolor=FRONT, linewidth=1.1, zorder=4, gid="predicted"
    )
    return labels, bars


def _mark_controls(axes: Axes, records: Records, *, narrow: bool) -> Marks:
    """A marker a kind, and names where they can't be misread: all stand in the figure of controls,
    by the same markers.
    """
    rows = records.trained_controls
    for place, row in enumerate(rows):
        marker, _ = MARKERS[kind_of(row)]
        axes.scatter(
            [row["flops"]],
            [row["accuracy"]],
            s=30,
            marker=marker,
            facecolor=MUTED,
            edgecolor=PAPER,
            linewidth=0.6,
            zorder=6,
            gid=f"rival-{place}",
        )
    words = [label(row, 16 if narrow else 28, brief=True) for row in rows]
    return [
        Label(r["flops"], r["accuracy"], w, INK, size=8, optional=True)
        for r, w in zip(rows, words, strict=True)
    ], []


def _name(row: dict[str, Any], found: dict[str, Any], *, narrow: bool) -> str:
    return row["name"].upper() if narrow else f"{row['name'].upper()} {percent(found['accuracy'])}"


def _mark_unknown(axes: Axes, others: list[dict[str, Any]]) -> None:
    """Hollow marks on the axis, where no accuracy is to be read."""
    low, high = axes.get_ylim()
    axes.set_ylim(low - 0.13 * (high - low), high)
    bottom = axes.get_ylim()[0]
    place = [row["flops"] for row in others]
    axes.scatter(
        place,
        [bottom] * len(place),
        s=34,
        facecolor=PAPER,
        edgecolor=MUTED,
        linewidth=1,
        zorder=5,
        clip_on=False,
        gid="untrained",
    )
    for row in others:
        axes.annotate(
            row["name"].upper(),
            (row["flops"], bottom),
            xytext=(0, 9),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=8,
            color=MUTED,
        )
    middle = (min(place) * max(place)) ** 0.5
    axes.annotate(
        "not validated",
        (middle, bottom),
        xytext=(0, 20),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=8,
        color=MUTED,
    )


def _tip(row: dict[str, Any]) -> str:
    low, high = row["interval"]
    return (
        f"{row['name'].upper()}, {row['spec_id']}: {percent(row['accuracy'])} (95%: "
        f"{percent(low)} to {percent(high)}) "
        f"at {quantity(row['flops'])} FLOPs, {row['ratio']:.2f}{TIMES} B0"
    )


def _predicted_tip(row: dict[str, Any]) -> str:
    found = row["prediction"]
    low, high = found["interval"]
    return (
        f"{row['name'].upper()}, not trained: {percent(found['accuracy'])} is predicted (95%: "
        f"{percent(low)} to "
        f"{percent(high)}) at {quantity(row['flops'])} FLOPs, {found['beyond']:.2f} times the "
        "largest trained network's"
    )


def _control_tip(row: dict[str, Any]) -> str:
    return (
        f"{row['rule']}, {row['spec_id']}: {percent(row['accuracy'])} at "
        f"{quantity(row['flops'])} FLOPs"
    )
