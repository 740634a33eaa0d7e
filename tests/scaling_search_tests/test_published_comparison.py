"""The published B1..B7 compared with compound scaling, and the phi that each number implies."""

import json
import math

import pytest

from phinas.scaling_search.coefficients import Coefficients
from phinas.scaling_search.family.phi import scale_to_phi
from phinas.scaling_search.family.published_comparison import (
    PAPER,
    compare_published,
    summarize_differences,
)
from phinas.space.presets import EFFICIENTNET, preset


@pytest.fixture(scope="module")
def rows():
    return compare_published()


def test_there_is_a_row_for_each_published_member_at_the_phi_that_it_follows(rows):
    assert [(row.name, row.phi) for row in rows] == [
        ("b1", 0.5),
        ("b2", 1.0),
        ("b3", 2.0),
        ("b4", 3.5),
        ("b5", 5.0),
        ("b6", 6.0),
        ("b7", 7.0),
    ]


def test_the_implied_phi_is_the_logarithm_of_the_printed_factor(rows):
    for row in rows:
        table = EFFICIENTNET[f"efficientnet_{row.name}"]
        assert row.depth.implied_phi == pytest.approx(math.log(table.depth) / math.log(1.2))
        assert row.width.implied_phi == pytest.approx(math.log(table.width) / math.log(1.1))
        assert row.resolution.implied_phi == pytest.approx(
            math.log(table.resolution / 224) / math.log(1.15)
        )
    assert [round(row.depth.implied_phi, 2) for row in rows] == [
        0.52,
        1.0,
        1.85,
        3.22,
        4.32,
        5.24,
        6.21,
    ]
    assert [round(row.width.implied_phi, 2) for row in rows] == [
        0.0,
        1.0,
        1.91,
        3.53,
        4.93,
        6.17,
        7.27,
    ]
    assert [round(row.resolution.implied_phi, 2) for row in rows] == [
        0.49,
        1.07,
        2.09,
        3.78,
        5.09,
        6.14,
        7.05,
    ]


def test_sizes_are_those_of_the_published_and_the_computed_network(rows):
    for row in rows:
        published, computed = (
            preset(f"efficientnet_{row.name}"),
            scale_to_phi(preset("efficientnet_b0"), PAPER, row.phi),
        )
        for spec, sizes, amounts in (
            (published, "published_sizes", "published"),
            (computed, "computed_sizes", "computed"),
        ):
            assert getattr(row.depth, sizes) == tuple(stage.depth for stage in spec.stages)
            assert getattr(row.width, sizes) == (
                spec.stem_width,
                *(stage.width for stage in spec.stages),
                spec.head_width,
            )
            assert getattr(row.resolution, sizes) == (spec.resolution,)
            assert (getattr(row.flops, amounts), getattr(row.params, amounts)) == (
                spec.cost().flops,
                spec.cost().params,
            )
        assert row.computed_dropout == row.published_dropout == published.dropout


def test_an_interval_holds_exactly_the_phi_with_the_published_sizes(rows):
    b0 = preset("efficientnet_b0")
    for row in rows:
        for dimension, sizes in (
            (row.depth, lambda spec: tuple(stage.depth for stage in spec.stages)),
            (row.resolution, lambda spec: (spec.resolution,)),
        ):
            low, high = dimension.phi_interval
            assert low <= dimension.implied_phi <= high
            for phi, inside in (
                (low, True),
                (high, True),
                (low - 1e-6, False),
                (high + 1e-6, False),
            ):
                assert (sizes(scale_to_phi(b0, PAPER, phi)) == dimension.published_sizes) == inside


def test_at_the_implied_phi_the_computed_cost_passes_the_published_one(rows):
    b0 = preset("efficientnet_b0")
    for row in rows:
        for name in ("flops", "params"):
            amount = getattr(row, name)
            below, above = (
                getattr(scale_to_phi(b0, PAPER, amount.implied_phi + step).cost(), name)
                for step in (-1e-7, 1e-7)
            )
            assert below <= amount.published < above


def test_published_b2_is_the_network_of_phi_one_except_for_two_pixels(rows):
    b2 = rows[1]
    assert b2.depth.computed_sizes == b2.depth.published_sizes
    assert b2.width.computed_sizes == b2.width.published_sizes
    assert (b2.resolution.computed_sizes, b2.resolution.published_sizes) == ((258,), (260,))


def test_published_depth_is_smaller_from_b4_on_and_the_sentence_follows_from_the_numbers(rows):
    assert [row.depth.direction for row in rows] == [0, 0, 0, -1, -1, -1, -1]
    assert [row.width.direction for row in rows] == [0, 0, 0, 0, 0, 0, 1]
    assert [row.resolution.direction for row in rows] == [0, 1, 1, 1, 1, 1, 1]
    sentence = summarize_differences(rows)
    assert (
        "depth is smaller from B4 on (most in B7: 3.1 times B0's for 3.58, phi 6.2 for 7; in whole "
        "blocks from B5 on)" in sentence
    )
    assert "width is larger in B7 (2 times B0's for 1.95, phi 7.3 for 7)" in sentence
    assert (
        "resolution is larger from B2 on (most in B4: 1.7 times B0's for 1.63, phi 3.8 for 3.5)"
        in sentence
    )
    assert sentence.endswith("and FLOPs are 0.90 to 1.05 times the computed ones.")


def test_other_coefficients_give_another_sentence():
    coefficients = Coefficients(1.175, 1.1, 1.0)
    rows = compare_published(coefficients)
    sentence = summarize_differences(rows, coefficients)
    assert sentence.startswith(
        "Compared with 1.175 / 1.1 / 1 at phi 0.5, 1, 2, 3.5, 5, 6, 7, the published depth is as "
        "computed, width"
    )
    assert "resolution is larger from B1 on (most in B7: 2.68 times B0's for 1)" in sentence
    assert all(
        row.resolution.implied_phi is None and row.resolution.phi_interval is None for row in rows
    )


def test_rows_are_plain_data(rows):
    data = json.loads(json.dumps([row.to_dict() for row in rows], allow_nan=False))
    assert data[6]["depth"]["published"] == 3.1
    assert data[6]["flops"]["published"] == 37_745_884_192


def test_a_ladder_of_another_length_is_refused():
    with pytest.raises(ValueError, match="zip"):
        compare_published(ladder=[1.0, 2.0])
