import numpy as np
import pytest

from phinas.nas.surrogate.curve_model import measure_final_scores

EPOCHS = 16


def simulate(trainings, generator, *, correlation=0.8, slope=1.0):
    """Final scores, and curves whose early deviations are persistent."""
    final = generator.normal(size=trainings)
    progress = np.arange(1, EPOCHS + 1) / EPOCHS
    lag = np.sqrt(1 / correlation**2 - 1) * (1 - progress) / (1 - progress[EPOCHS // 2 - 1])
    curves = final[:, None] + generator.normal(size=(trainings, 1)) * lag
    return final, slope * curves - 2 * (1 - progress)


def stop_worse_half(curves, epoch):
    stopped = curves[:, epoch - 1] < np.median(curves[:, epoch - 1])
    scores = curves.copy()
    scores[stopped, epoch:] = np.nan
    return scores, stopped


def test_complete_trainings_are_measured_by_their_final_score():
    curves = np.random.default_rng(0).normal(size=(5, EPOCHS))
    measured = measure_final_scores(curves)
    np.testing.assert_array_equal(measured.values, curves[:, -1])
    np.testing.assert_array_equal(measured.variances, 0.0)


def test_measurements_of_stopped_trainings_have_the_stated_error():
    generator, errors = np.random.default_rng(0), []
    for _ in range(30):
        final, curves = simulate(40, generator)
        scores = curves.copy()
        scores[20:, 8:] = np.nan
        measured = measure_final_scores(scores)
        np.testing.assert_array_equal(measured.values[:20], curves[:20, -1])
        errors.append((measured.values - final)[20:] / np.sqrt(measured.variances[20:]))
    assert np.mean(errors) == pytest.approx(0.0, abs=0.15)
    assert 0.8 < np.std(errors) < 1.25


def test_selection_by_early_scores_does_not_make_the_error_look_small():
    generator, claimed, actual = np.random.default_rng(0), [], []
    for _ in range(30):
        final, curves = simulate(40, generator)
        scores, stopped = stop_worse_half(curves, 8)
        measured = measure_final_scores(scores)
        # The prediction from the measurement, as the model of the search makes it.
        weight = 1 / (1 + measured.variances[stopped] / final.var())
        predicted = measured.values.mean() + weight * (
            measured.values[stopped] - measured.values.mean()
        )
        actual.append(np.mean((predicted - final[stopped]) ** 2))
        claimed.append(np.mean(weight * measured.variances[stopped]))
    assert np.mean(actual) < 1.5 * np.mean(claimed)


def test_a_lower_level_and_another_scale_of_early_scores_do_not_matter():
    final, curves = simulate(60, np.random.default_rng(1), correlation=0.99)
    curves[:, :-1] = 0.5 * curves[:, :-1] - 3.0
    scores = curves.copy()
    scores[::2, 12:] = np.nan
    measured = measure_final_scores(scores)
    assert np.corrcoef(measured.values, final)[0, 1] > 0.95
    assert np.polyfit(final[::2], measured.values[::2], 1)[0] == pytest.approx(1.0, abs=0.15)


def test_a_covariate_that_explains_the_lag_makes_measurements_precise():
    """Small networks learn faster and end lower."""
    generator = np.random.default_rng(0)
    size = generator.normal(size=60)
    final = size + 0.5 * generator.normal(size=60)
    progress = np.arange(1, EPOCHS + 1) / EPOCHS
    curves = final[:, None] - 1.5 * size[:, None] * (1 - progress)
    curves = curves + 0.05 * generator.normal(size=curves.shape)
    scores = curves.copy()
    scores[::2, 8:] = np.nan

    def error(measured):
        return np.std((measured.values - curves[:, -1])[::2])

    explained = measure_final_scores(scores, size[:, None])
    unexplained = measure_final_scores(scores)
    assert error(explained) < 0.3 * error(unexplained)
    assert explained.variances[0] < 0.3 * unexplained.variances[0]


def test_a_constant_covariate_changes_nothing():
    _, curves = simulate(40, np.random.default_rng(0))
    curves[::2, 8:] = np.nan
    measured, plain = measure_final_scores(curves, np.ones((40, 1))), measure_final_scores(curves)
    np.testing.assert_allclose(measured.values, plain.values, rtol=1e-6)
    np.testing.assert_allclose(measured.variances, plain.variances, rtol=1e-6)


def test_early_scores_without_information_are_noise():
    generator = np.random.default_rng(0)
    curves = generator.normal(size=(60, EPOCHS))
    curves[::2, 8:] = np.nan
    variances = measure_final_scores(curves).variances
    assert variances[::2].min() > 10 * np.var(curves[1::2, -1])


def test_without_a_complete_training_scores_are_compared_as_they_are():
    _, curves = simulate(10, np.random.default_rng(0))
    curves[:, 8:] = np.nan
    measured = measure_final_scores(curves)
    order = np.argsort(measured.values)
    np.testing.assert_array_equal(order, np.argsort(curves[:, 7]))
    assert np.all(measured.variances > 0)


def test_scores_may_be_known_at_some_epochs_only():
    _, curves = simulate(20, np.random.default_rng(0))
    curves[:, :3] = np.nan  # no report before epoch 4
    curves[0, :-1] = np.nan  # only a final score
    curves[1, 4:] = np.nan
    curves[2:10, 13:] = np.nan
    curves[2:10, 8:12] = np.nan
    measured = measure_final_scores(curves)
    assert np.all(np.isfinite(measured.values))
    assert measured.variances[0] == 0
    assert np.all(measured.variances[1:10] > 0)


def test_many_stops_are_compared_at_a_limited_number_of_epochs():
    generator = np.random.default_rng(0)
    curves = np.linspace(0, 1, 200) + generator.normal(size=(100, 1))
    for training in range(90):
        curves[training, 60 + training :] = np.nan
    measured = measure_final_scores(curves)
    assert np.all(np.isfinite(measured.values))
    assert np.all(measured.variances[:90] > 0)
    assert np.all(measured.variances[90:] == 0)


def test_equal_scores_are_no_error():
    curves = np.full((6, EPOCHS), 0.5)
    curves[3:, 8:] = np.nan
    measured = measure_final_scores(curves)
    np.testing.assert_allclose(measured.values, 0.5)
    assert np.all(np.isfinite(measured.variances))
