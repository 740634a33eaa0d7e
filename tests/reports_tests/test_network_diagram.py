"""The drawn network: it has every block, and all text is legible."""

import itertools
from dataclasses import replace
from typing import get_args

import pytest
from matplotlib.patches import Polygon

from phinas.reports.figure_export import PNG_DPI, ReportFigure, render_svg, report_style
from phinas.reports.figures import network
from phinas.reports.network_diagram.columns import make_stage_columns
from phinas.reports.network_diagram.drawing import draw_networks
from phinas.reports.network_diagram.glyphs import make_outline
from phinas.reports.run_reader import read_run_data
from phinas.space.block_kinds import BLOCK_KINDS
from phinas.space.block_kinds.block import Outline
from phinas.space.layers import lower
from phinas.space.presets import preset
from phinas.space.spec import BLOCKS, ArchSpec, StageSpec


def layerwise():
    """22 stages of one layer, some skipped, activations alternating."""
    widths = [
        width
        for width, depth in zip((16, 24, 40, 80, 112, 192, 320), (1, 2, 3, 4, 4, 5, 3), strict=True)
        for _ in range(depth)
    ]
    stages = []
    for index, width in enumerate(widths):
        has_stride = index in (1, 3, 6, 14)
        block = "identity" if index in (5, 8, 16) else "mbconv"
        activation = ("relu", "hard_swish")[index // 3 % 2] if block == "mbconv" else ""
        stages.append(
            StageSpec(
                width,
                1,
                (3, 5, 7)[index % 3],
                1 + has_stride,
                6,
                0.25,
                block=block,
                activation=activation,
            )
        )
    return ArchSpec(tuple(stages))


def every_kind():
    kinds = (*(kind for kind in BLOCKS if kind != "identity"), "identity", "mbconv")
    stages = tuple(
        StageSpec(16 + 8 * index, 1 + index % 3, kernel=3 + 2 * (index % 2), block=kind)
        for index, kind in enumerate(kinds)
    )
    return ArchSpec(stages, stem_pool=True, resolution=96, classes=10)


TINY = ArchSpec(
    (StageSpec(8, 1, expansion=1),),
    stem_width=8,
    stem_stride=1,
    head_width=0,
    resolution=8,
    channels=1,
    classes=2,
)
DEEP = ArchSpec((StageSpec(64, 40), StageSpec(128, 1000, stride=2)))
NETWORKS = {
    "b0": preset("efficientnet_b0"),
    "b7": preset("efficientnet_b7"),
    "v2_s": preset("efficientnet_v2_s"),
    "resnet_50": preset("resnet_50"),
    "mobilenet_v1": preset("mobilenet_v1"),
    "layerwise": layerwise(),
    "every_kind": every_kind(),
    "tiny": TINY,
    "deep": DEEP,
}


def draw(*specs, **options):
    with report_style():
        return draw_networks(
            [(f"network {number}", spec) for number, spec in enumerate(specs)], **options
        )


def drawn_texts(figure):
    return {text.get_text() for text in figure.axes[0].texts}


def boxes(figure):
    """Lower left and upper right corner of every box, in points."""
    boxes_found = [
        patch.get_path().get_extents()
        for patch in figure.axes[0].patches
        if isinstance(patch, Polygon)
    ]
    return [(box.x0, box.y0, box.x1, box.y1) for box in boxes_found]


@pytest.mark.parametrize("name", NETWORKS)
def test_every_block_is_a_box_with_its_shortcut(name):
    spec = NETWORKS[name]
    columns = make_stage_columns(spec)
    assert [column.name for column in columns] == [
        "stem",
        *map(str, range(1, len(spec.stages) + 1)),
        "head",
    ]
    for column, blocks in zip(columns[1:-1], lower(spec).stages, strict=True):
        assert [box.shortcut for box in column.boxes] == [block.shortcut for block in blocks]
        assert [box.se for box in column.boxes] == [
            any(conv.name == "squeeze" for conv in block.convs) for block in blocks
        ]


def test_a_pooled_stem_and_a_head_without_convolution_are_drawn_as_such():
    first, *_, last = make_stage_columns(preset("resnet_50"))
    assert [(box.kind, box.resolution) for box in first.boxes] == [("conv", 112), ("pool", 56)]
    assert [(box.kind, box.width) for box in last.boxes] == [("linear", 1000)]
    assert last.depth == 0


def test_kinds_of_block_have_distinct_labels_and_outlines_distinct_shapes():
    labels = [label for kind in BLOCK_KINDS.values() for label in kind.labels]
    assert len(set(labels)) == len(labels)
    shapes = {outline: tuple(make_outline(outline, 0, 0, 10, 40)) for outline in get_args(Outline)}
    plain = {outline for outline, shape in shapes.items() if shape == shapes["plain"]}
    assert plain == {"plain", "diagonal", "halves"}  # lines divide the latter two
    assert len(set(shapes.values())) == len(shapes) - 2


# Every network in one form; the irregular, the densest and the smallest in all of them.
@pytest.mark.parametrize(
    ("name", "form"),
    [
        *((name, "wide") for name in NETWORKS),
        *itertools.product(("b7", "layerwise", "every_kind", "tiny"), ("narrow", "titled")),
        ("deep", "titled"),
    ],
)
def test_no_text_leaves_the_figure_or_covers_another(name, form):
    figure = draw(NETWORKS[name], compact=form == "narrow", show_titles=form == "titled")
    figure.set_dpi(PNG_DPI)
    renderer = figure.canvas.get_renderer()
    extents = [text.get_window_extent(renderer) for text in figure.axes[0].texts if text.get_text()]
    figure_box = figure.bbox.padded(3)
    assert all(
        figure_box.x0 <= box.x0
        and box.x1 <= figure_box.x1
        and figure_box.y0 <= box.y0
        and box.y1 <= figure_box.y1
        for box in extents
    )
    overlaps_found = [
        (first, second)
        for first, second in itertools.combinations(extents, 2)
        if first.padded(-1).overlaps(second.padded(-1))
    ]
    assert not overlaps_found


@pytest.mark.parametrize("name", ["b0", "b7", "v2_s", "resnet_50", "mobilenet_v1", "layerwise"])
def test_all_blocks_of_a_usual_network_are_drawn(name):
    spec = NETWORKS[name]
    columns = make_stage_columns(spec)
    figure = draw(spec)
    legend = len({column.kind for column in columns} & set(BLOCK_KINDS) - {"identity"})
    legend += len({box.kernel for column in columns for box in column.boxes}) + spec.stem_pool
    assert len(boxes(figure)) == sum(len(column.boxes) for column in columns) + legend
    assert "..." not in drawn_texts(figure)


def test_a_stage_of_too_many_blocks_has_an_ellipsis():
    assert "..." in drawn_texts(draw(DEEP))


def test_the_legend_has_exactly_the_marks_that_occur():
    of_b0, of_resnet = drawn_texts(draw(NETWORKS["b0"])), drawn_texts(draw(NETWORKS["resnet_50"]))
    assert {"MBConv", "squeeze-and-excitation", "1\u00d71", "5\u00d75"} <= of_b0
    assert {"Bottleneck", "3\u00d73 max pooling", "7\u00d77"}.isdisjoint(of_b0)
    assert {"Bottleneck", "3\u00d73 max pooling", "7\u00d77"} <= of_resnet
    assert {"MBConv", "squeeze-and-excitation", "5\u00d75"}.isdisjoint(of_resnet)


def test_networks_drawn_together_share_one_scale():
    small = NETWORKS["b0"]
    figure = draw(small, replace(small, resolution=small.resolution * 4, stem_width=128))
    boxes_found = boxes(figure)
    count = 1 + small.depth + 2
    (left, low, right, top), (left_2, low_2, right_2, top_2) = boxes_found[0], boxes_found[count]
    assert (right_2 - left_2) / (right - left) == pytest.approx(2)
    assert (top_2 - low_2) / (top - low) == pytest.approx(2)


def test_a_drawing_has_the_flops_of_every_stage_and_the_total_cost():
    text = drawn_texts(draw(NETWORKS["b0"], NETWORKS["resnet_50"]))
    assert {"86.1M", "1.46G"} <= text
    assert any("386M FLOPs   5.29M parameters" in line for line in text)
    assert any("109 MB for inference   relu" in line for line in text)


def test_activations_are_shown_by_stage_only_where_there_are_several():
    assert "activation" not in drawn_texts(draw(NETWORKS["b0"], NETWORKS["resnet_50"]))
    assert {"activation", "relu", "hard_swish"} <= drawn_texts(draw(NETWORKS["layerwise"]))


def test_a_name_of_any_length_stays_in_the_figure():
    with report_style():
        figure = draw_networks([("/a/very/long/path" * 20 + "/b0.yaml", TINY)])
    title = next(text for text in figure.axes[0].texts if text.get_text().endswith("/b0.yaml"))
    assert title.get_window_extent(figure.canvas.get_renderer()).x1 <= figure.bbox.x1


@pytest.mark.parametrize("name", ["every_kind", "tiny"])
def test_a_report_shows_a_baseline_of_any_kind(build, name):
    spec = NETWORKS[name]
    run_data = read_run_data(build(scaling={"baseline": "efficientnet_b0"}).give_baseline(spec).run)
    for compact in (False, True):
        with report_style():
            report_figure = network.draw(run_data, compact=compact)
            assert "<svg" in render_svg(ReportFigure(report_figure.figure, report_figure.caption))
    assert f"to {spec.classes} classes on the right" in report_figure.caption


def test_the_table_of_stages_has_the_kinds_of_block_and_an_existing_head(build):
    from phinas.reports.tables.stages import make_stages_table

    table = make_stages_table(
        read_run_data(
            build(scaling={"baseline": "efficientnet_b0"}).give_baseline(preset("resnet_50")).run
        )
    )
    assert [row[1].text for row in table.rows] == ["Convolution", *["Bottleneck"] * 4, "\u2013"]
    assert table.note.endswith(
        "A 3\u00d73 max pooling of stride 2 follows the stem. The head is pooling and the "
        "classifier."
    )
    table = make_stages_table(
        read_run_data(
            build("other", scaling={"baseline": "efficientnet_b0"}).give_baseline(every_kind()).run
        )
    )
    assert [cell.text for cell in table.rows[7]][:9] == ["7", "left out", *["\u2013"] * 7]
    assert table.note.endswith(
        "The head is a 1\u00d71 convolution to 1,280 channels, pooling and the classifier."
    )
