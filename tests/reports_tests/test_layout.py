"""The drawn network: every block is there, told by its outline, and all text can be read."""

import itertools
from dataclasses import replace

import pytest
from matplotlib.patches import Polygon

from phinas.reports.figure_export import PNG_DPI, Plate, as_svg, styled
from phinas.reports.figures import network
from phinas.reports.network_diagram.columns import NAMES, columns_of
from phinas.reports.network_diagram.drawing import draw_networks
from phinas.reports.network_diagram.glyphs import outline
from phinas.reports.run_data import read_records
from phinas.space.layers import lower
from phinas.space.presets import preset
from phinas.space.spec import BLOCKS, ArchSpec, StageSpec


def layerwise():
    """22 stages of one layer, some left out, activations by turns."""
    widths = [
        width
        for width, depth in zip((16, 24, 40, 80, 112, 192, 320), (1, 2, 3, 4, 4, 5, 3), strict=True)
        for _ in range(depth)
    ]
    stages = []
    for place, width in enumerate(widths):
        grows = place in (1, 3, 6, 14)
        block = "identity" if place in (5, 8, 16) else "mbconv"
        activation = ("relu", "hard_swish")[place // 3 % 2] if block == "mbconv" else ""
        stages.append(
            StageSpec(
                width,
                1,
                (3, 5, 7)[place % 3],
                1 + grows,
                6,
                0.25,
                block=block,
                activation=activation,
            )
        )
    return ArchSpec(tuple(stages))


def every_kind():
    kinds = ("conv", "separable", "fused_mbconv", "mbconv", "bottleneck", "identity", "mbconv")
    stages = tuple(
        StageSpec(16 + 8 * place, 1 + place % 3, kernel=3 + 2 * (place % 2), block=kind)
        for place, kind in enumerate(kinds)
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


def drawn(*specs, **options):
    with styled():
        return draw_networks(
            [(f"network {number}", spec) for number, spec in enumerate(specs)], **options
        )


def words(figure):
    return {text.get_text() for text in figure.axes[0].texts}


def boxes(figure):
    """Lower left and upper right corner of every box, in points."""
    found = [
        patch.get_path().get_extents()
        for patch in figure.axes[0].patches
        if isinstance(patch, Polygon)
    ]
    return [(box.x0, box.y0, box.x1, box.y1) for box in found]


@pytest.mark.parametrize("name", NETWORKS)
def test_every_block_is_a_box_with_its_shortcut(name):
    spec = NETWORKS[name]
    columns = columns_of(spec)
    assert [column.name for column in columns] == [
        "stem",
        *map(str, range(1, len(spec.stages) + 1)),
        "head",
    ]
    for column, blocks in zip(columns[1:-1], lower(spec).stages, strict=True):
        assert [box.shortcut for box in column.boxes] == [block.shortcut for block in blocks]
        assert [box.se for box in column.boxes] == [
            any(conv.role == "squeeze" for conv in block.convs) for block in blocks
        ]


def test_a_pooled_stem_and_a_head_without_convolution_are_drawn_as_such():
    first, *_, last = columns_of(preset("resnet_50"))
    assert [(box.kind, box.side) for box in first.boxes] == [("conv", 112), ("pool", 56)]
    assert [(box.kind, box.width) for box in last.boxes] == [("linear", 1000)]
    assert last.depth == 0


def test_every_kind_of_block_has_a_name_and_an_outline_of_its_own():
    assert set(NAMES) == set(BLOCKS)
    shapes = {kind: tuple(outline(kind, 0, 0, 10, 40)) for kind in BLOCKS if kind != "identity"}
    plain = {kind for kind, shape in shapes.items() if shape == shapes["conv"]}
    assert plain == {"conv", "separable"}  # a line cuts the separable one in two
    assert len(set(shapes.values())) == len(shapes) - 1


@pytest.mark.parametrize("form", ["wide", "narrow", "titled"])
@pytest.mark.parametrize("name", NETWORKS)
def test_no_text_leaves_the_figure_or_covers_another(name, form):
    figure = drawn(NETWORKS[name], narrow=form == "narrow", titled=form == "titled")
    figure.set_dpi(PNG_DPI)
    renderer = figure.canvas.get_renderer()
    extents = [text.get_window_extent(renderer) for text in figure.axes[0].texts if text.get_text()]
    room = figure.bbox.padded(3)
    assert all(
        room.x0 <= box.x0 and box.x1 <= room.x1 and room.y0 <= box.y0 and box.y1 <= room.y1
        for box in extents
    )
    covering = [
        (one, other)
        for one, other in itertools.combinations(extents, 2)
        if one.padded(-1).overlaps(other.padded(-1))
    ]
    assert not covering


@pytest.mark.parametrize("name", ["b0", "b7", "v2_s", "resnet_50", "mobilenet_v1", "layerwise"])
def test_all_blocks_of_a_usual_network_are_drawn(name):
    spec = NETWORKS[name]
    columns = columns_of(spec)
    figure = drawn(spec)
    legend = len({column.kind for column in columns} & set(NAMES) - {"identity"})
    legend += len({box.kernel for column in columns for box in column.boxes}) + spec.stem_pool
    assert len(boxes(figure)) == sum(len(column.boxes) for column in columns) + legend
    assert "..." not in words(figure)


def test_a_stage_of_too_many_blocks_shows_that_some_are_left_out():
    assert "..." in words(drawn(DEEP))


def test_the_legend_names_what_occurs_and_nothing_else():
    of_b0, of_resnet = words(drawn(NETWORKS["b0"])), words(drawn(NETWORKS["resnet_50"]))
    assert {"MBConv", "squeeze-and-excitation", "1\u00d71", "5\u00d75"} <= of_b0
    assert {"Bottleneck", "3\u00d73 max pooling", "7\u00d77"}.isdisjoint(of_b0)
    assert {"Bottleneck", "3\u00d73 max pooling", "7\u00d77"} <= of_resnet
    assert {"MBConv", "squeeze-and-excitation", "5\u00d75"}.isdisjoint(of_resnet)


def test_networks_drawn_together_share_one_scale():
    small = NETWORKS["b0"]
    figure = drawn(small, replace(small, resolution=small.resolution * 4, stem_width=128))
    found = boxes(figure)
    count = 1 + small.depth + 2
    (left, low, right, top), (left_2, low_2, right_2, top_2) = found[0], found[count]
    assert (right_2 - left_2) / (right - left) == pytest.approx(2)
    assert (top_2 - low_2) / (top - low) == pytest.approx(2)


def test_a_drawing_tells_every_stages_flops_and_the_whole_cost():
    text = words(drawn(NETWORKS["b0"], NETWORKS["resnet_50"]))
    assert {"86.1M", "1.46G"} <= text
    assert any("386M FLOPs   5.29M parameters" in line for line in text)
    assert any("109 MB for inference   relu" in line for line in text)


def test_activations_are_told_by_stage_only_where_there_are_several():
    assert "activation" not in words(drawn(NETWORKS["b0"], NETWORKS["resnet_50"]))
    assert {"activation", "relu", "hard_swish"} <= words(drawn(NETWORKS["layerwise"]))


def test_a_name_of_any_length_stays_in_the_figure():
    with styled():
        figure = draw_networks([("/a/very/long/path" * 20 + "/b0.yaml", TINY)])
    title = next(text for text in figure.axes[0].texts if text.get_text().endswith("/b0.yaml"))
    assert title.get_window_extent(figure.canvas.get_renderer()).x1 <= figure.bbox.x1


@pytest.mark.parametrize("name", ["every_kind", "tiny"])
def test_a_report_shows_a_baseline_of_any_kind(build, name):
    spec = NETWORKS[name]
    records = read_records(build(scaling={"baseline": "efficientnet_b0"}).give(spec).run)
    for narrow in (False, True):
        with styled():
            plate = network.draw(records, narrow=narrow)
            assert "<svg" in as_svg(Plate(plate.figure, plate.caption))
    assert f"to {spec.classes} classes on the right" in plate.caption


def test_the_stage_table_of_a_report_tells_the_kind_of_block_and_only_a_head_that_is(build):
    from phinas.reports.tables.stages import show_stages

    told = show_stages(
        read_records(build(scaling={"baseline": "efficientnet_b0"}).give(preset("resnet_50")).run)
    )
    assert [row[1].text for row in told.rows] == ["Convolution", *["Bottleneck"] * 4, "\u2013"]
    assert told.note.endswith(
        "A 3\u00d73 max pooling of stride 2 follows the stem. The head is pooling and the "
        "classifier."
    )
    told = show_stages(
        read_records(build("other", scaling={"baseline": "efficientnet_b0"}).give(every_kind()).run)
    )
    assert [cell.text for cell in told.rows[6]][:9] == ["6", "left out", *["\u2013"] * 7]
    assert told.note.endswith(
        "The head is a 1\u00d71 convolution to 1,280 channels, pooling and the classifier."
    )
