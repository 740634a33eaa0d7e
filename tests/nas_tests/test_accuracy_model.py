"""The model of the score: when its hyperparameters are tuned, which trials it uses, and how it
treats failed and running trainings.
"""

import numpy as np
import pytest

from phinas.nas.cost_constraint import CostConstraint
from phinas.nas.problem import Problem
from phinas.nas.reward import make_reward
from phinas.nas.surrogate import accuracy_model
from phinas.nas.surrogate.accuracy_model import (
    MAX_TRIALS,
    fit_accuracy_model,
    fit_log_cost_model,
    floor_failed_trainings,
)
from phinas.nas.surrogate.gaussian_process import GaussianProcess
from phinas.space.search_spaces.cost_tables import METRICS
from phinas.space.search_spaces.loading import load_space

TINY = load_space("tiny")


@pytest.fixture(scope="module")
def problem():
    return Problem(TINY, CostConstraint(), make_reward("soft", exponent=-0.07, target=5e5))


def sample_rows(problem, count, seed=0):
    return problem.sample(count, np.random.default_rng(seed))


def scores_of(problem, rows, *, noise=0.0, seed=0):
    """Scores that rise with the FLOPs and, in addition, with two of the choices."""
    flops = problem.costs(rows)[:, METRICS.index("flops")]
    bonus = 0.02 * rows[:, 0] + 0.03 * rows[:, 4]
    return (
        0.3
        + 0.04 * np.log(flops / 1e5)
        + bonus
        + noise * np.random.default_rng(seed).normal(size=len(rows))
    )


def fit_model(problem, rows, scores, pending_rows=None):
    curves = scores[:, None]
    return fit_accuracy_model(problem.features, rows, curves, pending_rows=pending_rows).process


def count_tunings(previous_misses):
    return accuracy_model._cached_hyperparameters.cache_info().misses - previous_misses


@pytest.mark.parametrize("has_failures", [False, True])
def test_hyperparameters_are_tuned_again_after_a_fifth_more_trials(problem, has_failures):
    """Also with failed trainings: the floor of their scores may change with every trial, and must
    not cause another tuning.
    """
    rows = sample_rows(problem, 60)
    scores = scores_of(problem, rows, noise=0.01)
    if has_failures:
        scores[::7] = 0.1
    misses_before = accuracy_model._cached_hyperparameters.cache_info().misses
    counts = [
        count for count in range(4, 61) for _ in [fit_model(problem, rows[:count], scores[:count])]
    ]
    assert len(counts) == 57
    assert count_tunings(misses_before) == len(
        [4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 19, 22, 26, 31, 37, 44, 52]
    )


class OtherLastBits:
    """Features with a rounding error of one unit in the last place if the number of rows is odd,
    as another processor or matrix shape might give.
    """

    def __init__(self, features):
        self.features, self.groups = features, features.groups
        self.log_flops, self.num_linear_groups = features.log_flops, features.num_linear_groups

    def __call__(self, rows):
        values = self.features(rows)
        return np.nextafter(values, np.inf) if len(rows) % 2 else values


def test_tuning_does_not_depend_on_the_last_bits_of_features(problem):
    rows = sample_rows(problem, 60)
    scores = scores_of(problem, rows, noise=0.01)
    features = OtherLastBits(problem.features)
    misses_before = accuracy_model._cached_hyperparameters.cache_info().misses
    incremental_thetas = [
        fit_accuracy_model(features, rows[:count], scores[:count, None]).process.theta
        for count in range(4, 61)
    ]
    assert count_tunings(misses_before) == 17
    accuracy_model._cached_hyperparameters.cache_clear()
    theta_at_once = fit_accuracy_model(features, rows, scores[:, None]).process.theta
    np.testing.assert_array_equal(incremental_thetas[-1].logs, theta_at_once.logs)


def test_the_posterior_depends_on_the_trials_only(problem):
    rows, new_rows = sample_rows(problem, 50), problem.features(sample_rows(problem, 20, seed=1))
    scores = scores_of(problem, rows, noise=0.01)
    for count in (4, 11, 30):
        fit_model(problem, rows[:count], scores[:count])
    predictions = fit_model(problem, rows, scores).mean(new_rows)
    accuracy_model._cached_hyperparameters.cache_clear()
    np.testing.assert_array_equal(fit_model(problem, rows, scores).mean(new_rows), predictions)


def test_thirty_trials_predict_the_scores_of_unmeasured_networks(problem):
    rows, new_rows = sample_rows(problem, 30), sample_rows(problem, 300, seed=1)
    predictions = fit_model(problem, rows, scores_of(problem, rows, noise=0.005)).mean(
        problem.features(new_rows)
    )
    assert np.corrcoef(predictions, scores_of(problem, new_rows))[0, 1] > 0.9


def test_failed_trainings_are_raised_to_the_lowest_score_of_the_others():
    scores = np.array([0.70, 0.71, 0.55, 0.73, 0.74, 0.10, 0.0])
    assert floor_failed_trainings(scores).tolist() == [0.70, 0.71, 0.55, 0.73, 0.74, 0.55, 0.55]


@pytest.mark.parametrize(
    "scores", [np.full(9, 0.4), np.array([0.1] * 6 + [0.7, 0.8, 0.9]), np.zeros(4)]
)
def test_if_most_scores_are_equal_or_low_no_training_failed(scores):
    np.testing.assert_array_equal(floor_failed_trainings(scores), scores)


def test_raising_failed_trainings_improves_the_predictions(problem):
    """Four of forty trainings fail at random, so no feature predicts it. Measured correlation of
    the predictions with the true scores: 0.36, without the floor 0.2.
    """
    new_rows, correlations = sample_rows(problem, 300, seed=100), []
    for seed in range(4):
        rows = sample_rows(problem, 40, seed)
        scores = scores_of(problem, rows, noise=0.003, seed=seed)
        scores[[3, 11, 20, 33]] = 0.0
        unfloored_model = GaussianProcess(
            fit_model(problem, rows, scores).theta, problem.features(rows), scores
        )
        model_predictions = [
            model.mean(problem.features(new_rows))
            for model in (fit_model(problem, rows, scores), unfloored_model)
        ]
        correlations.append(
            [
                np.corrcoef(predictions, scores_of(problem, new_rows))[0, 1]
                for predictions in model_predictions
            ]
        )
    floored, unfloored = np.median(correlations, axis=0)
    assert floored > unfloored + 0.03


def test_of_many_trials_the_best_half_and_the_latest_are_used(problem):
    targets = np.random.default_rng(0).normal(size=MAX_TRIALS + 300)
    selected_indices = accuracy_model.select_trials(targets)
    assert len(selected_indices) == len(set(selected_indices.tolist())) == MAX_TRIALS
    assert list(selected_indices) == sorted(selected_indices)
    assert set(np.argsort(-targets)[: MAX_TRIALS // 2].tolist()) <= set(selected_indices.tolist())
    assert set(range(MAX_TRIALS + 200, MAX_TRIALS + 300)) <= set(selected_indices.tolist())
    assert accuracy_model.select_trials(targets[:MAX_TRIALS]).tolist() == list(range(MAX_TRIALS))


def test_a_running_network_has_its_expected_score_and_little_uncertainty(problem):
    rows, pending_rows = sample_rows(problem, 30), sample_rows(problem, 3, seed=5)
    scores = scores_of(problem, rows, noise=0.01)
    model_without_pending, model_with_pending = (
        fit_model(problem, rows, scores),
        fit_model(problem, rows, scores, pending_rows),
    )
    pending_features = problem.features(pending_rows)
    np.testing.assert_allclose(
        model_with_pending.mean(pending_features),
        model_without_pending.mean(pending_features),
        atol=0.01,
    )
    assert np.all(
        model_with_pending.predict(pending_features)[1]
        < model_without_pending.predict(pending_features)[1]
    )


def test_a_measured_cost_is_predicted_within_a_tenth(problem):
    rows, new_rows = sample_rows(problem, 40), sample_rows(problem, 200, seed=1)

    def latency(networks):
        costs = problem.costs(networks)
        return (
            0.3
            + costs[:, METRICS.index("flops")] / 1e6
            + costs[:, METRICS.index("activations")] / 1e5
        )

    jitter = np.exp(0.02 * np.random.default_rng(0).normal(size=40))
    predictions = np.exp(
        fit_log_cost_model(problem.features, rows, latency(rows) * jitter).mean(
            problem.features(new_rows)
        )
    )
    assert np.median(np.abs(predictions / latency(new_rows) - 1)) < 0.1


def make_curves(scores, epochs, generator, *, lag=0.02):
    """Curves that approach the final scores. Early scores have an error of their own."""
    progress = np.arange(1, epochs + 1) / epochs
    errors = lag * generator.normal(size=(len(scores), 1)) * (1 - progress)
    return scores[:, None] + errors - 0.2 * (1 - progress)


def test_stopped_trainings_improve_the_predictions(problem):
    rows, new_rows = sample_rows(problem, 40), sample_rows(problem, 300, seed=1)
    generator = np.random.default_rng(0)
    scores = scores_of(problem, rows, noise=0.005)
    curves = make_curves(scores, 8, generator)
    curves[12:, 4:] = np.nan
    truth, features = scores_of(problem, new_rows), problem.features(new_rows)

    def error(predictions):
        return np.sqrt(np.mean((predictions - truth) ** 2))

    with_stopped = fit_accuracy_model(problem.features, rows, curves).process
    complete_only = fit_accuracy_model(problem.features, rows[:12], curves[:12]).process
    assert error(with_stopped.mean(features)) < 0.8 * error(complete_only.mean(features))


def test_a_stopped_training_determines_less_than_a_complete_one(problem):
    rows, generator = sample_rows(problem, 40), np.random.default_rng(0)
    curves = make_curves(scores_of(problem, rows, noise=0.005), 8, generator, lag=0.1)
    curves[20:, 4:] = np.nan
    model = fit_accuracy_model(problem.features, rows, curves)
    noise = model.process.noise_variances
    np.testing.assert_allclose(noise[:20], model.process.theta.noise)
    assert noise[20:].min() > 2 * model.process.theta.noise


def test_stopped_trainings_that_failed_to_learn_do_not_distort_the_others(problem):
    rows, new_rows = sample_rows(problem, 40), sample_rows(problem, 300, seed=1)
    curves = make_curves(scores_of(problem, rows, noise=0.005), 8, np.random.default_rng(0))
    curves[20:, 4:] = np.nan
    truth = scores_of(problem, new_rows)
    curves[[22, 30, 35], :4] = 0.0
    predictions = fit_accuracy_model(problem.features, rows, curves).process.mean(
        problem.features(new_rows)
    )
    assert np.corrcoef(predictions, truth)[0, 1] > 0.8
