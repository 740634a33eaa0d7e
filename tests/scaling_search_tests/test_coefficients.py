"""Compound coefficients with a highest resolution."""

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phinas.scaling_search.coefficients import PAPER, Coefficients
from phinas.scaling_search.family.budget_ladder import fit_budget
from phinas.scaling_search.family.phi import find_phi_interval, scale_to_phi
from phinas.space.presets import preset
from phinas.space.search_spaces.loading import load_space

B0 = preset("efficientnet_b0")
TINY = load_space("tiny").base
FACTORS = st.floats(1.0, 1.6)
ROUNDINGS = st.sampled_from(["ceil", "round", "balanced"])


def flops_factor(factors):
    return factors.depth * factors.width**2 * factors.resolution**2


@given(FACTORS, FACTORS, FACTORS, st.floats(0, 8), st.integers(200, 1000))
def test_the_nominal_multiple_of_the_flops_does_not_depend_on_the_highest_resolution(
    alpha, beta, gamma, phi, max_resolution
):
    coefficients = Coefficients(alpha, beta, gamma, max_resolution=max_resolution)
    factors = coefficients.factors(224, phi)
    assert flops_factor(factors) == pytest.approx(coefficients.nominal**phi)
    assert 1 <= factors.resolution <= max(1.0, max_resolution / 224)
    assert factors.depth >= alpha**phi * (1 - 1e-9)
    assert factors.width >= beta**phi * (1 - 1e-9)


def test_depth_and_width_add_missing_flops_in_the_published_proportion():
    limited = Coefficients(1.0, 1.0, 1.3, max_resolution=32).factors(32, 4.0)
    assert limited.resolution == 1.0
    assert math.log(limited.depth) / math.log(limited.width) == pytest.approx(
        math.log(1.2) / math.log(1.1)
    )


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from([B0, TINY]),
    FACTORS,
    FACTORS,
    st.floats(1.01, 1.6),
    ROUNDINGS,
    st.floats(1.0, 2.0),
    st.lists(st.floats(-3, 6), min_size=2, max_size=12),
)
def test_every_size_rises_with_phi_and_the_resolution_stays_within_its_limit(
    baseline, alpha, beta, gamma, rounding, limit, phis
):
    max_resolution = round(baseline.resolution * limit)
    coefficients = Coefficients(
        alpha, beta, gamma, rounding=rounding, max_resolution=max_resolution
    )
    networks = [scale_to_phi(baseline, coefficients, phi) for phi in sorted({*phis, 0.0})]
    for smaller, larger in pairwise(networks):
        assert smaller.resolution <= larger.resolution <= max_resolution
        assert all(a <= b for a, b in zip(smaller.widths, larger.widths, strict=True))
        assert all(a.depth <= b.depth for a, b in zip(smaller.stages, larger.stages, strict=True))


def test_below_the_baseline_the_highest_resolution_changes_nothing():
    limited = replace(PAPER, max_resolution=224)
    assert scale_to_phi(B0, limited, -1.5) == scale_to_phi(B0, PAPER, -1.5)


def test_a_baseline_above_the_highest_resolution_keeps_its_own():
    assert scale_to_phi(B0, replace(PAPER, max_resolution=64), 2.0).resolution == 224


def test_members_whose_resolution_is_limited_are_known():
    coefficients = replace(PAPER, max_resolution=300)
    assert [coefficients.limits_resolution(224, phi) for phi in (-1, 0, 1, 2, 3.5)] == [
        False, False, False, False, True,
    ]  # fmt: skip
    assert not PAPER.limits_resolution(224, 7.0)


def test_an_interval_of_phi_and_a_budget_are_exact_where_the_resolution_is_limited():
    coefficients = Coefficients(1.0, 1.1, 1.31, max_resolution=40)
    baseline = replace(TINY, resolution=32)
    low, high = find_phi_interval(baseline, coefficients, 3.0)
    network = scale_to_phi(baseline, coefficients, 3.0)
    assert low < 3.0 < high
    for phi, is_same in ((low, True), (high, True), (low - 1e-6, False), (high + 1e-6, False)):
        assert (scale_to_phi(baseline, coefficients, phi) == network) == is_same
    limit = 8 * baseline.cost().flops
    fit = fit_budget(baseline, coefficients, "flops", limit)
    costs = [scale_to_phi(baseline, coefficients, step / 500).cost().flops for step in range(3000)]
    assert fit.value == max(cost for cost in costs if cost <= limit)
    assert fit.spec.resolution == 40


@dataclass(frozen=True)
class OtherNetwork:
    """A network of another kind, which records its factors."""

    resolution: int
    factors: tuple[float, ...] = ()

    def scale(self, *, depth, width, resolution, divisor, rounding):
        return OtherNetwork(
            round(self.resolution * resolution), (depth, width, resolution, divisor, rounding)
        )


def test_any_scalable_network_is_limited():
    coefficients = Coefficients(1.2, 1.1, 1.3, rounding="round", max_resolution=50)
    scaled = coefficients.apply(OtherNetwork(40), 3.0)
    assert scaled.resolution == 50
    assert scaled.factors == (*coefficients.factors(40, 3.0), 8, "round")
