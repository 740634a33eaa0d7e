"""No stage more than doubles its depth from one member of a race's family to the next."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phinas.experiment.errors import InputError
from phinas.scaling_search.coefficients import PAPER, Coefficients
from phinas.scaling_search.family.depth_growth import find_depth_jumps, limit_depth_growth
from phinas.scaling_search.family.family import make_family
from phinas.space.presets import preset
from phinas.space.spec import ArchSpec, StageSpec

LADDER = [0.5, 1.0, 2.0, 3.5, 5.0, 6.0, 7.0]
WIDTHS_AND_STRIDES = ((16, 1), (24, 2), (40, 2), (80, 1))
SHALLOW = ArchSpec(
    stages=tuple(StageSpec(width, 1, 3, stride, 4, 0) for width, stride in WIDTHS_AND_STRIDES),
    stem_width=16,
    head_width=0,
    resolution=16,
    classes=10,
)


def limit_ladder(coefficients, ladder=LADDER, *, baseline=SHALLOW):
    return limit_depth_growth(baseline, coefficients, lambda _: ladder)


def test_the_members_that_more_than_double_a_stage_are_found():
    assert find_depth_jumps(SHALLOW, Coefficients(2.0, 1.0, 1.0), LADDER) == [3.5, 5.0]
    assert find_depth_jumps(SHALLOW, Coefficients(2.0, 1.0, 1.0), [1.0, 2.0, 3.0]) == []
    assert find_depth_jumps(SHALLOW, Coefficients(2.0, 1.0, 1.0), [-5.0, 3.0]) == [3.0]
    limited = Coefficients(1.0, 1.0, 2.0, max_resolution=16)
    assert find_depth_jumps(SHALLOW, limited, [4.0]) == [4.0]


def test_the_published_family_is_not_changed():
    assert limit_ladder(PAPER, baseline=preset("efficientnet_b0")) is PAPER


def test_alpha_is_as_large_as_the_family_allows():
    limited = limit_ladder(Coefficients(1.9, 1.1, 1.05))
    assert 1.5 < limited.alpha < 1.9
    assert limited.beta > 1.1
    assert limited.gamma > 1.05
    assert find_depth_jumps(SHALLOW, limited, LADDER) == []
    assert find_depth_jumps(SHALLOW, replace(limited, alpha=limited.alpha * 1.01), LADDER) != []
    family = make_family(SHALLOW, limited, LADDER)
    for member, larger in pairwise(family):
        assert larger.spec.stages[0].depth <= 2 * member.spec.stages[0].depth


def test_depth_alone_becomes_the_published_proportion_of_width_and_resolution():
    limited = limit_ladder(Coefficients(2.0, 1.0, 1.0))
    assert limited.beta > 1
    assert limited.gamma > limited.beta


def test_width_alone_grows_where_the_baseline_has_the_highest_resolution():
    limited = limit_ladder(Coefficients(2.0, 1.0, 1.0, max_resolution=16))
    assert (limited.gamma, limited.max_resolution) == (1.0, 16)
    assert limited.beta > 1


def test_members_that_are_far_apart_keep_the_published_part_of_depth():
    limited = limit_ladder(Coefficients(1.6, 1.05, 1.0), [7.0])
    assert find_depth_jumps(SHALLOW, limited, [7.0]) == [7.0]
    assert math.log(limited.alpha) / math.log(limited.nominal) == pytest.approx(
        math.log(1.2) / math.log(PAPER.nominal)
    )
    assert limit_ladder(PAPER, [7.0]) is PAPER


@settings(deadline=None, max_examples=60)
@given(
    st.floats(1.0, 4.0),
    st.floats(1.0, 1.5),
    st.floats(1.0, 3.0),
    st.sampled_from([None, 16, 20, 40]),
    st.sampled_from(["ceil", "round", "balanced"]),
    st.sampled_from([LADDER, [2.0, 5.0], [1.0, 7.0]]),
)
def test_any_family_is_limited_at_the_same_nominal_flops_as_far_as_depth_has_more_than_published(
    alpha, beta, gamma, max_resolution, rounding, ladder
):
    coefficients = Coefficients(
        alpha, beta, gamma, rounding=rounding, max_resolution=max_resolution
    )
    limited = limit_ladder(coefficients, ladder)
    published_alpha = coefficients.nominal ** (math.log(1.2) / math.log(PAPER.nominal))
    if find_depth_jumps(SHALLOW, limited, ladder):
        assert limited.alpha == pytest.approx(min(alpha, published_alpha))
    assert limited.nominal == pytest.approx(coefficients.nominal)
    assert limited.alpha <= alpha


def test_budgets_that_other_coefficients_do_not_meet_leave_the_coefficients_as_they_are():
    coefficients = Coefficients(2.0, 1.0, 1.0)

    def find_ladder(candidate):
        if candidate != coefficients:
            raise InputError("no phi meets the budget")
        return LADDER

    assert limit_depth_growth(SHALLOW, coefficients, find_ladder) == coefficients
    with pytest.raises(InputError, match="no phi"):
        limit_depth_growth(SHALLOW, PAPER, find_ladder)
