"""Tests of confidence intervals, with published values."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phinas.experiment.statistics.intervals import (
    combined_half_width,
    min_detectable_difference,
    newcombe_interval,
    percentile_interval,
    wilson_interval,
    wilson_standard_error,
)


# Newcombe (1998), "Two-sided confidence intervals for the single proportion", table I, method 3.
@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_equals_published_values(successes, count, low, high):
    assert wilson_interval(successes / count, count) == pytest.approx((low, high), abs=5e-5)


@given(st.floats(0, 1), st.integers(1, 10**7))
def test_wilson_interval_contains_its_fraction_and_is_within_zero_and_one(fraction, count):
    low, high = wilson_interval(fraction, count)
    assert 0 <= low <= fraction + 1e-12
    assert fraction - 1e-12 <= high <= 1


@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
def test_wilson_standard_error_is_positive_and_near_the_binomial_one_for_many_trials(fraction):
    assert wilson_standard_error(fraction, 20) > 0
    binomial = math.sqrt(fraction * (1 - fraction) / 10**6)
    assert wilson_standard_error(fraction, 10**6) == pytest.approx(binomial, rel=0.01, abs=1e-5)


# Newcombe (1998), "Interval estimation for the difference between independent proportions",
# table II, method 10: the first minus the second.
@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [((56, 70), (48, 80), 0.0524, 0.3339), ((9, 10), (3, 10), 0.1705, 0.8090)],
)
def test_newcombe_interval_equals_published_values(first, second, low, high):
    interval = newcombe_interval(second[0] / second[1], second[1], first[0] / first[1], first[1])
    assert interval == pytest.approx((low, high), abs=5e-5)


def test_smallest_detectable_difference_is_that_of_two_independent_fractions():
    normal = 1.96 * math.sqrt(2 * 0.8 * 0.2 / 10_000)
    assert min_detectable_difference(0.8, 10_000) == pytest.approx(normal, rel=0.01)


def test_percentile_interval_holds_the_central_95_percent():
    assert percentile_interval(np.arange(1001.0)) == pytest.approx((25.0, 975.0))


def test_combined_half_width_is_the_root_of_the_sum_of_squares():
    training = combined_half_width(0.01, 4, 0.0)
    sampling = combined_half_width(0.0, 4, 0.02)
    assert training == pytest.approx(2.7764 * 0.01, rel=1e-4)  # Student's t, 4 degrees of freedom
    assert sampling == pytest.approx(1.95996 * 0.02, rel=1e-4)
    assert combined_half_width(0.01, 4, 0.02) == pytest.approx(math.hypot(training, sampling))


def test_simultaneous_intervals_are_wider():
    assert combined_half_width(0.01, 4, 0.02, comparisons=5) > 1.2 * combined_half_width(
        0.01, 4, 0.02
    )
