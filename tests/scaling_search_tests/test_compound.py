"""Whether compound scaling wins, in one sentence."""

import pytest

from phinas.scaling_search.validation.compound_verdict import Judged, compound
from phinas.scaling_search.validation.controls import SINGLE


def judged(**verdicts):
    return [
        Judged(name, f"{name} alone" if name in SINGLE else name, verdict)
        for name, verdict in verdicts.items()
    ]


def test_it_wins_only_where_every_single_dimension_is_beaten():
    found = compound(
        "b2",
        judged(depth="better", width="better", resolution="better", paper="tied"),
        single=SINGLE,
    )
    assert found["wins"] is True
    assert (
        found["why"]
        == "B2 is better than depth alone, width alone and resolution alone beyond doubt (95%)"
    )


@pytest.mark.parametrize(
    ("verdicts", "why"),
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
def test_any_single_dimension_that_is_better_takes_the_win(verdicts, why):
    assert compound("b2", judged(**verdicts), single=SINGLE) == {
        "against": "b2",
        "wins": False,
        "why": why,
    }


def test_other_coefficients_that_are_better_say_nothing_against_compounding():
    found = compound(
        "b2",
        judged(depth="better", width="better", resolution="better", paper="worse"),
        single=SINGLE,
    )
    assert found["wins"] is True


def test_a_control_that_was_not_made_or_not_named_leaves_it_open():
    made = [
        *judged(depth="better"),
        Judged("width", "width alone", None, "is the same network as B2"),
    ]
    found = compound("b2", made, single=SINGLE)
    assert found["wins"] is None
    assert found["why"] == (
        "B2 is better than depth alone beyond doubt (95%); width alone is the same network as B2; "
        "resolution alone was not "
        "compared (validation.controls)"
    )


def test_ties_leave_it_open():
    found = compound("b2", judged(depth="tied", width="tied", resolution="tied"), single=SINGLE)
    assert found["wins"] is None
    assert found["why"] == "B2 can't be told from depth alone, width alone and resolution alone"


@pytest.mark.parametrize(
    ("controls", "why"),
    [
        ([], "not compared: nothing was scaled in one dimension alone (validation.controls)"),
        (
            [Judged("depth", "depth alone", None, "no member but B0 is trained")],
            "not compared: no member but B0 is trained",
        ),
    ],
)
def test_without_a_comparison_it_says_why(controls, why):
    assert compound(None, controls, single=SINGLE) == {"against": None, "wins": None, "why": why}
