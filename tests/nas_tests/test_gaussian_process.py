"""The Gaussian process compared with finite differences, with scikit-learn, and on functions whose
noise is known.
"""

import math

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, Matern, WhiteKernel

from phinas.nas.surrogate.approximate_process import ApproximateProcess
from phinas.nas.surrogate.gaussian_process import (
    GaussianProcess,
    Hyperparameters,
    mean_and_scale,
)
from phinas.nas.surrogate.hyperparameter_tuning import (
    _negative_log_likelihood,
    tune_hyperparameters,
)

GENERATOR = np.random.default_rng(0)
ROWS = GENERATOR.normal(size=(40, 5))
VALUES = np.sin(ROWS[:, 0]) + 0.3 * ROWS[:, 1] * ROWS[:, 2] + 0.05 * GENERATOR.normal(size=40)
GROUPS = np.array([0, 0, 1, 0, 1])
# Inverse length scales of the groups, offsets of the features, linear variances of the groups,
# Matern variance, noise variance.
LOGS = np.array([-0.5, -1.0, 0.2, -0.4, 0.3, 0.0, -0.1, 0.5, -1.3, -0.7, -3.0])
THETA = Hyperparameters(LOGS, GROUPS)


def target_function(rows):
    return np.sin(1.5 * rows[:, 0]) + 0.4 * rows[:, 1] + 0.3 * rows[:, 1] * rows[:, 2]


def fit_process(rows, values):
    mean, scale = mean_and_scale(values)
    return GaussianProcess(
        tune_hyperparameters(rows, (values - mean) / scale, np.zeros(rows.shape[1], dtype=int)),
        rows,
        values,
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("errors", [0.0, np.linspace(0, 2, len(VALUES))])
def test_the_gradient_of_the_likelihood_agrees_with_finite_differences(seed, errors):
    logs = np.random.default_rng(seed).uniform(-2, 1, size=len(LOGS))
    _, gradient = _negative_log_likelihood(Hyperparameters(logs, GROUPS), ROWS, VALUES, errors)
    step = 1e-5
    for index in range(len(LOGS)):
        up, down = (
            _negative_log_likelihood(
                Hyperparameters(logs + sign * step * np.eye(len(LOGS))[index], GROUPS),
                ROWS,
                VALUES,
                errors,
            )[0]
            for sign in (1, -1)
        )
        assert gradient[index] == pytest.approx((up - down) / (2 * step), rel=1e-5, abs=1e-6)


class WeightedDotProduct(DotProduct):
    """Dot-product kernel with one variance for each feature, unlike scikit-learn's."""

    def __init__(self, variances):
        super().__init__(0.0, "fixed")
        self.variances = variances

    def __call__(self, rows, other_rows=None, eval_gradient=False):
        scale = np.sqrt(self.variances)
        return super().__call__(rows * scale, None if other_rows is None else other_rows * scale)

    def diag(self, rows):
        return super().diag(rows * np.sqrt(self.variances))


def fit_sklearn():
    first_variance, second_variance, matern, noise = np.exp(LOGS[-4:])
    lengths = np.exp(-np.array([-0.5 + 0.2, -0.5 - 0.4, -1.0 + 0.3, -0.5 + 0.0, -1.0 - 0.1]))
    matern_kernel = ConstantKernel(matern, "fixed") * Matern(lengths, "fixed", nu=2.5)
    linear_kernel = ConstantKernel(1.0, "fixed") * WeightedDotProduct(
        np.array(
            [
                first_variance / 6,
                first_variance / 6,
                second_variance / 4,
                first_variance / 6,
                second_variance / 4,
            ]
        )
    )
    kernel = matern_kernel + linear_kernel + WhiteKernel(noise, "fixed")
    return GaussianProcessRegressor(kernel, alpha=0.0, optimizer=None, normalize_y=True).fit(
        ROWS, VALUES
    ), noise


def test_the_posterior_agrees_with_scikit_learn():
    sklearn_process, noise = fit_sklearn()
    process, new_rows = (
        GaussianProcess(THETA, ROWS, VALUES),
        np.random.default_rng(1).normal(size=(30, 5)) * 2,
    )
    mean, std = process.predict(new_rows)
    sklearn_mean, sklearn_std = sklearn_process.predict(new_rows, return_std=True)
    np.testing.assert_allclose(mean, sklearn_mean, rtol=1e-9, atol=1e-12)
    # scikit-learn's variance includes the measurement noise.
    np.testing.assert_allclose(std**2 + noise * VALUES.std() ** 2, sklearn_std**2, rtol=1e-8)
    np.testing.assert_allclose(process.mean(new_rows), mean, rtol=1e-12)


def test_the_likelihood_agrees_with_scikit_learn_up_to_its_constant():
    mean, scale = mean_and_scale(VALUES)
    value, _ = _negative_log_likelihood(THETA, ROWS, (VALUES - mean) / scale, 0.0)
    sklearn_process, _ = fit_sklearn()
    assert value + 20 * math.log(2 * math.pi) == pytest.approx(
        -sklearn_process.log_marginal_likelihood_value_, rel=1e-9
    )


def test_the_joint_covariance_has_the_variances_on_its_diagonal_and_is_positive_semidefinite():
    process, new_rows = (
        GaussianProcess(THETA, ROWS, VALUES),
        np.random.default_rng(1).normal(size=(30, 5)),
    )
    mean, std = process.predict(new_rows)
    joint_mean, covariance = process.predict_joint(new_rows)
    np.testing.assert_allclose(joint_mean, mean)
    np.testing.assert_allclose(np.diag(covariance), std**2, rtol=1e-8)
    assert np.linalg.eigvalsh(covariance).min() > -1e-12


def test_the_means_of_the_trials_are_the_predictions_of_their_features():
    process = GaussianProcess(THETA, ROWS, VALUES)
    np.testing.assert_allclose(process.trial_means, process.mean(ROWS), rtol=1e-9)


def test_blocks_of_rows_change_no_prediction():
    process = GaussianProcess(THETA, ROWS, VALUES)
    new_rows = np.random.default_rng(1).normal(size=(2000, 5))
    for predictions, single in zip(
        process.predict(new_rows), process.predict(new_rows[1500:1501]), strict=True
    ):
        assert predictions[1500] == pytest.approx(single[0], rel=1e-9)


def test_the_approximation_has_the_same_means_and_upper_bounds_of_the_deviations():
    process = GaussianProcess(THETA, ROWS, VALUES)
    new_rows = np.random.default_rng(1).normal(size=(300, 5))
    mean, std = process.predict(new_rows)
    approximate_mean, approximate_std = ApproximateProcess(process).predict(new_rows)
    np.testing.assert_allclose(approximate_mean, mean, atol=1e-3 * VALUES.std())
    assert np.all(approximate_std > std * (1 - 1e-3))
    assert np.corrcoef(approximate_std, std)[0, 1] > 0.5


@pytest.mark.parametrize("noise", [0.05, 0.2])
def test_the_noise_of_the_trials_is_recovered(noise):
    noise_estimates = []
    for seed in range(5):
        generator = np.random.default_rng(seed)
        rows = generator.normal(size=(120, 4))
        noise_estimates.append(
            fit_process(rows, 70 + target_function(rows) + noise * generator.normal(size=120)).noise
        )
    assert noise / 1.4 < np.median(noise_estimates) < noise * 1.4


def test_uncertainty_is_calibrated_on_new_networks():
    """Differences from the truth, in units of their predicted deviation, have a variance
    of about one.
    """
    squares = []
    for seed in range(6):
        generator = np.random.default_rng(seed)
        rows, new_rows = generator.normal(size=(60, 4)), generator.normal(size=(200, 4))
        mean, std = fit_process(
            rows, target_function(rows) + 0.1 * generator.normal(size=60)
        ).predict(new_rows)
        squares.append(float((((mean - target_function(new_rows)) / std) ** 2).mean()))
    assert 0.5 < np.median(squares) < 2


def test_relevant_features_are_distinguished_from_irrelevant_ones():
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(80, 12))
    lengths = fit_process(
        rows, target_function(rows) + 0.02 * generator.normal(size=80)
    ).theta.inverse_lengths
    assert lengths[0] > 3 * lengths[3:].max()


@pytest.mark.parametrize("value", [0.0, 0.1, 0.3, 1.0])
def test_equal_targets_are_expected_everywhere(value):
    """The deviation of ten times 0.3 is 6e-17 in floating point, which must not be used as a
    scale.
    """
    targets = np.full(10, value)
    assert mean_and_scale(targets) == (pytest.approx(value), 1.0)
    mean, std = fit_process(ROWS[:10], targets).predict(ROWS[10:])
    np.testing.assert_allclose(mean, value, atol=1e-12)
    assert np.all(std > 1e-3)


def test_a_network_measured_often_has_less_uncertainty_than_one_measured_once():
    rows = np.concatenate([ROWS[:2], np.repeat(ROWS[:1], 30, axis=0)])
    targets = np.concatenate([[0.5, 0.2], 0.5 + 0.1 * np.random.default_rng(0).normal(size=30)])
    process = fit_process(rows, targets)
    mean, std = process.predict(ROWS[:2])
    assert std[0] < std[1]
    assert mean[0] == pytest.approx(targets[[0, *range(2, 32)]].mean(), abs=0.03)


def test_two_trials_are_enough_for_a_prediction():
    mean, std = fit_process(ROWS[:2], np.array([0.2, 0.8])).predict(ROWS[:2])
    assert mean[0] < mean[1]
    assert np.all(np.isfinite(std))


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_the_unit_of_the_targets_scales_the_predictions_only(scale):
    unscaled, scaled = fit_process(ROWS, VALUES), fit_process(ROWS, 3 * scale + scale * VALUES)
    np.testing.assert_allclose(
        unscaled.predict(ROWS)[1] * scale, scaled.predict(ROWS)[1], rtol=1e-3
    )
    np.testing.assert_allclose(
        unscaled.mean(ROWS) * scale + 3 * scale, scaled.mean(ROWS), rtol=1e-3
    )
