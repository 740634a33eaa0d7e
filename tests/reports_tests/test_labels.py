"""Labels of marks: each is nearest to its own mark, and percent ticks are at their values."""

import itertools

import pytest

from phinas.reports.figure_export import make_figure, report_style
from phinas.reports.figures.axes import set_percent_scale
from phinas.reports.figures.labels import Label, place_labels


def place_test_labels(positions, *, optional=True):
    """The texts written next to marks at `places` (hundredths of a figure of 263 by 288 points)."""
    with report_style():
        axes = make_figure(4.0, compact=True).add_axes((0, 0, 1, 1))
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 100)
        labels = [Label(x, y, name, optional=optional) for name, (x, y) in positions.items()]
        place_labels(
            axes, labels, points=list(positions.values()), markers=list(positions.values())
        )
    return {
        text.get_text(): text.get_window_extent(axes.figure.canvas.get_renderer())
        for text in axes.texts
    }, axes


def test_separate_marks_are_all_labeled():
    assert set(
        place_test_labels({"depth": (20, 20), "width": (50, 50), "resolution": (80, 80)})[0]
    ) == {
        "depth",
        "width",
        "resolution",
    }


def test_marks_at_one_position_have_no_ambiguous_label():
    assert place_test_labels({"depth": (50, 50), "width": (50.4, 50.4)})[0] == {}
    assert set(
        place_test_labels({"depth": (50, 50), "width": (50.4, 50.4)}, optional=False)[0]
    ) == {
        "depth",
        "width",
    }


@pytest.mark.parametrize("step", [1.5, 3, 5, 8])
def test_a_label_is_nearest_to_its_own_mark(step):
    positions = {
        name: (50 + step * (index % 2), 30 + step * index) for index, name in enumerate("abcdef")
    }
    label_boxes, axes = place_test_labels(positions)
    for name, box in label_boxes.items():
        distances = {}
        for other, position in positions.items():
            x, y = axes.transData.transform(position)
            distances[other] = max(box.x0 - x, 0, x - box.x1) + max(box.y0 - y, 0, y - box.y1)
        assert min(distances, key=distances.get) == name
    assert not any(
        one.overlaps(other) for one, other in itertools.combinations(label_boxes.values(), 2)
    )


@pytest.mark.parametrize(
    ("low", "high"), [(0.88, 0.99), (0.5, 0.9), (0.9, 0.93), (0.1, 0.95), (0.97, 0.985)]
)
def test_a_percent_tick_is_at_its_value(low, high):
    with report_style():
        axes = make_figure(3.0, compact=True).add_axes((0, 0, 1, 1))
        set_percent_scale(axes, [low, high])
        axes.figure.canvas.draw()
        ticks = [
            (tick, text.get_text())
            for tick, text in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
        ]
    labeled_ticks = [(tick, text) for tick, text in ticks if text]
    assert len(labeled_ticks) >= 2
    assert all(abs(float(text.rstrip("%")) - 100 * tick) < 1e-6 for tick, text in labeled_ticks)
