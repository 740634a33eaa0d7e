"""The family's accuracy on the test split against FLOPs; members that were not trained are marked, not extrapolated to."""

from typing import Any

from matplotlib.axes import Axes

from reports.figures.frame import axes_of, cost_scale, name_axes, percent_scale
from reports.figures.labels import Label, place_labels
from reports.palette import FRONT, MUTED, PAPER, SEED_DOT
from reports.plates import Plate, blank
from reports.records import Records
from reports.wording import TIMES, counted, percent, quantity


def draw(records: Records, *, narrow: bool) -> Plate | None:
    trained, others = records.validated, [row for row in records.members if not row.get("validated")]
    if not trained:
        return None
    figure = blank(3.3 if narrow else 3.9, narrow=narrow)
    axes = axes_of(figure, left=32, right=14, top=26, bottom=42)
    cost_scale(axes, [row["flops"] for row in records.members], narrow=narrow)
    low, high = axes.get_xlim()
    axes.set_xlim(low * (low / high) ** 0.09, high)  # room for B0's label left of its bar
    values = [value for row in trained for value in (*row["interval"], *row["accuracies"])]
    percent_scale(axes, values)
    if others:
        _mark_untrained(axes, others)
    name_axes(axes, across="FLOPs of the member (log scale)", up="accuracy on the test split")
    x, y = [row["flops"] for row in trained], [row["accuracy"] for row in trained]
    axes.plot(x, y, color=FRONT, linewidth=1.2, zorder=2)
    for row in trained:
        axes.plot([row["flops"]] * 2, row["interval"], color=FRONT, linewidth=1.2, zorder=2)
        axes.scatter([row["flops"]] * len(row["accuracies"]), row["accuracies"], **SEED_DOT)
    axes.scatter(x, y, s=34, color=FRONT, linewidth=0, zorder=4, gid="trained")
    labels = [Label(row["flops"], row["accuracy"], _name(row, narrow=narrow), FRONT) for row in trained]
    bars = [[(row["flops"], end) for end in row["interval"]] for row in trained]
    curve = list(zip(x, y, strict=True))
    place_labels(axes, labels, points=curve, lines=[curve, *bars])
    return Plate(figure, _caption(records, trained, others), {"trained": [_tip(row) for row in trained]})


def _name(row: dict[str, Any], *, narrow: bool) -> str:
    return row["name"].upper() if narrow else f"{row['name'].upper()} {percent(row['accuracy'])}"


def _mark_untrained(axes: Axes, others: list[dict[str, Any]]) -> None:
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
            row["name"].upper(), (row["flops"], bottom), xytext=(0, 9), textcoords="offset points", ha="center", va="center",
            fontsize=8, color=MUTED,
        )  # fmt: skip
    middle = (min(place) * max(place)) ** 0.5
    axes.annotate(
        "not validated", (middle, bottom), xytext=(0, 20), textcoords="offset points", ha="center", va="center", fontsize=8,
        color=MUTED,
    )  # fmt: skip


def _tip(row: dict[str, Any]) -> str:
    low, high = row["interval"]
    return (
        f"{row['name'].upper()}, {row['spec_id']}: {percent(row['accuracy'])} (95%: {percent(low)} to {percent(high)}) "
        f"at {quantity(row['flops'])} FLOPs, {row['ratio']:.2f}{TIMES} B0"
    )


def _caption(records: Records, trained: list[dict[str, Any]], others: list[dict[str, Any]]) -> str:
    seeds = max(len(row["accuracies"]) for row in trained)
    images = trained[0]["images"]
    epochs = records.config.validation.recipe.epochs
    text = (
        f"Top-1 accuracy on the {images:,} test images, which nothing before this saw, after {counted(epochs, 'epoch')}. "
        f"Blue dot: mean of {counted(seeds, 'training')} (small dots). Bar: the 95% interval (Wilson) that {images:,} images "
        "leave; the luck of training is not in it, and all members are measured on the same images."
    )
    if others:
        text += f" Hollow on the axis: {counted(len(others), 'member')} whose FLOPs are known and whose accuracy is not."
    return text
