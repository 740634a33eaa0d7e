"""The largest network within a budget, held against trying every phi on a fine net; and the ladders
of such networks.
"""

import math
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from phinas.experiment.errors import InputError
from phinas.scaling_search.coefficients import Coefficients
from phinas.scaling_search.family.budget_ladder import fit_budget, fit_budgets
from phinas.scaling_search.family.family import make_budget_family
from phinas.scaling_search.family.latency_budgets import fit_latency_budgets
from phinas.scaling_search.family.phi import scale_to_phi
from phinas.space.cost import network_cost
from phinas.space.presets import preset
from phinas.space.search_spaces.loading import load_space
from phinas.space.spec import ArchSpec, StageSpec

B0 = preset("efficientnet_b0")
TINY = load_space("tiny").base
PUBLISHED = Coefficients(1.2, 1.1, 1.15)
# A stage whose widths come to equal those before it loses its projection there: the one known way
# in which cost falls.
SHRINKING = ArchSpec(
    stages=(
        StageSpec(66, 2, 3, 1, 4, 0, block="bottleneck"),
        StageSpec(150, 2, 3, 2, 4, 0, block="bottleneck"),
    ),
    stem_width=62,
    head_width=0,
    resolution=64,
    classes=10,
)


def costs(baseline, coefficients, metric, low, high, *, steps):
    """Cost at every phi of a fine net."""
    phis = [low + (high - low) * step / steps for step in range(steps + 1)]
    return {
        phi: getattr(network_cost(scale_to_phi(baseline, coefficients, phi)), metric)
        for phi in [*phis, 0.0]
    }


@settings(deadline=None, max_examples=12)
@given(
    st.sampled_from([TINY, SHRINKING]),
    st.sampled_from([1.0, 1.13, 1.3]),
    st.sampled_from([1.0, 1.1, 1.2]),
    st.sampled_from([1.05, 1.15]),
    st.sampled_from(["ceil", "round", "balanced"]),
    st.sampled_from(["flops", "params"]),
    st.floats(0.4, 2.5),
)
@example(
    SHRINKING, 1.0, 1.2, 1.05, "ceil", "flops", 1.375
)  # it falls by 11% below the budget, and rises again
def test_no_phi_of_a_fine_net_gives_a_larger_network_within(
    baseline, alpha, beta, gamma, rounding, metric, multiple
):
    coefficients = Coefficients(alpha, beta, gamma, rounding=rounding)
    limit = multiple * getattr(network_cost(baseline), metric)
    try:
        fit = fit_budget(baseline, coefficients, metric, limit)
    except InputError as error:
        assert "no phi meets" in str(error)  # noqa: PT017 - where the budget is met, that is tested
        return
    low, high = fit.phi_interval[0] - 0.3, fit.phi_interval[1] + 0.3
    values = costs(baseline, coefficients, metric, max(low, -20), min(high, 20), steps=150)
    assert fit.value <= limit
    assert max(value for value in values.values() if value <= limit) == fit.value


def test_budgets_beyond_a_drop_of_cost_are_found_where_a_projection_disappears():
    coefficients = Coefficients(1.0, 1.1, 1.001)
    phis = [step / 500 for step in range(1, 1000)]
    values = [network_cost(scale_to_phi(SHRINKING, coefficients, phi)).flops for phi in phis]
    decreases = [(old, new) for old, new in pairwise(values) if new < old]
    assert decreases
    for old, new in decreases:
        fit = fit_budget(SHRINKING, coefficients, "flops", (old + new) / 2)
        assert fit.value == max(value for value in values if value <= (old + new) / 2)


@pytest.mark.parametrize("limit", [100e6, 250e6, 385_814_752, 800e6, 4.2e9])
def test_the_interval_is_of_exactly_the_phi_that_mean_the_network(limit):
    fit = fit_budget(B0, PUBLISHED, "flops", limit)
    low, high = fit.phi_interval
    assert low <= fit.phi <= high
    assert fit.value == network_cost(fit.spec).flops <= limit
    for phi in (fit.phi, low, high, (low + high) / 2):
        assert scale_to_phi(B0, PUBLISHED, phi) == fit.spec
    for phi in (low - 1e-7, high + 1e-7):
        assert scale_to_phi(B0, PUBLISHED, phi) != fit.spec
    assert network_cost(scale_to_phi(B0, PUBLISHED, high + 1e-7)).flops > limit


def test_of_networks_with_equally_many_parameters_the_largest_resolution_is_taken():
    coefficients = Coefficients(1.0, 1.1, 1.15)
    fit = fit_budget(B0, coefficients, "params", 6.5e6)
    next_network = scale_to_phi(B0, coefficients, fit.phi_interval[1] + 1e-7)
    assert network_cost(next_network).params > 6.5e6
    assert (
        network_cost(scale_to_phi(B0, coefficients, fit.phi_interval[0] - 1e-7)).params == fit.value
    )


def test_a_baseline_that_just_meets_the_budget_is_its_own_answer():
    fit = fit_budget(B0, PUBLISHED, "flops", network_cost(B0).flops)
    assert (fit.spec, fit.phi, fit.value) == (B0, 0.0, network_cost(B0).flops)
    assert fit_budget(B0, PUBLISHED, "flops", network_cost(B0).flops - 1).phi < 0


def test_a_phi_is_told_in_as_few_decimals_as_name_its_network():
    fit = fit_budget(B0, PUBLISHED, "flops", 800e6)
    assert (fit.phi, scale_to_phi(B0, PUBLISHED, 0.63)) == (0.63, fit.spec)


def test_budgets_become_a_family_around_the_baseline():
    fits = fit_budgets(B0, PUBLISHED, "flops", [200e6, 300e6, 800e6, 1.6e9])
    family = make_budget_family(B0, fits)
    assert [member.name for member in family] == ["b-2", "b-1", "b0", "b1", "b2"]
    assert [member.budget and member.budget.limit for member in family] == [
        200e6,
        300e6,
        None,
        800e6,
        1.6e9,
    ]
    for member in family:
        if member.budget:
            assert member.cost.flops == member.budget.value
            assert member.to_dict()["budget"]["limit"] == member.budget.limit
    assert "budget" not in family[2].to_dict()


def test_a_budget_that_the_baseline_meets_is_its_own():
    family = make_budget_family(B0, fit_budgets(B0, PUBLISHED, "flops", [390e6, 800e6]))
    assert [(member.name, member.budget and member.budget.limit) for member in family] == [
        ("b0", 390e6),
        ("b1", 800e6),
    ]


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        (1e5, "the smallest network .* has 558.5k flops .*32 pixels of a side.*; raise the budget"),
        (1e18, "the largest network .* has 1.701e[+]05G flops .*; lower the budget"),
        (0, "0 is not a number above 0"),
        (-5, "-5 is not a number above 0"),
        (math.nan, "nan is not a number above 0"),
        (math.inf, "inf is not a number above 0"),
    ],
)
def test_a_budget_that_no_phi_meets_says_what_can_be_reached(limit, message):
    with pytest.raises(InputError, match=f"scaling.flops: .*{message}"):
        fit_budget(B0, PUBLISHED, "flops", limit)


def test_coefficients_that_scale_nothing_meet_no_budget():
    with pytest.raises(InputError, match="alpha, beta and gamma are all 1"):
        fit_budget(B0, Coefficients(1.0, 1.0, 1.0), "flops", 1e9)
    with pytest.raises(InputError, match="no phi meets 6M params"):
        fit_budget(B0, Coefficients(1.0, 1.0, 1.1), "params", 6e6)  # resolution alone adds none


@pytest.mark.parametrize("limits", [[8e8, 4e8], [4e8, 4e8]])
def test_budgets_that_do_not_rise_are_refused(limits):
    with pytest.raises(InputError, match="does not rise; write the budgets in rising order"):
        fit_budgets(B0, PUBLISHED, "flops", limits)


def test_no_budgets_at_all_are_refused():
    with pytest.raises(InputError, match=r"scaling\.params: no budgets"):
        fit_budgets(B0, PUBLISHED, "params", [])


def test_two_budgets_that_mean_one_network_are_refused():
    with pytest.raises(
        InputError, match=r"400M flops and 500M flops mean one network, of 385.8M flops"
    ):
        fit_budgets(B0, PUBLISHED, "flops", [400e6, 500e6])


class LatencyTimer:
    """Milliseconds that rise roughly with FLOPs: widths that are no multiple of 16 cost a tenth
    more.
    """

    def __init__(self, width_penalty=0.1):
        self.width_penalty = width_penalty
        self.measured = []

    def __call__(self, spec):
        self.measured.append(spec)
        fraction_unaligned = sum(stage.width % 16 != 0 for stage in spec.stages) / len(spec.stages)
        return network_cost(spec).flops / 1e7 * (1 + self.width_penalty * fraction_unaligned)


def test_a_latency_ladder_needs_few_measurements_and_none_twice():
    latency_timer = LatencyTimer()
    fits = fit_latency_budgets(B0, PUBLISHED, [10.0, 30.0, 90.0], latency_timer)
    assert len(latency_timer.measured) == len(set(latency_timer.measured)) <= 40
    for fit in fits:
        assert fit.value == LatencyTimer()(fit.spec) <= fit.limit
        assert scale_to_phi(B0, PUBLISHED, fit.phi) == fit.spec
    assert fits[0].value > 9.5
    assert [fit.phi < 0 for fit in fits] == [True, True, False]


def test_a_latency_that_is_nothing_but_flops_gives_what_a_budget_of_flops_gives():
    (latency_fit,) = fit_latency_budgets(B0, PUBLISHED, [80.0], LatencyTimer(width_penalty=0))
    assert latency_fit.spec == fit_budget(B0, PUBLISHED, "flops", 800e6).spec


def test_networks_far_beyond_a_latency_are_not_measured():
    latency_timer = LatencyTimer()
    fit_latency_budgets(B0, PUBLISHED, [60.0], latency_timer)
    assert max(network_cost(spec).flops for spec in latency_timer.measured) < 8 * 60 * 1e7


def test_a_larger_network_that_is_quicker_is_found_among_the_neighbors():
    flops_fit = fit_latency_budgets(B0, PUBLISHED, [80.0], LatencyTimer(width_penalty=0))[0]
    next_larger = scale_to_phi(B0, PUBLISHED, flops_fit.phi_interval[1] + 1e-6)
    base_timer = LatencyTimer(width_penalty=0)

    def latency(spec):
        return 79.0 if spec == next_larger else base_timer(spec)

    assert fit_latency_budgets(B0, PUBLISHED, [80.0], latency)[0].spec == next_larger


@pytest.mark.parametrize(("limit", "end"), [(0.001, "smallest"), (1e12, "largest")])
def test_a_latency_that_no_phi_meets_says_what_can_be_reached(limit, end):
    with pytest.raises(
        InputError, match=f"scaling.latency_ms: no phi meets .* ms: the {end} network"
    ):
        fit_latency_budgets(B0, PUBLISHED, [limit], LatencyTimer())


def test_a_measurement_that_is_none_is_refused():
    with pytest.raises(InputError, match="measured nan ms"):
        fit_latency_budgets(B0, PUBLISHED, [10.0], lambda spec: math.nan)
