"""`phinas.plot`: figures of runs with the data of their frames, and files that are the same
everywhere.
"""

import re
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from PIL import Image

import phinas
from phinas.reports.palette import get_series_style

FUNCTIONS = [
    "accuracy_vs_flops",
    "accuracy_vs_params",
    "pareto",
    "search_progress",
    "scaling_grid",
    "family",
    "controls",
    "single_dimensions",
    "dimension_pairs",
    "compound_vs_single",
]
# From linear RGB, of Machado et al., "A physiologically-based model for simulation of color vision
# deficiency" (2009), table 1, severity 1.
COLOR_VISION = {
    "none": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
# CIE XYZ of linear sRGB, and of its white
TO_XYZ = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
WHITE = [0.9505, 1.0, 1.089]
SINGLE = {"depth": 0.03, "width": -0.02, "resolution": 0.01}


@pytest.fixture(scope="module")
def full(full_run):
    return phinas.load(full_run.run.path)


@pytest.fixture
def make_run(build):
    """A function that makes a validated run; further arguments are those of `validate`."""

    def make(directory, *, name=None, metric="accuracy", **validation):
        builder = build(directory, name=name, metric=metric, scaling={"phi": [1.0, 2.0]})
        builder.give_baseline().give_coefficients(1.2, 1.1, 1.15).validate(**validation)
        return builder.run.path

    return make


def to_linear(rgb):
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def to_lab(linear_rgb):
    ratios = np.array(TO_XYZ) @ linear_rgb.clip(0, 1) / WHITE
    x, y, z = np.where(ratios > 0.008856, np.cbrt(ratios), 7.787 * ratios + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def list_texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def list_marks(axes, color=None):
    """The centers of all marks, of one color."""
    return [
        (float(x), float(y))
        for collection in axes.collections
        if color is None or to_hex(collection.get_facecolor()[0]) == color
        for x, y in collection.get_offsets()
    ]


def contains(points, point):
    return any(np.allclose(point, other) for other in points)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("compact", [False, True])
def test_each_plot_is_a_figure_of_a_page_or_of_a_column(full, name, compact):
    figure = getattr(phinas.plot, name)(full, compact=compact)
    assert isinstance(figure, Figure)
    assert figure.get_figwidth() == (3.65 if compact else 8.2)
    assert figure.axes


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_run_without_the_data_is_an_error_that_says_what_to_do(build, name):
    run = build().run.path
    with pytest.raises(phinas.NoResultError, match=rf"^{re.escape(str(run))}: .*; "):
        getattr(phinas.plot, name)(run)


@pytest.mark.parametrize(
    ("name", "cost"), [("accuracy_vs_flops", "flops"), ("accuracy_vs_params", "params")]
)
def test_trained_members_and_controls_are_at_their_cost_and_score(full, name, cost):
    (axes,) = getattr(phinas.plot, name)(full).axes
    marks = list_marks(axes)
    for frame in (full.family, full.controls):
        for row in frame[frame.validated].to_dict("records"):
            point = (row[cost], row["score"])
            assert contains(marks, point), row["name"]
            assert axes.viewLim.contains(*point), row["name"]


def test_several_runs_are_named_and_have_colors_and_markers_of_their_own(make_run):
    paths = [make_run("photos"), make_run("drawings", min_score=0.8)]
    figure = phinas.plot.accuracy_vs_flops(paths)
    assert {"photos", "drawings"} <= set(list_texts(figure))
    for index, path in enumerate(paths):
        family = phinas.load(path).family
        expected = family[family.validated][["flops", "score"]].to_numpy(dtype=float)
        marks = list_marks(figure.axes[0], get_series_style(index).color)
        assert np.allclose(marks, expected)


def test_runs_of_one_name_are_named_by_their_directories(make_run):
    paths = [make_run(directory, name="a run") for directory in ("first", "second")]
    assert {"first", "second"} <= set(list_texts(phinas.plot.accuracy_vs_flops(paths)))


def test_runs_with_different_metrics_are_not_plotted_together(make_run):
    paths = [make_run("first"), make_run("second", metric="macro_f1")]
    with pytest.raises(phinas.InputError, match="accuracy and macro F1"):
        phinas.plot.accuracy_vs_flops(paths)
    with pytest.raises(phinas.InputError, match="name at least one run"):
        phinas.plot.accuracy_vs_flops([])


def test_a_run_without_a_trained_member_is_named_among_several(build, make_run):
    untrained = build("untrained").run.path
    with pytest.raises(phinas.NoResultError, match=f"{untrained}: no member of its family"):
        phinas.plot.accuracy_vs_params([make_run("trained"), untrained])


def test_the_first_seven_series_differ_in_color_and_marker():
    styles = [get_series_style(index) for index in range(49)]
    assert len({style.color for style in styles[:7]}) == 7
    assert len({style.marker for style in styles[:7]}) == 7
    assert len({(style.color, style.marker) for style in styles}) == 49


@pytest.mark.parametrize("deficiency", COLOR_VISION)
def test_colors_of_series_differ_for_all_color_vision(deficiency):
    """A difference of 2.3 in CIE L*a*b* is just noticeable (Mahy et al., 1994)."""
    simulate = np.array(COLOR_VISION[deficiency])
    colors = [
        to_lab(simulate @ to_linear(np.array(to_rgb(get_series_style(index).color))))
        for index in range(7)
    ]
    differences = [float(np.linalg.norm(a - b)) for a, b in combinations(colors, 2)]
    assert min(differences) > 15


def test_each_dimension_is_a_line_from_b0_to_its_network(make_run):
    run = phinas.load(make_run("run", controls=SINGLE))
    scores = run.controls.set_index("name")[["flops", "score"]]
    baseline = run.family.set_index("name").loc["b0", ["flops", "score"]]
    (axes,) = phinas.plot.compound_vs_single(run).axes
    panels = phinas.plot.single_dimensions(run).axes
    for panel, kind in zip(panels, ("depth", "width", "resolution"), strict=True):
        ends = np.array([baseline, scores.loc[kind]], dtype=float)
        for chart in (axes, panel):
            assert any(np.array_equal(line.get_xydata(), ends) for line in chart.lines), kind
        assert panel.texts[1].get_text() == f"{kind} only"
        assert (panel.get_xlim(), panel.get_ylim()) == (panels[0].get_xlim(), panels[0].get_ylim())
    family = run.family[run.family.validated][["flops", "score"]].to_numpy(dtype=float)
    assert any(np.array_equal(line.get_xydata(), family) for line in axes.lines)


def test_the_factor_of_a_dimension_is_that_of_its_coefficients(make_run):
    run = phinas.load(make_run("run", controls=SINGLE))
    depth = run.controls.set_index("name").loc["depth"]
    legend = phinas.plot.compound_vs_single(run).axes[0].get_legend()
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels[1] == f"depth only, \N{MULTIPLICATION SIGN}{depth.alpha**depth.phi:.3g}"


def test_a_dimension_that_was_not_trained_says_why(full):
    panels = phinas.plot.single_dimensions(full).axes
    texts = [" ".join(text.get_text().split()) for text in panels[2].texts]
    assert any("not trained: it needs images of 90 px" in text for text in texts)


def test_each_compared_network_is_at_its_depth_and_resolution(full):
    axes, _ = phinas.plot.dimension_pairs(full).axes
    marks = list_marks(axes)
    grid = full.grid[full.grid.score_gap.notna()]
    assert len(marks) == len(grid) > 2
    for row in grid.itertuples():
        center = (row.alpha_low * row.alpha_high) ** 0.5, (row.gamma_low * row.gamma_high) ** 0.5
        assert contains(marks, center)
    assert "best" in list_texts(axes.figure)


def test_the_best_network_is_the_darkest(full):
    axes, _ = phinas.plot.dimension_pairs(full).axes
    grid = full.grid[full.grid.score_gap.notna()]
    lightness = [sum(collection.get_facecolor()[0][:3]) for collection in axes.collections]
    assert np.argsort(lightness).tolist() == np.argsort(grid.score_gap, kind="stable").tolist()


@pytest.mark.parametrize("suffix", ["svg", "pdf", "png"])
def test_a_file_does_not_depend_on_the_settings_of_the_user(full, tmp_path, suffix):
    first, second = tmp_path / f"first.{suffix}", tmp_path / "new folder" / f"second.{suffix}"
    phinas.plot.save(phinas.plot.family(full), first)
    changes = {"font.size": 30, "xtick.color": "red", "axes.facecolor": "black"}
    with mpl.rc_context(changes):
        phinas.plot.save(phinas.plot.family(full), second)
        assert mpl.rcParams["font.size"] == 30
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_figure_keeps_its_style_when_matplotlib_saves_it(full, tmp_path, name):
    with mpl.rc_context({"xtick.color": "red", "xtick.labelsize": 30, "font.family": "serif"}):
        figure = getattr(phinas.plot, name)(full)
        figure.savefig(tmp_path / "figure.png")
    labels = [label for axes in figure.axes for label in axes.get_xticklabels()]
    assert {label.get_fontsize() for label in labels} == {8}
    assert "red" not in {label.get_color() for label in labels}
    assert {label.get_fontfamily()[0] for label in labels} == {"DejaVu Sans"}


def test_fonts_are_embedded(full, tmp_path):
    figure = phinas.plot.compound_vs_single(full)
    phinas.plot.save(figure, tmp_path / "figure.pdf")
    phinas.plot.save(figure, tmp_path / "figure.svg")
    phinas.plot.save(figure, str(tmp_path / "figure.png"))
    pdf = (tmp_path / "figure.pdf").read_bytes()
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert "<text" not in (tmp_path / "figure.svg").read_text()
    with Image.open(tmp_path / "figure.png") as image:
        assert image.width == 1640


def test_a_file_of_another_format_or_that_cannot_be_written_is_an_error(full, tmp_path):
    figure = phinas.plot.search_progress(full)
    with pytest.raises(phinas.InputError, match=r"does not end in \.svg, \.pdf or \.png"):
        phinas.plot.save(figure, tmp_path / "figure.jpg")
    (tmp_path / "file").touch()
    with pytest.raises(phinas.InputError, match="cannot be written"):
        phinas.plot.save(figure, tmp_path / "file" / "figure.svg")
