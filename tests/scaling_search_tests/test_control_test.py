"""Members against controls: the intervals hold what is true as often as they say, and are no wider
than they need to be.
"""

import math
from typing import NamedTuple

import numpy as np
import pytest
from scipy.special import ndtri

from phinas.experiment.statistics.paired_scores import NetworkScore
from phinas.experiment.statistics.training_noise import NoiseEstimate, estimate_noise
from phinas.scaling_search.race.flops_adjustment import RELATIVE_SLOPE
from phinas.scaling_search.validation.control_test import (
    SlopeEstimate,
    compare_with_control,
    estimate_slope,
    standard_error,
)

# B0, B1, the member that is compared, four controls: FLOPs in units of B0's.
SIZES = np.array([1.0, 1.6, 4.0, 4.3, 3.7, 4.1, 3.5])
MEMBER, CONTROLS = 2, (3, 4, 5, 6)


class Simulated(NamedTuple):
    """coverage: the fraction of validations in which every interval holds the truth;
    false_positive_rate: in which one of those of equal networks excludes 0; width: the mean half
    width; known_width: what it would be if both errors were known."""

    coverage: float
    false_positive_rate: float
    width: float
    known_width: float


def simulate(
    *,
    seeds,
    runs,
    images=500,
    deviation=0.01,
    shared_by_networks=0.0,
    shared_by_trainings=1.0,
    level=0.8,
    slope=0.03,
    noisy=1.0,
    noisy_member=1.0,
    seed_effect=1.0,
    seed_loading=0.0,
    curvature=0.0,
    recorded=False,
    seed=0,
):
    """Validations of networks whose truth is known: they are alike but for FLOPs (slope) and, of
    the first control, a difference of 0.05.

    shared_by_networks, shared_by_trainings: fractions of the variance of what decides an image that
    all networks share, and that the trainings of one network share; the rest is of a training.
    noisy, noisy_member: the deviation of the controls and of the member over that of others.
    seed_effect: over the deviation; seed_loading: the deviation of the networks' loadings of it.
    curvature: exponent of a power law of the error over FLOPs instead of a slope; 0: a slope.
    recorded: whether it is known which
    images each training gets right.
    """
    generator = np.random.default_rng(seed)
    truth = level + slope * np.log(SIZES)
    if curvature:
        truth = level + slope * (1 - SIZES**-curvature) / curvature
    # at equal FLOPs
    difference = np.where(np.arange(len(CONTROLS)) == 0, 0.05, 0.0)
    truth[CONTROLS[0]] -= 0.05
    deviations = np.where(np.arange(len(SIZES)) >= CONTROLS[0], noisy, 1.0) * deviation
    deviations[MEMBER] *= noisy_member
    coverage, widths, false_positive_rate, errors = 0, 0.0, 0, []
    for _ in range(runs):
        loadings = generator.normal(1.0, seed_loading, (len(SIZES), 1))
        noise = generator.normal(0, deviations[:, None], (len(SIZES), seeds))
        noise = noise + loadings * generator.normal(0, seed_effect * deviation, seeds)
        chance = np.clip(truth[:, None] + noise, 0.01, 0.99)
        image_part = math.sqrt(shared_by_networks) * generator.standard_normal((1, 1, images))
        image_part = image_part + math.sqrt(shared_by_trainings) * generator.standard_normal(
            (len(SIZES), 1, images)
        )
        training_part = math.sqrt(
            max(0.0, 1 - shared_by_networks - shared_by_trainings)
        ) * generator.standard_normal((len(SIZES), seeds, images))
        correct = image_part + training_part < ndtri(chance)[:, :, None]
        networks = [
            network_of(int(1e6 * size), rows, recorded)
            for size, rows in zip(SIZES, correct, strict=True)
        ]
        pooled, measured = (
            estimate_noise([network.score_by_seed for network in networks]),
            estimate_slope(networks[0], [networks[MEMBER], *(networks[c] for c in CONTROLS)]),
        )
        member = networks[MEMBER]
        comparisons = [
            compare_with_control(
                member, networks[c], slope=measured, noise=pooled, comparisons=len(CONTROLS)
            )
            for c in CONTROLS
        ]
        coverage += all(
            low <= true <= high
            for true, (low, high) in zip(difference, (f.interval for f in comparisons), strict=True)
        )
        false_positive_rate += any(f.verdict != "tied" for f in comparisons[1:])
        widths += np.mean([f.interval[1] - f.interval[0] for f in comparisons]) / 2
        errors.append([f.difference for f in comparisons] - difference)
    known_width = ndtri(1 - 0.025 / len(CONTROLS)) * math.sqrt(float(np.mean(np.square(errors))))
    return Simulated(coverage / runs, false_positive_rate / runs, widths / runs, known_width)


def network_of(flops, correct, recorded):
    """correct: (seeds, images)."""
    scores = {seed: float(row.mean()) for seed, row in enumerate(correct)}
    return NetworkScore(
        flops, scores, correct.shape[1], dict(enumerate(correct)) if recorded else {}
    )


def half_width_if_all_were_known(*, seeds, images, deviation, score):
    """Of one of four intervals, by the normal distribution."""
    sampling_error = math.sqrt(score * (1 - score) / images)
    return (
        ndtri(1 - 0.025 / 4)
        * math.sqrt(2)
        * math.hypot(deviation / math.sqrt(seeds), sampling_error)
    )


@pytest.mark.parametrize(
    ("images", "deviation", "seeds"), [(500, 0.01, 2), (500, 0.03, 3), (2000, 0.003, 2)]
)
def test_all_intervals_of_a_validation_hold_the_truth_together_and_are_not_wide(
    seeds, images, deviation
):
    coverage, false_positive_rate, width, _ = simulate(
        seeds=seeds, runs=500, images=images, deviation=deviation
    )
    assert coverage >= 0.93
    assert false_positive_rate <= 0.07
    known_width = half_width_if_all_were_known(
        seeds=seeds, images=images, deviation=deviation, score=0.84
    )
    assert width < known_width * {2: 1.9, 3: 1.6}[seeds]


@pytest.mark.parametrize(
    "options",
    [
        {"noisy": 2.0},
        {"noisy_member": 2.0},
        {"seed_effect": 4.0, "seed_loading": 0.3},
        {"level": 0.95, "slope": 0.005},
        {"slope": 0.07},
        {"level": 0.75, "slope": 0.1, "curvature": 1.5, "deviation": 0.003},
    ],
)
def test_intervals_hold_if_networks_are_noisier_scores_near_1_or_slopes_steep_or_curved(
    options,
):
    assert simulate(seeds=2, runs=500, **options)[0] >= 0.93


@pytest.mark.parametrize(
    ("options", "seeds"),
    [
        ({}, 2),
        ({"deviation": 0.03}, 3),
        ({"shared_by_networks": 0.6, "shared_by_trainings": 0.4}, 3),
        ({"shared_by_networks": 0.6, "shared_by_trainings": 0.2}, 2),
        (
            {"shared_by_networks": 0.85, "shared_by_trainings": 0.1, "level": 0.95, "slope": 0.005},
            3,
        ),
        (
            {
                "shared_by_networks": 0.9,
                "shared_by_trainings": 0.1,
                "deviation": 0.003,
                "images": 100,
            },
            2,
        ),
    ],
)
def test_all_intervals_hold_the_truth_together_where_it_is_recorded_which_images_are_right(
    seeds, options
):
    comparison = simulate(seeds=seeds, runs=300, recorded=True, **options)
    assert comparison.coverage >= 0.93
    assert comparison.false_positive_rate <= 0.07
    assert comparison.width < 1.8 * comparison.known_width


@pytest.mark.parametrize("seeds", [2, 3])
def test_recorded_images_narrow_intervals_where_networks_share_errors(
    seeds,
):
    def narrower(**options):
        before, after = (
            simulate(seeds=seeds, runs=100, deviation=0.003, recorded=each, **options)
            for each in (False, True)
        )
        return after.width / before.width

    assert narrower(shared_by_networks=0.85, shared_by_trainings=0.1) < 0.75
    assert narrower(shared_by_networks=0.6, shared_by_trainings=0.2) < 0.9
    assert 0.95 < narrower() < 1.02


def test_a_slope_has_a_smaller_error_where_images_are_paired():
    correct = np.random.default_rng(0).random(500) < 0.8
    rows = np.stack([correct, correct])
    paired, unpaired = (
        estimate_slope(network_of(10, rows, each), [network_of(40, rows, each)])
        for each in (True, False)
    )
    assert (paired.value, paired.training_error) == (unpaired.value, unpaired.training_error)
    assert 0 < paired.sampling_error < unpaired.sampling_error / 5


def test_shared_errors_lower_the_power_where_correct_images_are_not_recorded():
    coverage, false_positive_rate, _, _ = simulate(
        seeds=2, runs=200, shared_by_networks=0.6, shared_by_trainings=0.2
    )
    assert coverage >= 0.99
    assert false_positive_rate <= 0.01


def network_score(*scores, flops=1_000_000, images=10_000, seeds=None):
    return NetworkScore(flops, dict(zip(seeds or range(len(scores)), scores, strict=True)), images)


def test_without_known_training_noise_there_is_a_difference_and_no_verdict():
    comparison = compare_with_control(
        network_score(0.9),
        network_score(0.8),
        slope=SlopeEstimate(0.0, 0.0, 0.0),
        noise=None,
        comparisons=1,
    )
    assert comparison.difference == pytest.approx(0.1)
    assert comparison.flops_adjustment == 0.0
    assert comparison.interval is None
    assert comparison.verdict is None


@pytest.mark.parametrize(("control", "verdict"), [(0.8, "better"), (0.9, "tied"), (0.97, "worse")])
def test_the_verdict_is_on_the_member(control, verdict):
    noise, slope = NoiseEstimate(0.005, 8), SlopeEstimate(0.0, 0.0, 0.0)
    comparison = compare_with_control(
        network_score(0.9, 0.9),
        network_score(control, control),
        slope=slope,
        noise=noise,
        comparisons=4,
    )
    assert comparison.verdict == verdict
    assert comparison.interval[0] < comparison.difference < comparison.interval[1]


def test_more_flops_of_the_member_are_subtracted_and_widen_the_interval():
    noise = NoiseEstimate(0.005, 8)
    equal = compare_with_control(
        network_score(0.9, 0.9),
        network_score(0.8, 0.8),
        slope=SlopeEstimate(0.1, 1.0, 0.01),
        noise=noise,
        comparisons=1,
    )
    smaller = network_score(0.8, 0.8, flops=900_000)
    comparison = compare_with_control(
        network_score(0.9, 0.9),
        smaller,
        slope=SlopeEstimate(0.1, 1.0, 0.01),
        noise=noise,
        comparisons=1,
    )
    assert comparison.flops_adjustment == pytest.approx(0.1 * math.log(1 / 0.9))
    assert comparison.difference == pytest.approx(equal.difference - comparison.flops_adjustment)
    assert comparison.interval[1] - comparison.interval[0] > equal.interval[1] - equal.interval[0]


def test_seeds_that_one_network_lacks_are_ignored():
    network, control = network_score(0.9, 0.5), network_score(0.8, seeds=[0])
    comparison = compare_with_control(
        network,
        control,
        slope=SlopeEstimate(0.0, 0.0, 0.0),
        noise=NoiseEstimate(0.01, 3),
        comparisons=1,
    )
    assert comparison.difference == pytest.approx(0.1)
    assert (
        compare_with_control(
            network,
            network_score(0.8, seeds=[7]),
            slope=SlopeEstimate(0.0, 0.0, 0.0),
            noise=None,
            comparisons=1,
        )
        is None
    )


def test_the_slope_is_measured_from_a_baseline_with_the_same_seeds():
    larger = [
        network_score(0.8, 0.8, flops=4_000_000),
        network_score(0.9, 0.9, flops=4_000_000),
    ]
    assert estimate_slope(network_score(0.7, 0.7), larger).value == pytest.approx(
        0.15 / math.log(4)
    )
    assert estimate_slope(network_score(0.95, 0.95), larger).value == 0.0
    for baseline in (None, network_score(0.7), network_score(0.7, 0.7, flops=3_900_000)):
        assert estimate_slope(baseline, larger).value == pytest.approx(RELATIVE_SLOPE * 0.85)


def test_a_standard_error_is_above_zero_where_every_image_is_correct():
    assert 0 < standard_error(network_score(1.0, 1.0, images=100), None) < 0.02
    with_many_images = standard_error(
        network_score(0.9, 0.9, 0.9, 0.9, images=10**9), NoiseEstimate(0.01, 3)
    )
    assert with_many_images == pytest.approx(0.005, rel=1e-3)


def test_the_noise_of_a_pair_has_more_weight_the_more_seeds_show_it():
    """The same mean difference, once with a noise that is far above that of other networks."""

    def half_width(*member_scores):
        comparison = compare_with_control(
            network_score(*member_scores, images=10**9),
            network_score(*[0.8] * len(member_scores), images=10**9),
            slope=SlopeEstimate(0.0, 0.0, 0.0),
            noise=NoiseEstimate(0.005, 12),
            comparisons=1,
        )
        return (comparison.interval[1] - comparison.interval[0]) / 2

    ratios = [
        half_width(*[0.85, 0.95] * pairs) / half_width(*[0.9, 0.9] * pairs) for pairs in (1, 3)
    ]
    assert 2 < ratios[0] < ratios[1]
