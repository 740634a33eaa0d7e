"""alpha, beta and gamma from a race: their direction, their FLOPs and their intervals."""

import math
from dataclasses import replace

import numpy as np
import pytest

from phinas.experiment.schema.config import ScalingSection
from phinas.scaling_search.coefficients import PAPER, Coefficients
from phinas.scaling_search.race.centroid import (
    estimate_coefficients,
    family_direction,
    published_direction,
    scale_to_flops,
    scaling_direction,
)
from phinas.space.presets import preset
from phinas.space.search_spaces.loading import load_space
from phinas.space.spec import SpecError

B0 = preset("efficientnet_b0")
SMALL = load_space("small_images").base
ONE_BLOCK = replace(SMALL, stages=tuple(replace(stage, depth=1) for stage in SMALL.stages))
DEPTH, WIDTH, RESOLUTION = (
    Coefficients(2.0, 1.0, 1.0),
    Coefficients(1.0, math.sqrt(2), 1.0),
    Coefficients(1.0, 1.0, math.sqrt(2)),
)
PUBLISHED = scaling_direction((PAPER.alpha, PAPER.beta, PAPER.gamma))


def direction(coefficients):
    return scaling_direction((coefficients.alpha, coefficients.beta, coefficients.gamma))


def estimate(members, probabilities, **settings):
    return estimate_coefficients(B0, ScalingSection(**settings), members, probabilities)


def test_a_direction_has_the_fractions_of_log_flops():
    assert scaling_direction((2.0, 1.0, 1.0)).tolist() == [1, 0, 0]
    assert scaling_direction((2.0, math.sqrt(2), 2.0)) == pytest.approx([0.25, 0.25, 0.5])
    assert scaling_direction((1.0, 1.0, 1.0)) == pytest.approx([1 / 3] * 3)


def test_the_published_direction_is_limited_to_the_scaled_dimensions():
    assert published_direction(np.array([[1.0, 0, 0], [0, 0.5, 0.5]])) == pytest.approx(PUBLISHED)
    depth, width, resolution = published_direction(np.array([[1.0, 0, 0], [0, 1.0, 0]]))
    assert depth / width == pytest.approx(PUBLISHED[0] / PUBLISHED[1])
    assert (depth + width, resolution) == (pytest.approx(1), 0)


@pytest.mark.parametrize(("grid_phi", "fraction"), [(1.0, 0.5), (2.0, 0.25), (3.0, 0.125)])
def test_a_certain_winner_gets_a_part_that_rises_with_the_compared_phi(grid_phi, fraction):
    result = estimate([DEPTH, WIDTH, RESOLUTION], [0, 1, 0], grid_phi=grid_phi)
    assert direction(result.coefficients) == pytest.approx(
        (1 - fraction) * np.array([0, 1, 0]) + fraction * PUBLISHED, abs=1e-9
    )
    assert result.published_fraction == fraction


def test_where_nothing_is_decided_the_direction_is_between_the_mean_and_the_published_one():
    directions = np.eye(3)
    assert family_direction(directions, np.full(3, 1 / 3), 1.0) == pytest.approx(
        (PUBLISHED + 1 / 3) / 2
    )


def test_probabilities_matter_up_to_a_factor_only():
    first = estimate([DEPTH, WIDTH], [0.2, 0.6])
    assert first.coefficients == estimate([DEPTH, WIDTH], [0.25, 0.75]).coefficients
    assert first.probabilities == pytest.approx((0.25, 0.75))


def test_a_dimension_that_no_network_scales_is_not_scaled():
    result = estimate([DEPTH, WIDTH], [0.5, 0.5])
    assert result.coefficients.gamma == 1.0
    assert result.intervals[2] == (1.0, 1.0)
    assert min(result.coefficients.alpha, result.coefficients.beta) > 1.05


@pytest.mark.parametrize("rounding", ["ceil", "round", "balanced"])
@pytest.mark.parametrize("baseline", [B0, SMALL], ids=["b0", "small"])
def test_measured_flops_grow_by_the_multiple_on_average(baseline, rounding):
    coefficients = scale_to_flops(
        baseline, PUBLISHED, 2.0, Coefficients(1.0, 1.0, 1.0, rounding=rounding)
    )
    assert direction(coefficients) == pytest.approx(PUBLISHED, abs=1e-9)
    base_flops = baseline.cost().flops
    growths = [
        math.log2(coefficients.apply(baseline, phi).cost().flops / base_flops) for phi in (2, 4, 6)
    ]
    # rounded sizes jump, and the coefficients are just below the jump that exceeds the multiple
    assert 0.95 < sum(growths) / 12 <= 1


@pytest.mark.parametrize("baseline", [B0, SMALL, ONE_BLOCK], ids=["b0", "small", "one_block"])
def test_a_searched_family_has_about_the_flops_of_its_phi(baseline):
    networks = [0.5, 1.0, 2.0, 3.5, 5.0, 6.0, 7.0]
    section = ScalingSection()
    generator = np.random.default_rng(0)
    for shares in generator.dirichlet((2, 2, 2), size=20):
        coefficients = scale_to_flops(
            baseline, shares, 2.0, Coefficients(1.0, 1.0, 1.0, rounding=section.depth_rounding)
        )
        deviations = [
            math.log2(coefficients.apply(baseline, phi).cost().flops / baseline.cost().flops) - phi
            for phi in networks
        ]
        assert max(map(abs, deviations)) < 0.8
        assert math.sqrt(np.square(deviations).mean()) < 0.4


def test_nominal_flops_are_the_multiple_exactly():
    result = estimate([DEPTH, WIDTH, RESOLUTION], [1, 1, 2], constraint="nominal")
    assert result.coefficients.nominal == pytest.approx(2)
    assert estimate([DEPTH, WIDTH, RESOLUTION], [1, 1, 2]).coefficients.nominal != pytest.approx(2)


def test_intervals_have_the_networks_with_most_of_the_probability_and_the_coefficient():
    decided = estimate([DEPTH, WIDTH, RESOLUTION], [0.01, 0.98, 0.01], constraint="nominal")
    coefficients = decided.coefficients
    assert decided.intervals[0] == (1.0, coefficients.alpha)
    assert decided.intervals[1] == pytest.approx((coefficients.beta, math.sqrt(2)))
    undecided = estimate([DEPTH, WIDTH, RESOLUTION], [0.3, 0.4, 0.3], constraint="nominal")
    assert undecided.intervals[0] == pytest.approx((1.0, 2.0))
    assert undecided.intervals[1] == pytest.approx((1.0, math.sqrt(2)))


def test_factors_stay_within_what_a_file_of_coefficients_holds():
    limits = Coefficients(1.0, 1.0, 1.0)
    coefficients = scale_to_flops(B0, np.array([1.0, 0.0, 0.0]), 100.0, limits, nominal=True)
    assert coefficients.alpha == 10


def test_a_family_to_64_times_the_flops_exists_even_where_a_dimension_has_a_maximum():
    baseline = replace(B0, resolution=4096)
    limits = Coefficients(1.0, 1.0, 1.0)
    coefficients = scale_to_flops(baseline, np.array([0.0, 0.0, 1.0]), 2.0, limits)
    assert coefficients.apply(baseline, 6.0).resolution > 16_000
    with pytest.raises(SpecError):
        Coefficients(1.0, 1.0, math.sqrt(2)).apply(baseline, 6.0)
