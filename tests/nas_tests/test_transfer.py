"""What the model of the score learns from earlier searches of the same space."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kendalltau

from phinas.nas.cost_constraint import CostConstraint
from phinas.nas.problem import Problem
from phinas.nas.reward import make_reward
from phinas.nas.strategies.bayesian import BayesianStrategy
from phinas.nas.strategies.interface import PastTrial
from phinas.nas.surrogate.accuracy_model import fit_accuracy_model
from phinas.nas.surrogate.transfer import EarlierSearch
from phinas.space.search_spaces.loading import load_space

MNASNET = load_space("mnasnet")
NOISE_STD = 0.003


@pytest.fixture(scope="module")
def problem():
    return Problem(MNASNET, CostConstraint(), make_reward("soft", exponent=-0.07, target=3e8))


def sample_rows(problem, count, seed):
    return problem.sample(count, np.random.default_rng(seed))


def scores_of(problem, rows, seed=0):
    """Scores of networks in which each choice has a value of its own, drawn with the seed."""
    generator = np.random.default_rng(seed)
    values = [generator.normal(size=count) for count in problem.num_choices]
    total = sum(value[column] for value, column in zip(values, rows.T, strict=True))
    return 0.6 + 0.1 * total / np.sqrt(len(values))


def earlier_search(problem, scores_fn, count=60, seed=5):
    rows = sample_rows(problem, count, seed)
    noise = NOISE_STD * np.random.default_rng(seed).normal(size=len(rows))
    scores = scores_fn(rows) + noise
    return EarlierSearch("earlier", tuple(map(tuple, rows.tolist())), tuple(scores.tolist()))


def rank_correlation(problem, searches, num_trials, seed=0):
    """Kendall's tau of predictions after a few random trials, with some earlier searches."""
    problem = replace(problem, earlier_searches=tuple(searches))
    rows = sample_rows(problem, num_trials, 100 + seed)
    scores = scores_of(problem, rows) + NOISE_STD * np.random.default_rng(seed).normal(
        size=num_trials
    )
    process = fit_accuracy_model(problem.score_features, rows, scores[:, None]).process
    test_rows = sample_rows(problem, 200, 200 + seed)
    predictions = process.mean(problem.score_features(test_rows))
    return kendalltau(predictions, scores_of(problem, test_rows)).statistic


def mean_correlation(problem, searches, num_trials=8):
    return np.mean([rank_correlation(problem, searches, num_trials, seed) for seed in range(4)])


def test_a_related_search_improves_the_predictions(problem):
    related = earlier_search(problem, lambda rows: 0.3 + 0.5 * scores_of(problem, rows))
    assert mean_correlation(problem, [related]) > mean_correlation(problem, []) + 0.15


def test_a_search_that_ranks_the_other_way_around_is_used_in_reverse(problem):
    reverse = earlier_search(problem, lambda rows: 1.2 - scores_of(problem, rows))
    assert mean_correlation(problem, [reverse]) > mean_correlation(problem, []) + 0.15


def test_a_useless_search_does_not_hide_a_useful_one(problem):
    related = earlier_search(problem, lambda rows: scores_of(problem, rows))
    useless = earlier_search(problem, lambda rows: scores_of(problem, rows, seed=1), seed=6)
    both = mean_correlation(problem, [useless, related])
    assert both > mean_correlation(problem, []) + 0.1
    assert both > mean_correlation(problem, [useless]) + 0.1


def test_an_unrelated_search_costs_little_after_some_trials(problem):
    unrelated = earlier_search(problem, lambda rows: scores_of(problem, rows, seed=1))
    without = mean_correlation(problem, [], num_trials=24)
    assert mean_correlation(problem, [unrelated], num_trials=24) > without - 0.05


def test_the_features_of_the_space_do_not_change(problem):
    search = earlier_search(problem, lambda rows: scores_of(problem, rows))
    learning = replace(problem, earlier_searches=(search, search))
    rows = sample_rows(problem, 20, 1)
    features = learning.score_features(rows)
    np.testing.assert_array_equal(features[:, :-2], problem.features(rows))
    np.testing.assert_array_equal(features[:, -1], features[:, -2])
    assert learning.features(rows).shape == problem.features(rows).shape
    assert problem.score_features is problem.features


def test_predictions_are_centered_and_bounded(problem):
    search = earlier_search(problem, lambda rows: scores_of(problem, rows))
    learning = replace(problem, earlier_searches=(search,))
    predictions = learning.score_features(sample_rows(problem, 1000, 3))[:, -1]
    assert abs(predictions.mean()) < 0.1
    assert 0.5 < predictions.std() < 1.5


def propose_first(problem, count):
    """The first proposals of the strategy, each of which gets its score at once."""
    history = []
    for number in range(count):
        choices = BayesianStrategy(problem, number).propose(history).choices
        score = float(scores_of(problem, problem.to_indices([choices]))[0])
        history.append(
            PastTrial(number, choices, "complete", {1: score}, {1: score}, 1.0, score, score)
        )
    return history


def test_a_search_begins_with_networks_that_the_earlier_one_would_train(problem):
    search = earlier_search(problem, lambda rows: scores_of(problem, rows))
    accuracy_problem = replace(problem, reward=make_reward("accuracy", exponent=None, target=1.0))
    history = propose_first(replace(accuracy_problem, earlier_searches=(search,)), 4)
    random_scores = scores_of(problem, sample_rows(problem, 500, 9))
    for trial in (history[1], history[3]):
        assert trial.score > np.quantile(random_scores, 0.9)
    without = propose_first(accuracy_problem, 4)
    assert [trial.choices for trial in history[::2]] == [trial.choices for trial in without[::2]]
    assert history[1].choices != history[3].choices


def test_a_measured_latency_leaves_the_first_trials_random(problem):
    """Its model needs trials of this search."""
    search = earlier_search(problem, lambda rows: scores_of(problem, rows))
    latency_problem = replace(
        problem, reward=make_reward("soft", exponent=-0.07, target=1.0, cost_metric="latency")
    )
    learning = propose_first(replace(latency_problem, earlier_searches=(search,)), 4)
    assert [trial.choices for trial in learning] == [
        trial.choices for trial in propose_first(latency_problem, 4)
    ]
