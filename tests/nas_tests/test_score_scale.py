"""Scales of the score. The expected improvement on the scale of the logarithm of the error is
compared with numerical integration and with samples, and is finite and increasing everywhere.
"""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from phinas.nas.surrogate.score_scale import LINEAR_SCALE, LOG_ERROR_SCALE, choose_scale


def improvement(mean, std, best, **coefficients):
    return float(
        LOG_ERROR_SCALE.log_expected_improvement(
            np.array([mean]), np.array([std]), best, **coefficients
        )[0]
    )


@pytest.mark.parametrize("std", [1e-3, 0.05, 0.5, 2.0])
@pytest.mark.parametrize("mean", [0.2, 1.0, 3.0])
@pytest.mark.parametrize(
    ("slope", "intercept", "best"),
    [(1, 0, 0.6), (0.7, 0.1, 0.3), (1.4, -0.2, 0.9), (1, 0, 0.97), (1, 0, 0.1)],
)
def test_the_improvement_is_the_integral_over_the_lognormal_error(
    mean, std, slope, intercept, best
):
    threshold = -np.log((slope + intercept - best) / slope)
    start = max(threshold, mean - 12 * std)
    if start > mean + 30 * std:  # the integral underflows, its logarithm does not
        assert -np.inf < improvement(mean, std, best, slope=slope, intercept=intercept) < -400
        return

    def integrand(target):
        reward = slope * LOG_ERROR_SCALE.invert(np.array(target)) + intercept
        return (reward - best) * norm.pdf(target, mean, std)

    expected, _ = quad(
        integrand,
        start,
        max(start, mean) + 14 * std,
        points=[mean] if start < mean else None,
        epsabs=0,
        epsrel=1e-10,
        limit=400,
    )
    log_improvement = improvement(mean, std, best, slope=slope, intercept=intercept)
    assert log_improvement == pytest.approx(np.log(expected), abs=1e-8)


def test_the_improvement_is_the_mean_over_samples():
    targets = np.random.default_rng(0).normal(1.0, 0.2, size=400_000)
    rewards = 0.9 * (1 - np.exp(-targets)) + 0.05
    expected = np.maximum(rewards - 0.65, 0).mean()
    log_improvement = improvement(1.0, 0.2, 0.65, slope=0.9, intercept=0.05)
    assert np.exp(log_improvement) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("std", [1e-8, 1e-3, 1.0])
def test_the_improvement_rises_with_the_mean_up_to_1e8_standard_deviations(std):
    offsets = np.geomspace(1e-3, 1e8, 400)
    mean = np.concatenate([-offsets[::-1], [0.0], offsets]) * std + 0.7
    improvements = LOG_ERROR_SCALE.log_expected_improvement(mean, np.full_like(mean, std), 0.5)
    assert np.all(np.isfinite(improvements))
    assert np.all(np.diff(improvements) >= 0)
    assert improvements[0] < improvements[200] < improvements[400]


@pytest.mark.parametrize("z", [1.0, -50 * np.sqrt(2)])
@pytest.mark.parametrize("std", [1e-8, 1e-3, 1.0])
def test_the_improvement_is_continuous_where_the_formula_changes(z, std):
    mean = np.log(2) + (z + np.array([-1e-9, 1e-9])) * std
    below, above = LOG_ERROR_SCALE.log_expected_improvement(mean, np.full(2, std), 0.5)
    assert below == pytest.approx(above, abs=1e-5)


def test_near_the_best_value_both_scales_have_the_same_improvement_for_a_small_deviation():
    score, std = 0.8, 1e-4
    linear = LINEAR_SCALE.log_expected_improvement(np.array([score]), np.array([std]), 0.8001)
    target = float(LOG_ERROR_SCALE.transform(np.array([score, 0.1]))[0])
    assert improvement(target, std / (1 - score), 0.8001) == pytest.approx(linear[0], abs=0.01)


def test_a_network_that_no_score_makes_the_best_has_no_improvement():
    assert improvement(5.0, 2.0, 0.9, slope=0.8, intercept=0.0) == -np.inf


def test_scores_are_recovered_from_both_scales():
    scores = np.array([0.0, 0.3, 0.9, 0.999])
    for scale in (LINEAR_SCALE, LOG_ERROR_SCALE):
        np.testing.assert_allclose(scale.invert(scale.transform(scores)), scores, atol=1e-12)


def test_a_perfect_score_has_half_the_error_of_the_next_best():
    targets = LOG_ERROR_SCALE.transform(np.array([1.0, 0.99, 0.5]))
    np.testing.assert_allclose(targets, -np.log([0.005, 0.01, 0.5]))
    targets = LOG_ERROR_SCALE.transform(np.array([0.99995, 0.9]))
    np.testing.assert_allclose(targets, -np.log([1e-4, 0.1]))
    assert np.all(np.isfinite(LOG_ERROR_SCALE.transform(np.ones(5))))


@pytest.mark.parametrize("scores", [[0.0, 0.5, 1.0], [0.3]])
def test_accuracies_are_modeled_by_the_logarithm_of_their_error(scores):
    assert choose_scale(np.array(scores)) is LOG_ERROR_SCALE


@pytest.mark.parametrize("scores", [[-0.1, 0.5], [0.5, 1.2], [31.0, 28.0]])
def test_other_metrics_are_modeled_without_a_transform(scores):
    assert choose_scale(np.array(scores)) is LINEAR_SCALE
