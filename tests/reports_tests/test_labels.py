"""Labels beside marks: none seems to name another mark, and percent ticks are the values they stand
at.
"""

import itertools

import pytest

from phinas.reports.figure_export import blank, styled
from phinas.reports.figures.axes import percent_scale
from phinas.reports.figures.labels import Label, place_labels


def labelled(places, *, optional=True):
    """The texts written beside marks at `places` (hundredths of a figure of 263 by 288 points)."""
    with styled():
        axes = blank(4.0, narrow=True).add_axes((0, 0, 1, 1))
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 100)
        labels = [Label(x, y, name, optional=optional) for name, (x, y) in places.items()]
        place_labels(axes, labels, points=list(places.values()), marks=list(places.values()))
    return {
        text.get_text(): text.get_window_extent(axes.figure.canvas.get_renderer())
        for text in axes.texts
    }, axes


def test_marks_apart_are_all_named():
    assert set(labelled({"depth": (20, 20), "width": (50, 50), "resolution": (80, 80)})[0]) == {
        "depth",
        "width",
        "resolution",
    }


def test_of_marks_in_one_place_neither_is_named_for_both():
    assert labelled({"depth": (50, 50), "width": (50.4, 50.4)})[0] == {}
    assert set(labelled({"depth": (50, 50), "width": (50.4, 50.4)}, optional=False)[0]) == {
        "depth",
        "width",
    }


@pytest.mark.parametrize("step", [1.5, 3, 5, 8])
def test_a_name_that_is_written_is_nearest_to_its_own_mark(step):
    places = {
        name: (50 + step * (place % 2), 30 + step * place) for place, name in enumerate("abcdef")
    }
    found, axes = labelled(places)
    for name, box in found.items():
        gaps = {}
        for other, at in places.items():
            x, y = axes.transData.transform(at)
            gaps[other] = max(box.x0 - x, 0, x - box.x1) + max(box.y0 - y, 0, y - box.y1)
        assert min(gaps, key=gaps.get) == name
    assert not any(one.overlaps(other) for one, other in itertools.combinations(found.values(), 2))


@pytest.mark.parametrize(
    ("low", "high"), [(0.88, 0.99), (0.5, 0.9), (0.9, 0.93), (0.1, 0.95), (0.97, 0.985)]
)
def test_a_tick_of_percent_is_the_value_that_it_stands_at(low, high):
    with styled():
        axes = blank(3.0, narrow=True).add_axes((0, 0, 1, 1))
        percent_scale(axes, [low, high])
        axes.figure.canvas.draw()
        shown = [
            (tick, text.get_text())
            for tick, text in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
        ]
    told = [(tick, text) for tick, text in shown if text]
    assert len(told) >= 2
    assert all(abs(float(text.rstrip("%")) - 100 * tick) < 1e-6 for tick, text in told)
