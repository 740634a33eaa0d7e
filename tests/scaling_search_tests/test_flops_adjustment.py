"""The slope of the score over log FLOPs."""

import math

import pytest

from phinas.scaling_search.race.flops_adjustment import default_slope, measured_slope


def test_the_slope_in_log_flops_is_measured_against_the_baseline():
    members = [[0.72, 0.74], [0.73, 0.75]]
    assert measured_slope([0.70, 0.72], members, [2.0, 2.0]) == pytest.approx(0.025 / math.log(2))
    assert measured_slope([0.80, 0.82], members, [2.0, 2.0]) == 0
    assert default_slope(0.75) == pytest.approx(0.015)
    with pytest.raises(ValueError, match="must all be above 1"):
        measured_slope([0.7, 0.7], members, [0.9, 1.1])
    with pytest.raises(ValueError, match="every seed"):
        measured_slope([0.7], members, [2.0, 2.0])
