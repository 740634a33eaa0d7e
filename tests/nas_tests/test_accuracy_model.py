"""What is believed of accuracies: when it is tuned anew, what it forgets, and what it takes for
granted.
"""

import numpy as np
import pytest

from phinas.nas.cost_constraint import Gate
from phinas.nas.problem import Problem
from phinas.nas.reward import make_reward
from phinas.nas.surrogate import accuracy_model
from phinas.nas.surrogate.accuracy_model import (
    MOST,
    learn_accuracy,
    learn_log_cost,
    without_disasters,
)
from phinas.nas.surrogate.gaussian_process import GaussianProcess
from phinas.space.search_spaces.cost_tables import METRICS
from phinas.space.search_spaces.loading import load_space

TINY = load_space("tiny")


@pytest.fixture(scope="module")
def problem():
    return Problem(TINY, Gate(), make_reward("soft", weight=-0.07, target=5e5))


def drawn(problem, count, seed=0):
    return problem.draw(count, np.random.default_rng(seed))


def accuracies_of(problem, rows, *, noise=0.0, seed=0):
    """Rises with FLOPs, and with kernels beyond what they cost."""
    flops = problem.costs(rows)[:, METRICS.index("flops")]
    bonus = 0.02 * rows[:, 0] + 0.03 * rows[:, 4]
    return (
        0.3
        + 0.04 * np.log(flops / 1e5)
        + bonus
        + noise * np.random.default_rng(seed).normal(size=len(rows))
    )


def learned(problem, rows, accuracies, pending=None):
    return learn_accuracy(problem.features, rows, accuracies, pending=pending)


def tuned(calls):
    return accuracy_model._tuned.cache_info().misses - calls


@pytest.mark.parametrize("disasters", [False, True])
def test_it_is_tuned_anew_when_trials_have_grown_by_a_fifth_and_not_before(problem, disasters):
    """Where some trials failed to learn, what is far below the others changes with every trial; the
    tuning must not.
    """
    rows = drawn(problem, 60)
    accuracies = accuracies_of(problem, rows, noise=0.01)
    if disasters:
        accuracies[::7] = 0.1
    before = accuracy_model._tuned.cache_info().misses
    counts = [
        count
        for count in range(4, 61)
        for _ in [learned(problem, rows[:count], accuracies[:count])]
    ]
    assert len(counts) == 57
    assert tuned(before) == len([4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 19, 22, 26, 31, 37, 44, 52])


class OtherLastBits:
    """Features as another number of rows or another processor gives them: by a unit in the last
    place off wherever the number of rows is odd.
    """

    def __init__(self, features):
        self.features, self.groups = features, features.groups

    def __call__(self, rows):
        values = self.features(rows)
        return np.nextafter(values, np.inf) if len(rows) % 2 else values


def test_tuning_does_not_depend_on_the_last_bits_of_features(problem):
    rows = drawn(problem, 60)
    accuracies = accuracies_of(problem, rows, noise=0.01)
    features = OtherLastBits(problem.features)
    before = accuracy_model._tuned.cache_info().misses
    thetas = [
        learn_accuracy(features, rows[:count], accuracies[:count]).theta for count in range(4, 61)
    ]
    assert tuned(before) == 17
    accuracy_model._tuned.cache_clear()
    alone = learn_accuracy(features, rows, accuracies).theta
    np.testing.assert_array_equal(thetas[-1].logs, alone.logs)


def test_what_is_believed_follows_from_the_trials_alone(problem):
    rows, fresh = drawn(problem, 50), problem.features(drawn(problem, 20, seed=1))
    accuracies = accuracies_of(problem, rows, noise=0.01)
    for count in (4, 11, 30):
        learned(problem, rows[:count], accuracies[:count])
    one = learned(problem, rows, accuracies).mean(fresh)
    accuracy_model._tuned.cache_clear()
    np.testing.assert_array_equal(learned(problem, rows, accuracies).mean(fresh), one)


def test_few_trials_rank_networks_that_were_not_measured(problem):
    rows, fresh = drawn(problem, 30), drawn(problem, 300, seed=1)
    told = learned(problem, rows, accuracies_of(problem, rows, noise=0.005)).mean(
        problem.features(fresh)
    )
    assert np.corrcoef(told, accuracies_of(problem, fresh))[0, 1] > 0.9


def test_what_went_wrong_is_raised_to_the_lowest_of_the_others():
    accuracies = np.array([0.70, 0.71, 0.55, 0.73, 0.74, 0.10, 0.0])
    assert without_disasters(accuracies).tolist() == [0.70, 0.71, 0.55, 0.73, 0.74, 0.55, 0.55]


@pytest.mark.parametrize(
    "accuracies", [np.full(9, 0.4), np.array([0.1] * 6 + [0.7, 0.8, 0.9]), np.zeros(4)]
)
def test_where_most_are_equal_or_poor_nothing_went_wrong(accuracies):
    np.testing.assert_array_equal(without_disasters(accuracies), accuracies)


def test_disasters_drown_less_of_the_differences_of_the_others_than_they_would(problem):
    """Four of forty, by chance, so that no feature tells of them (measured: correlation 0.36 with
    the truth, without a floor 0.2)."""
    fresh, found = drawn(problem, 300, seed=100), []
    for seed in range(4):
        rows = drawn(problem, 40, seed)
        accuracies = accuracies_of(problem, rows, noise=0.003, seed=seed)
        accuracies[[3, 11, 20, 33]] = 0.0
        theirs = GaussianProcess(
            learned(problem, rows, accuracies).theta, problem.features(rows), accuracies
        )
        both = [
            model.mean(problem.features(fresh))
            for model in (learned(problem, rows, accuracies), theirs)
        ]
        found.append([np.corrcoef(told, accuracies_of(problem, fresh))[0, 1] for told in both])
    ours, plain = np.median(found, axis=0)
    assert ours > plain + 0.03


def test_of_many_trials_the_best_half_and_the_latest_are_remembered(problem):
    targets = np.random.default_rng(0).normal(size=MOST + 300)
    kept = accuracy_model._remembered(targets)
    assert len(kept) == len(set(kept.tolist())) == MOST
    assert list(kept) == sorted(kept)
    assert set(np.argsort(-targets)[: MOST // 2].tolist()) <= set(kept.tolist())
    assert set(range(MOST + 200, MOST + 300)) <= set(kept.tolist())
    assert accuracy_model._remembered(targets[:MOST]).tolist() == list(range(MOST))


def test_a_network_under_way_is_taken_to_give_what_is_expected_and_is_no_longer_in_doubt(problem):
    rows, running = drawn(problem, 30), drawn(problem, 3, seed=5)
    accuracies = accuracies_of(problem, rows, noise=0.01)
    before, after = learned(problem, rows, accuracies), learned(problem, rows, accuracies, running)
    there = problem.features(running)
    np.testing.assert_allclose(after.mean(there), before.mean(there), atol=0.01)
    assert np.all(after.predict(there)[1] < before.predict(there)[1])


def test_a_cost_that_is_measured_is_learned_within_a_tenth(problem):
    rows, fresh = drawn(problem, 40), drawn(problem, 200, seed=1)

    def latency(networks):
        costs = problem.costs(networks)
        return (
            0.3
            + costs[:, METRICS.index("flops")] / 1e6
            + costs[:, METRICS.index("activations")] / 1e5
        )

    jitter = np.exp(0.02 * np.random.default_rng(0).normal(size=40))
    told = np.exp(
        learn_log_cost(problem.features, rows, latency(rows) * jitter).mean(problem.features(fresh))
    )
    assert np.median(np.abs(told / latency(fresh) - 1)) < 0.1
