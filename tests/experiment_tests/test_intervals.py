"""Intervals against published values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phinas.experiment.statistics.intervals import wilson_interval


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
def test_the_interval_equals_published_values(successes, count, low, high):
    assert wilson_interval(successes / count, count) == pytest.approx((low, high), abs=5e-5)


@given(st.floats(0, 1), st.integers(1, 10**7))
def test_the_interval_holds_its_fraction_and_lies_within_zero_and_one(fraction, count):
    low, high = wilson_interval(fraction, count)
    assert 0 <= low <= fraction + 1e-12
    assert fraction - 1e-12 <= high <= 1
