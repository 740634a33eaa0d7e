"""The largest network within a budget, compared with every phi of a fine grid; and the ladders
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
        phi: getattr(scale_to_phi(baseline, coefficients, phi).cost(), metric)
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
def test_no_phi_of_a_fine_grid_gives_a_larger_network_within_the_budget(
    baseline, alpha, beta, gamma, rounding, metric, multiple
):
    coefficients = Coefficients(alpha, beta, gamma, rounding=rounding)
    limit = multiple * getattr(baseline.cost(), metric)
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
    values = [scale_to_phi(SHRINKING, coefficients, phi).cost().flops for phi in phis]
    decreases = [(old, new) for old, new in pairwise(values) if new < old]
    assert decreases
    for old, new in decreases:
        fit = fit_budget(SHRINKING, coefficients, "flops", (old + new) / 2)
        assert fit.value == max(value for value in values if value <= (old + new) / 2)


@pytest.mark.parametrize("limit", [100e6, 250e6, 385_814_752, 800e6, 4.2e9])
def test_the_interval_has_exactly_the_phi_of_the_network(limit):
    fit = fit_budget(B0, PUBLISHED, "flops", limit)
    low, high = fit.phi_interval
    assert low <= fit.phi <= high
    assert fit.value == fit.spec.cost().flops <= limit
    for phi in (fit.phi, low, high, (low + high) / 2):
        assert scale_to_phi(B0, PUBLISHED, phi) == fit.spec
    for phi in (low - 1e-7, high + 1e-7):
        assert scale_to_phi(B0, PUBLISHED, phi) != fit.spec
    assert scale_to_phi(B0, PUBLISHED, high + 1e-7).cost().flops > limit


def test_of_networks_with_equal_parameters_the_largest_resolution_is_selected():
    coefficients = Coefficients(1.0, 1.1, 1.15)
    fit = fit_budget(B0, coefficients, "params", 6.5e6)
    next_network = scale_to_phi(B0, coefficients, fit.phi_interval[1] + 1e-7)
    assert next_network.cost().params > 6.5e6
    assert scale_to_phi(B0, coefficients, fit.phi_interval[0] - 1e-7).cost().params == fit.value


def test_a_baseline_that_exactly_meets_the_budget_is_selected():
    fit = fit_budget(B0, PUBLISHED, "flops", B0.cost().flops)
    assert (fit.spec, fit.phi, fit.value) == (B0, 0.0, B0.cost().flops)
    assert fit_budget(B0, PUBLISHED, "flops", B0.cost().flops - 1).phi < 0


def test_a_phi_has_the_fewest_decimals_that_give_its_network():
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
            assert member.flops == member.budget.value
            assert member.budget.cost_metric == "flops"
    assert family[2].budget is None


def test_a_budget_that_the_baseline_meets_is_recorded_with_b0():
    family = make_budget_family(B0, fit_budgets(B0, PUBLISHED, "flops", [390e6, 800e6]))
    assert [(member.name, member.budget and member.budget.limit) for member in family] == [
        ("b0", 390e6),
        ("b1", 800e6),
    ]


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        (1e5, "the smallest network .* has 558.5k flops .*32 px.*; raise the budget"),
        (1e18, "the largest network .* has 1.701e[+]05G flops .*; lower the budget"),
        (0, "0 is not a number above 0"),
        (-5, "-5 is not a number above 0"),
        (math.nan, "nan is not a number above 0"),
        (math.inf, "inf is not a number above 0"),
    ],
)
def test_a_budget_that_no_phi_meets_is_refused_with_the_nearest_cost(limit, message):
    with pytest.raises(InputError, match=f"scaling.flops: .*{message}"):
        fit_budget(B0, PUBLISHED, "flops", limit)


def test_coefficients_that_scale_nothing_meet_no_budget():
    with pytest.raises(InputError, match="alpha, beta and gamma are all 1"):
        fit_budget(B0, Coefficients(1.0, 1.0, 1.0), "flops", 1e9)
    with pytest.raises(InputError, match="no phi meets 6M params"):
        fit_budget(B0, Coefficients(1.0, 1.0, 1.1), "params", 6e6)  # resolution alone adds none


@pytest.mark.parametrize("limits", [[8e8, 4e8], [4e8, 4e8]])
def test_budgets_that_do_not_rise_are_refused(limits):
    with pytest.raises(InputError, match="write the budgets in rising order"):
        fit_budgets(B0, PUBLISHED, "flops", limits)


def test_an_empty_list_of_budgets_is_refused():
    with pytest.raises(InputError, match=r"scaling\.params: has no budgets"):
        fit_budgets(B0, PUBLISHED, "params", [])


def test_two_budgets_with_one_network_are_refused():
    with pytest.raises(
        InputError, match=r"400M flops and 500M flops give the same network, with 385.8M flops"
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
        return spec.cost().flops / 1e7 * (1 + self.width_penalty * fraction_unaligned)


def test_a_latency_ladder_needs_few_measurements_and_none_twice():
    latency_timer = LatencyTimer()
    fits = fit_latency_budgets(B0, PUBLISHED, [10.0, 30.0, 90.0], latency_timer)
    assert len(latency_timer.measured) == len(set(latency_timer.measured)) <= 40
    for fit in fits:
        assert fit.value == LatencyTimer()(fit.spec) <= fit.limit
        assert scale_to_phi(B0, PUBLISHED, fit.phi) == fit.spec
    assert fits[0].value > 9.5
    assert [fit.phi < 0 for fit in fits] == [True, True, False]


def test_a_latency_proportional_to_flops_gives_the_network_of_a_flops_budget():
    (latency_fit,) = fit_latency_budgets(B0, PUBLISHED, [80.0], LatencyTimer(width_penalty=0))
    assert latency_fit.spec == fit_budget(B0, PUBLISHED, "flops", 800e6).spec


def test_networks_far_above_a_latency_are_not_measured():
    latency_timer = LatencyTimer()
    fit_latency_budgets(B0, PUBLISHED, [60.0], latency_timer)
    assert max(spec.cost().flops for spec in latency_timer.measured) < 8 * 60 * 1e7


def test_a_larger_and_faster_neighbor_is_selected():
    flops_fit = fit_latency_budgets(B0, PUBLISHED, [80.0], LatencyTimer(width_penalty=0))[0]
    next_larger = scale_to_phi(B0, PUBLISHED, flops_fit.phi_interval[1] + 1e-6)
    base_timer = LatencyTimer(width_penalty=0)

    def latency(spec):
        return 79.0 if spec == next_larger else base_timer(spec)

    assert fit_latency_budgets(B0, PUBLISHED, [80.0], latency)[0].spec == next_larger


@pytest.mark.parametrize(("limit", "end"), [(0.001, "smallest"), (1e12, "largest")])
def test_a_latency_that_no_phi_meets_is_refused_with_the_nearest_latency(limit, end):
    with pytest.raises(
        InputError, match=f"scaling.latency_ms: no phi meets .* ms: the {end} network"
    ):
        fit_latency_budgets(B0, PUBLISHED, [limit], LatencyTimer())


def test_a_measurement_that_is_not_finite_is_refused():
    with pytest.raises(InputError, match="the measured nan ms"):
        fit_latency_budgets(B0, PUBLISHED, [10.0], lambda spec: math.nan)
