"""Members against controls: the intervals hold what is true as often as they say, and are no wider
than they need to be.
"""

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from scipy.special import ndtri

from phinas.experiment.statistics.paired_accuracy import Trained, difference_error, paired_error
from phinas.scaling_search.race.flops_adjustment import RELATIVE_SLOPE
from phinas.scaling_search.validation.control_test import (
    Luck,
    Slope,
    contrast,
    pooled_luck,
    slope_of,
    standard_error,
)

# B0, B1, the member that is compared, four controls: FLOPs in units of B0's.
SIZES = np.array([1.0, 1.6, 4.0, 4.3, 3.7, 4.1, 3.5])
AGAINST, CONTROLS = 2, (3, 4, 5, 6)


class Simulated(NamedTuple):
    """held: the share of validations in which every interval holds the truth; wrong: in which one
    of those that are alike excludes 0; width: the mean half width; known: what it would be if both
    kinds of luck were known."""

    held: float
    wrong: float
    width: float
    known: float


def simulate(
    *,
    seeds,
    runs,
    images=500,
    deviation=0.01,
    common=0.0,
    own=1.0,
    level=0.8,
    slope=0.03,
    noisy=1.0,
    recorded=False,
    seed=0,
):
    """Validations of networks whose truth is known: they are alike but for FLOPs (slope) and, of
    the first control, a difference of 0.05.

    common, own: shares of the variance of what decides an image that all networks share, and that
    the trainings of one network share; the rest is of a training. noisy: the deviation of the
    controls over that of others. recorded: whether it is known which images each training gets
    right.
    """
    generator = np.random.default_rng(seed)
    truth = level + slope * np.log(SIZES)
    truth[CONTROLS[0]] -= 0.05
    behind = (
        truth[AGAINST]
        - truth[list(CONTROLS)]
        - slope * np.log(SIZES[AGAINST] / SIZES[list(CONTROLS)])
    )
    deviations = np.where(np.arange(len(SIZES)) >= CONTROLS[0], noisy, 1.0) * deviation
    held, widths, wrong, errors = 0, 0.0, 0, []
    for _ in range(runs):
        luck = generator.normal(0, deviations[:, None], (len(SIZES), seeds)) + generator.normal(
            0, deviation, seeds
        )
        chance = np.clip(truth[:, None] + luck, 0.01, 0.99)
        image = math.sqrt(common) * generator.standard_normal((1, 1, images))
        image = image + math.sqrt(own) * generator.standard_normal((len(SIZES), 1, images))
        rest = math.sqrt(max(0.0, 1 - common - own)) * generator.standard_normal(
            (len(SIZES), seeds, images)
        )
        right = image + rest < ndtri(chance)[:, :, None]
        networks = [
            network_of(int(1e6 * size), rows, recorded)
            for size, rows in zip(SIZES, right, strict=True)
        ]
        pooled, measured = (
            pooled_luck(networks),
            slope_of(networks[0], [networks[AGAINST], *(networks[c] for c in CONTROLS)]),
        )
        member = networks[AGAINST]
        found = [
            contrast(member, networks[c], slope=measured, luck=pooled, comparisons=len(CONTROLS))
            for c in CONTROLS
        ]
        held += all(
            low <= true <= high
            for true, (low, high) in zip(behind, (f.interval for f in found), strict=True)
        )
        wrong += any(f.verdict != "tied" for f in found[1:])
        widths += np.mean([f.interval[1] - f.interval[0] for f in found]) / 2
        errors.append([f.behind for f in found] - behind)
    known = ndtri(1 - 0.025 / len(CONTROLS)) * math.sqrt(float(np.mean(np.square(errors))))
    return Simulated(held / runs, wrong / runs, widths / runs, known)


def network_of(flops, right, recorded):
    """right: (seeds, images)."""
    accuracies = {seed: float(row.mean()) for seed, row in enumerate(right)}
    return Trained(flops, accuracies, right.shape[1], dict(enumerate(right)) if recorded else {})


def half_width_if_all_were_known(*, seeds, images, deviation, accuracy):
    """Of one of four intervals, by the normal distribution."""
    sampling = math.sqrt(accuracy * (1 - accuracy) / images)
    return ndtri(1 - 0.025 / 4) * math.sqrt(2) * math.hypot(deviation / math.sqrt(seeds), sampling)


@pytest.mark.parametrize("seeds", [2, 3])
@pytest.mark.parametrize(("images", "deviation"), [(500, 0.01), (500, 0.03), (2000, 0.003)])
def test_all_intervals_of_a_validation_hold_the_truth_together_and_are_not_wide(
    seeds, images, deviation
):
    held, wrong, width, _ = simulate(seeds=seeds, runs=500, images=images, deviation=deviation)
    assert held >= 0.93
    assert wrong <= 0.07
    known = half_width_if_all_were_known(
        seeds=seeds, images=images, deviation=deviation, accuracy=0.84
    )
    assert width < known * {2: 1.6, 3: 1.35}[seeds]


@pytest.mark.parametrize(
    "options", [{"noisy": 2.0}, {"level": 0.95, "slope": 0.005}, {"slope": 0.07}]
)
def test_they_hold_where_controls_are_noisier_and_near_all_right_and_where_size_matters(options):
    assert simulate(seeds=2, runs=500, **options)[0] >= 0.93


@pytest.mark.parametrize("seeds", [2, 3])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"deviation": 0.03},
        {"common": 0.6, "own": 0.4},
        {"common": 0.6, "own": 0.2},
        {"common": 0.85, "own": 0.1, "level": 0.95, "slope": 0.005},
        {"common": 0.9, "own": 0.1, "deviation": 0.003, "images": 100},
    ],
)
def test_all_intervals_hold_the_truth_together_where_it_is_recorded_which_images_are_right(
    seeds, options
):
    found = simulate(seeds=seeds, runs=300, recorded=True, **options)
    assert found.held >= 0.93
    assert found.wrong <= 0.07
    assert found.width < 1.8 * found.known


@pytest.mark.parametrize("seeds", [2, 3])
def test_they_are_narrower_where_networks_err_on_the_same_images_and_no_wider_where_they_do_not(
    seeds,
):
    def narrower(**options):
        before, after = (
            simulate(seeds=seeds, runs=100, deviation=0.003, recorded=each, **options)
            for each in (False, True)
        )
        return after.width / before.width

    assert narrower(common=0.85, own=0.1) < 0.75
    assert narrower(common=0.6, own=0.2) < 0.9
    assert 0.95 < narrower() < 1.02


def test_the_error_of_a_paired_difference_is_agresti_and_mins():
    # Agresti, "Categorical Data Analysis" (2002), table 10.1: of 1,600 asked twice, 150 and 86
    # changed their minds, one way and the other; the standard error of the difference is 0.0095.
    # The formula is that of Agresti's own function `diffpropci`
    # (users.stat.ufl.edu/~aa/cda/R/matched).
    differences = np.array([1.0] * 150 + [-1.0] * 86 + [0.0] * (794 + 570))
    expected = math.sqrt(150.5 + 86.5 - (150.5 - 86.5) ** 2 / 1602) / 1602
    assert paired_error(differences) == pytest.approx(expected)
    assert expected == pytest.approx(0.0095, abs=1e-4)


@pytest.mark.parametrize("images", [1, 10, 1000])
def test_networks_that_are_alike_on_every_image_are_not_known_to_be_alike(images):
    assert paired_error(np.zeros(images)) == pytest.approx(1 / (images + 2))
    assert 0 < paired_error(np.ones(images)) < 1


def test_images_are_paired_only_where_they_are_recorded_for_all_shared_seeds():
    right = np.random.default_rng(0).random((2, 500)) < 0.8
    one, other = network_of(1, right, True), network_of(1, right, True)
    apart = math.hypot(one.sampling_error, other.sampling_error)
    assert difference_error([one], other, [0, 1]) == pytest.approx(1 / 502)
    for lacking in (network_of(1, right, False), replace(other, right={0: right[0]})):
        assert (
            difference_error([one], lacking, [0, 1])
            == difference_error([lacking], one, [0, 1])
            == apart
        )
    assert difference_error([one], replace(other, right={0: right[0]}), [0]) < apart


def test_a_slope_is_surer_where_images_are_paired():
    right = np.random.default_rng(0).random(500) < 0.8
    rows = np.stack([right, right])
    sure, bound = (
        slope_of(network_of(10, rows, each), [network_of(40, rows, each)]) for each in (True, False)
    )
    assert (sure.value, sure.training) == (bound.value, bound.training)
    assert 0 < sure.sampling < bound.sampling / 5


def test_networks_that_err_on_the_same_images_are_told_apart_less_often_where_that_is_not_recorded():
    held, wrong, _, _ = simulate(seeds=2, runs=200, common=0.6, own=0.2)
    assert held >= 0.99
    assert wrong <= 0.01


def trained(*accuracies, flops=1_000_000, images=10_000, seeds=None):
    return Trained(
        flops, dict(zip(seeds or range(len(accuracies)), accuracies, strict=True)), images
    )


def test_the_deviation_is_of_what_networks_and_seeds_leave():
    found = pooled_luck([trained(0.5, 0.6), trained(0.7, 0.8), trained(0.6, 0.73)])
    assert found.freedom == 2
    residuals = np.array([[0.5, 0.6], [0.7, 0.8], [0.6, 0.73]])
    residuals = residuals - residuals.mean(1, keepdims=True) - residuals.mean(0) + residuals.mean()
    assert found.deviation == pytest.approx(math.sqrt((residuals**2).sum() / 2))


def test_a_training_that_failed_costs_one_degree_of_freedom():
    rows = [trained(0.5, 0.6), trained(0.7, 0.81), trained(0.6, 0.73)]
    whole, more = pooled_luck(rows), pooled_luck([*rows, trained(0.9, seeds=[1])])
    assert (more.freedom, more.deviation) == (2, pytest.approx(whole.deviation))
    assert pooled_luck([*rows[:2], trained(0.6, seeds=[1])]).freedom == 1


@pytest.mark.parametrize("rows", [[], [trained(0.5, 0.6)], [trained(0.5), trained(0.6)]])
def test_one_network_or_one_seed_tells_nothing_of_luck(rows):
    assert pooled_luck(rows) is None


def test_without_knowing_luck_there_is_a_difference_and_no_verdict():
    found = contrast(
        trained(0.9), trained(0.8), slope=Slope(0.0, 0.0, 0.0), luck=None, comparisons=1
    )
    assert found.to_dict() == {
        "behind": pytest.approx(0.1),
        "correction": 0.0,
        "behind_interval": None,
        "verdict": None,
    }


@pytest.mark.parametrize(("control", "verdict"), [(0.8, "better"), (0.9, "tied"), (0.97, "worse")])
def test_the_verdict_is_of_the_member(control, verdict):
    luck, slope = Luck(0.005, 8), Slope(0.0, 0.0, 0.0)
    found = contrast(
        trained(0.9, 0.9), trained(control, control), slope=slope, luck=luck, comparisons=4
    )
    assert found.verdict == verdict
    assert found.interval[0] < found.behind < found.interval[1]


def test_more_flops_of_the_member_are_taken_off_and_make_the_interval_wider():
    luck = Luck(0.005, 8)
    equal = contrast(
        trained(0.9, 0.9), trained(0.8, 0.8), slope=Slope(0.1, 1.0, 0.01), luck=luck, comparisons=1
    )
    smaller = trained(0.8, 0.8, flops=900_000)
    found = contrast(
        trained(0.9, 0.9), smaller, slope=Slope(0.1, 1.0, 0.01), luck=luck, comparisons=1
    )
    assert found.correction == pytest.approx(0.1 * math.log(1 / 0.9))
    assert found.behind == pytest.approx(equal.behind - found.correction)
    assert found.interval[1] - found.interval[0] > equal.interval[1] - equal.interval[0]


def test_a_seed_that_one_of_them_lacks_is_left_out():
    one, other = trained(0.9, 0.5), trained(0.8, seeds=[0])
    found = contrast(one, other, slope=Slope(0.0, 0.0, 0.0), luck=Luck(0.01, 3), comparisons=1)
    assert found.behind == pytest.approx(0.1)
    assert (
        contrast(one, trained(0.8, seeds=[7]), slope=Slope(0.0, 0.0, 0.0), luck=None, comparisons=1)
        is None
    )


def test_the_slope_is_measured_from_the_baseline_where_that_was_trained_alike():
    larger = [trained(0.8, 0.8, flops=4_000_000), trained(0.9, 0.9, flops=4_000_000)]
    assert slope_of(trained(0.7, 0.7), larger).value == pytest.approx(0.15 / math.log(4))
    assert slope_of(trained(0.95, 0.95), larger).value == 0.0
    for baseline in (None, trained(0.7), trained(0.7, 0.7, flops=3_900_000)):
        assert slope_of(baseline, larger).value == pytest.approx(RELATIVE_SLOPE * 0.85)


def test_a_standard_error_is_above_0_where_every_image_is_right():
    assert 0 < standard_error(trained(1.0, 1.0, images=100), None) < 0.02
    many = standard_error(trained(0.9, 0.9, 0.9, 0.9, images=10**9), Luck(0.01, 3))
    assert many == pytest.approx(0.005, rel=1e-3)
