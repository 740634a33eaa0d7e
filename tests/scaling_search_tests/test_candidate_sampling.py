"""Selection of members at random and by TPE."""

import math

import optuna
import pytest

from phinas.experiment.errors import InputError
from phinas.scaling_search.race.candidate_sampling import STRATEGIES, next_member

SQUARE = [(x / 6, y / 6, 0.5) for x in range(7) for y in range(7)]


@pytest.fixture(autouse=True)
def quiet():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


def hill(member):
    return -math.dist(SQUARE[member], (0.8, 0.2, 0.5))


def observe(strategy, count, *, seed=0):
    observed = {}
    while len(observed) < count:
        member = next_member(strategy, SQUARE, observed, seed=seed)
        observed[member] = hill(member)
    return observed


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_member_is_proposed_once_and_then_none(strategy):
    coordinates = SQUARE[:9]
    observed = {}
    while (member := next_member(strategy, coordinates, observed, seed=1)) is not None:
        assert member not in observed
        observed[member] = hill(member)
    assert sorted(observed) == list(range(9))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_proposals_do_not_depend_on_the_order_of_the_results(strategy):
    observed = observe(strategy, 6)
    backwards = dict(reversed(observed.items()))
    assert next_member(strategy, SQUARE, observed, seed=0) == next_member(
        strategy, SQUARE, backwards, seed=0
    )


def test_another_seed_proposes_other_members():
    assert set(observe("random", 10, seed=0)) != set(observe("random", 10, seed=1))


def test_tpe_proposes_members_where_the_score_is_high():
    late = {
        s: [sum(list(observe(s, 14, seed=seed).values())[4:]) / 10 for seed in range(3)]
        for s in ("random", "tpe")
    }
    assert sum(late["tpe"]) / 3 > sum(late["random"]) / 3 + 0.1


def test_members_with_equal_coordinates_are_proposed_too():
    assert next_member("tpe", [(1.0, 1.0)] * 6, dict.fromkeys(range(5), 0.5), seed=0) == 5


def test_an_unknown_strategy_is_refused_with_the_known_ones():
    with pytest.raises(
        InputError, match=r"scaling\.strategy: 'annealing' is not a strategy; use grid, random, tpe"
    ):
        next_member("annealing", SQUARE, {}, seed=0)
