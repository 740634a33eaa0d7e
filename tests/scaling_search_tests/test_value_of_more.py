"""What more trainings of a race would add."""

from dataclasses import replace

import numpy as np
import pytest

from phinas.scaling_search.race.race import Race, TrainingRun
from phinas.scaling_search.race.racing import evaluate_race
from phinas.scaling_search.race.value_of_more import value_of_more_trainings

NUM_MEMBERS, EPOCHS = 5, 10


def race_with(truth, *, num_seeds, noise=0.004, seed=0):
    """A race without early elimination, and its results."""
    race = Race(len(truth), num_seeds, EPOCHS, early_elimination=False)
    generator = np.random.default_rng(seed)
    results = {
        TrainingRun(member, index, EPOCHS): score + noise * generator.standard_normal()
        for index in range(num_seeds)
        for member, score in enumerate(truth)
    }
    return race, results


EQUAL = [0.8] * NUM_MEMBERS
CLOSE = [0.800, 0.803, 0.806, 0.809, 0.812]


def test_nothing_is_added_where_one_network_is_the_best():
    race, results = race_with([0.8, 0.8, 0.8, 0.8, 0.9], num_seeds=3)
    assert evaluate_race(race, results).ties == (4,)
    assert value_of_more_trainings(race, results, 20) is None


def test_one_training_adds_nothing():
    assert value_of_more_trainings(*race_with(EQUAL, num_seeds=2), 1) is None


def test_more_trainings_leave_fewer_ties():
    race, results = race_with(CLOSE, num_seeds=2)
    ties = len(evaluate_race(race, results).ties)
    few, many = (value_of_more_trainings(race, results, count) for count in (4, 60))
    assert (few.num_trainings, many.num_trainings) == (4, 60)
    assert many.ties < min(few.ties, ties)
    assert few.ties < ties + 0.5  # excluded networks may return
    assert 0 <= few.gain <= few.max_gain
    assert 0 < many.gain <= many.max_gain


def test_the_largest_gain_falls_as_trainings_become_more():
    values = [value_of_more_trainings(*race_with(EQUAL, num_seeds=count), 10) for count in (2, 12)]
    assert values[1].max_gain < values[0].max_gain < 0.01


def test_the_expected_ties_are_those_of_a_race_with_as_many_trainings():
    """Over 12 races, the predictions and the results agree on average."""
    predicted, actual = [], []
    for seed in range(12):
        race, results = race_with(CLOSE, num_seeds=3, seed=seed)
        value = value_of_more_trainings(race, results, 3 * NUM_MEMBERS)
        if value is not None:
            predicted.append(value.ties)
            actual.append(len(evaluate_race(*race_with(CLOSE, num_seeds=6, seed=seed)).ties))
    assert np.mean(predicted) == pytest.approx(np.mean(actual), abs=0.8)


def test_failed_and_excluded_networks_get_no_more_trainings():
    race, results = race_with([0.8, 0.8, 0.8, 0.8, 0.5], num_seeds=3)
    results[TrainingRun(0, 2, EPOCHS)] = None
    ties = evaluate_race(race, results).ties
    assert 4 not in ties
    value = value_of_more_trainings(race, results, 1000)
    assert value.num_trainings == 20 * len(set(ties) - {0})


def test_the_gain_of_networks_that_were_not_compared_falls_with_their_distance_from_the_best():
    """Accuracies fall from the first to the last network, so those beyond the first may be better,
    and those near the last are not.
    """
    race, results = race_with([0.850, 0.849, 0.83, 0.80, 0.76], num_seeds=3, noise=0.002)
    race = replace(race, coordinates=((0.0,), (1.0,), (2.0,), (3.0,), (4.0,)))
    gains = [
        value_of_more_trainings(race, results, 10, other_coordinates=np.array([[place]]))
        for place in (-0.5, 3.5)
    ]
    assert gains[0].max_gain_of_grid > 4 * gains[1].max_gain_of_grid
    assert all(value.max_gain_of_grid >= value.max_gain for value in gains)
    assert value_of_more_trainings(race, results, 10).max_gain_of_grid is None
