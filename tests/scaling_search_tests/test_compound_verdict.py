"""Whether compound scaling is better than single-dimension scaling."""

import pytest

from phinas.scaling_search.validation.compound_verdict import judge_compound_scaling
from phinas.scaling_search.validation.controls import SINGLE_DIMENSION


def judge(family_member="b2", **verdicts):
    return judge_compound_scaling(family_member, verdicts, single_dimension=SINGLE_DIMENSION)


def test_it_wins_only_where_it_is_better_than_every_single_dimension():
    verdict = judge(depth="better", width="better", resolution="better", paper="tied")
    assert verdict.wins is True
    assert verdict.family_member == "b2"


@pytest.mark.parametrize(
    "verdicts",
    [
        {"depth": "worse", "width": "better", "resolution": "tied"},
        {"depth": "worse", "width": "worse"},
    ],
)
def test_it_does_not_win_where_a_single_dimension_is_better(verdicts):
    assert judge(**verdicts).wins is False


def test_other_coefficients_that_are_better_do_not_count():
    verdict = judge(depth="better", width="better", resolution="better", paper="worse")
    assert verdict.wins is True


@pytest.mark.parametrize(
    "verdicts",
    [
        {"depth": "better", "width": None},
        {"depth": "tied", "width": "tied", "resolution": "tied"},
        {"depth": "better", "width": "better", "resolution": "tied"},
        {},
    ],
)
def test_a_tie_or_a_missing_control_leaves_it_undecided(verdicts):
    assert judge(**verdicts).wins is None


def test_without_a_member_to_compare_there_is_no_verdict():
    verdict = judge(None, depth="worse")
    assert verdict.wins is verdict.family_member is None
