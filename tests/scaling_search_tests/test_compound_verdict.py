"""Whether compound scaling wins, in one sentence."""

import pytest

from phinas.scaling_search.validation.compound_verdict import ControlOutcome, judge_compound_scaling
from phinas.scaling_search.validation.controls import SINGLE_DIMENSION


def make_outcomes(**verdicts):
    return [
        ControlOutcome(name, f"{name} alone" if name in SINGLE_DIMENSION else name, verdict)
        for name, verdict in verdicts.items()
    ]


def test_it_wins_only_where_every_single_dimension_is_beaten():
    verdict = judge_compound_scaling(
        "b2",
        make_outcomes(depth="better", width="better", resolution="better", paper="tied"),
        single_dimension=SINGLE_DIMENSION,
    )
    assert verdict["wins"] is True
    assert (
        verdict["explanation"]
        == "B2 is better than depth alone, width alone and resolution alone beyond doubt (95%)"
    )


@pytest.mark.parametrize(
    ("verdicts", "explanation"),
    [
        (
            {"depth": "worse", "width": "better", "resolution": "tied"},
            "depth alone is better than B2 beyond doubt (95%)",
        ),
        (
            {"depth": "worse", "width": "worse"},
            "depth alone and width alone are better than B2 beyond doubt (95%)",
        ),
    ],
)
def test_any_single_dimension_that_is_better_takes_the_win(verdicts, explanation):
    assert judge_compound_scaling(
        "b2", make_outcomes(**verdicts), single_dimension=SINGLE_DIMENSION
    ) == {
        "family_member": "b2",
        "wins": False,
        "explanation": explanation,
    }


def test_other_coefficients_that_are_better_say_nothing_against_compounding():
    verdict = judge_compound_scaling(
        "b2",
        make_outcomes(depth="better", width="better", resolution="better", paper="worse"),
        single_dimension=SINGLE_DIMENSION,
    )
    assert verdict["wins"] is True


def test_a_control_that_was_not_made_or_not_named_leaves_it_open():
    outcomes = [
        *make_outcomes(depth="better"),
        ControlOutcome("width", "width alone", None, "is the same network as B2"),
    ]
    verdict = judge_compound_scaling("b2", outcomes, single_dimension=SINGLE_DIMENSION)
    assert verdict["wins"] is None
    assert verdict["explanation"] == (
        "B2 is better than depth alone beyond doubt (95%); width alone is the same network as B2; "
        "resolution alone was not "
        "compared (validation.controls)"
    )


def test_ties_leave_it_open():
    verdict = judge_compound_scaling(
        "b2",
        make_outcomes(depth="tied", width="tied", resolution="tied"),
        single_dimension=SINGLE_DIMENSION,
    )
    assert verdict["wins"] is None
    assert (
        verdict["explanation"]
        == "B2 can't be told from depth alone, width alone and resolution alone"
    )


@pytest.mark.parametrize(
    ("controls", "explanation"),
    [
        ([], "not compared: nothing was scaled in one dimension alone (validation.controls)"),
        (
            [ControlOutcome("depth", "depth alone", None, "no member but B0 is trained")],
            "not compared: no member but B0 is trained",
        ),
    ],
)
def test_without_a_comparison_it_says_why(controls, explanation):
    assert judge_compound_scaling(None, controls, single_dimension=SINGLE_DIMENSION) == {
        "family_member": None,
        "wins": None,
        "explanation": explanation,
    }
