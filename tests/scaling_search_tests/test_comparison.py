"""Members against controls: the intervals hold what is true as often as they say, and are no wider than they need to be."""

import math

import numpy as np
import pytest
from scipy.special import ndtri

from scaling_search.comparison import Luck, Slope, Trained, contrast, pooled_luck, slope_of, standard_error
from scaling_search.correction import RELATIVE_SLOPE

# B0, B1, the member that is compared, four controls: FLOPs in units of B0's.
SIZES = np.array([1.0, 1.6, 4.0, 4.3, 3.7, 4.1, 3.5])
AGAINST, CONTROLS = 2, (3, 4, 5, 6)


def simulate(*, seeds, runs, images=500, deviation=0.01, common=0.0, own=1.0, level=0.8, slope=0.03, noisy=1.0, seed=0):
    """Shares of validations in which every interval holds the truth, and in which none of them excludes 0 by luck; mean half
    width. All networks are alike but for FLOPs (slope) and, for the first, a difference of 0.05 in the first control.

    common, own: shares of the variance of what decides an image that all networks share, and that the trainings of one network
    share; the rest is of a training. noisy: the deviation of the controls over that of others.
    """
    generator = np.random.default_rng(seed)
    truth = level + slope * np.log(SIZES)
    truth[CONTROLS[0]] -= 0.05
    behind = truth[AGAINST] - truth[list(CONTROLS)] - slope * np.log(SIZES[AGAINST] / SIZES[list(CONTROLS)])
    deviations = np.where(np.arange(len(SIZES)) >= CONTROLS[0], noisy, 1.0) * deviation
    held, widths, wrong = 0, 0.0, 0
    for _ in range(runs):
        luck = generator.normal(0, deviations[:, None], (len(SIZES), seeds)) + generator.normal(0, deviation, seeds)
        chance = np.clip(truth[:, None] + luck, 0.01, 0.99)
        image = math.sqrt(common) * generator.standard_normal((1, 1, images))
        image = image + math.sqrt(own) * generator.standard_normal((len(SIZES), 1, images))
        rest = math.sqrt(1 - common - own) * generator.standard_normal((len(SIZES), seeds, images))
        right = (image + rest < ndtri(chance)[:, :, None]).mean(2)
        networks = [Trained(int(1e6 * size), dict(enumerate(row)), images) for size, row in zip(SIZES, right, strict=True)]
        pooled, measured = pooled_luck(networks), slope_of(networks[0], [networks[AGAINST], *(networks[c] for c in CONTROLS)])
        member = networks[AGAINST]
        found = [contrast(member, networks[c], slope=measured, luck=pooled, comparisons=len(CONTROLS)) for c in CONTROLS]
        held += all(low <= true <= high for true, (low, high) in zip(behind, (f.interval for f in found), strict=True))
        wrong += any(f.verdict != "tied" for f in found[1:])
        widths += np.mean([f.interval[1] - f.interval[0] for f in found]) / 2
    return held / runs, wrong / runs, widths / runs


def half_width_if_all_were_known(*, seeds, images, deviation, accuracy):
    """Of one of four intervals, by the normal distribution."""
    sampling = math.sqrt(accuracy * (1 - accuracy) / images)
    return ndtri(1 - 0.025 / 4) * math.sqrt(2) * math.hypot(deviation / math.sqrt(seeds), sampling)


@pytest.mark.parametrize("seeds", [2, 3])
@pytest.mark.parametrize(("images", "deviation"), [(500, 0.01), (500, 0.03), (2000, 0.003)])
def test_all_intervals_of_a_validation_hold_the_truth_together_and_are_not_wide(seeds, images, deviation):
    held, wrong, width = simulate(seeds=seeds, runs=500, images=images, deviation=deviation)
    assert held >= 0.93
    assert wrong <= 0.07
    known = half_width_if_all_were_known(seeds=seeds, images=images, deviation=deviation, accuracy=0.84)
    assert width < known * {2: 1.6, 3: 1.35}[seeds]


@pytest.mark.parametrize("options", [{"noisy": 2.0}, {"level": 0.95, "slope": 0.005}, {"slope": 0.07}])
def test_they_hold_where_controls_are_noisier_and_near_all_right_and_where_size_matters(options):
    assert simulate(seeds=2, runs=500, **options)[0] >= 0.93


def test_networks_that_err_on_the_same_images_are_told_apart_less_often_than_could_be():
    held, wrong, _ = simulate(seeds=2, runs=200, common=0.6, own=0.2)
    assert held >= 0.99
    assert wrong <= 0.01


def trained(*accuracies, flops=1_000_000, images=10_000, seeds=None):
    return Trained(flops, dict(zip(seeds or range(len(accuracies)), accuracies, strict=True)), images)


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
    found = contrast(trained(0.9), trained(0.8), slope=Slope(0.0, 0.0, 0.0), luck=None, comparisons=1)
    assert found.to_dict() == {
        "behind": pytest.approx(0.1),
        "correction": 0.0,
        "behind_interval": None,
        "verdict": None,
    }


@pytest.mark.parametrize(("control", "verdict"), [(0.8, "better"), (0.9, "tied"), (0.97, "worse")])
def test_the_verdict_is_of_the_member(control, verdict):
    luck, slope = Luck(0.005, 8), Slope(0.0, 0.0, 0.0)
    found = contrast(trained(0.9, 0.9), trained(control, control), slope=slope, luck=luck, comparisons=4)
    assert found.verdict == verdict
    assert found.interval[0] < found.behind < found.interval[1]


def test_more_flops_of_the_member_are_taken_off_and_make_the_interval_wider():
    luck = Luck(0.005, 8)
    equal = contrast(trained(0.9, 0.9), trained(0.8, 0.8), slope=Slope(0.1, 1.0, 0.01), luck=luck, comparisons=1)
    smaller = trained(0.8, 0.8, flops=900_000)
    found = contrast(trained(0.9, 0.9), smaller, slope=Slope(0.1, 1.0, 0.01), luck=luck, comparisons=1)
    assert found.correction == pytest.approx(0.1 * math.log(1 / 0.9))
    assert found.behind == pytest.approx(equal.behind - found.correction)
    assert found.interval[1] - found.interval[0] > equal.interval[1] - equal.interval[0]


def test_a_seed_that_one_of_them_lacks_is_left_out():
    one, other = trained(0.9, 0.5), trained(0.8, seeds=[0])
    found = contrast(one, other, slope=Slope(0.0, 0.0, 0.0), luck=Luck(0.01, 3), comparisons=1)
    assert found.behind == pytest.approx(0.1)
    assert contrast(one, trained(0.8, seeds=[7]), slope=Slope(0.0, 0.0, 0.0), luck=None, comparisons=1) is None


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
