"""Regularized evolution as in its paper: a tournament among the latest trials, one mutation, and
removal by age.
"""

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState, create_trial

from phinas.nas.strategies.evolution import EvolutionSampler

DISTRIBUTIONS = {f"d{index}": CategoricalDistribution(list(range(4))) for index in range(10)}
FIXED = {"fixed": CategoricalDistribution([7])}


def study_of(members, *, distributions=DISTRIBUTIONS):
    study = optuna.create_study(direction="maximize")
    for params, value in members:
        state = TrialState.FAIL if value is None else TrialState.COMPLETE
        study.add_trial(
            create_trial(state=state, params=params, distributions=distributions, value=value)
        )
    return study


def front_study(members):
    """A study with two objectives. Each member is a value of all choices and its objectives."""
    study = optuna.create_study(directions=["maximize", "minimize"])
    for choice, values in members:
        study.add_trial(
            create_trial(params=make_member(choice), distributions=DISTRIBUTIONS, values=values)
        )
    return study


def count_parents(study, **options):
    """How many of 60 children have a parent whose choices all have this value, for each value."""
    children = [make_child(study, seed=seed, **options) for seed in range(60)]
    return {
        value: sum(num_differences(child, make_member(value)) == 1 for child in children)
        for value in range(4)
    }


def test_for_a_pareto_front_a_member_of_the_first_rank_is_the_parent():
    members = [(0, [0.5, 10.0])] * 12 + [(1, [0.9, 90.0])] * 6 + [(2, [0.4, 20.0])] * 6
    counts = count_parents(front_study(members), tournament_size=24)
    assert counts[2] == 0
    assert counts[0] + counts[1] == 60


def test_for_a_pareto_front_the_least_crowded_member_of_a_rank_is_the_parent():
    members = [(2, [0.30 + 0.001 * index, 30.0 + 0.1 * index]) for index in range(21)]
    members += [(0, [0.1, 10.0]), (3, [0.6, 60.0]), (1, [0.9, 90.0])]
    counts = count_parents(front_study(members), tournament_size=24)
    assert counts[2] == counts[3] == 0  # the ends of the front are the least crowded
    assert counts[0] + counts[1] == 60


def make_child(study, *, seed, distributions=DISTRIBUTIONS, **options):
    study.sampler = EvolutionSampler(seed=seed, **options)
    trial = study.ask(distributions)
    study.tell(trial, state=TrialState.FAIL)
    return trial.params


def make_member(value):
    """Choices that all have this value, so that members with other values differ in each."""
    return dict.fromkeys(DISTRIBUTIONS, value)


def num_differences(one, other):
    return sum(one[name] != other[name] for name in one)


def test_a_child_is_a_parent_with_one_choice_changed():
    study = study_of([(make_member(index % 4), float(index)) for index in range(24)])
    for seed in range(50):
        child = make_child(study, seed=seed)
        assert min(num_differences(child, make_member(value)) for value in range(4)) == 1


def test_every_choice_is_mutated_eventually():
    study = study_of([(make_member(0), 0.5)] * 24)
    changed = {
        (name, value)
        for seed in range(600)
        for name, value in make_child(study, seed=seed).items()
        if value
    }
    assert changed == {(name, value) for name in DISTRIBUTIONS for value in (1, 2, 3)}


def test_the_best_of_the_tournament_is_the_parent():
    study = study_of([(make_member(0), 0.1)] * 23 + [(make_member(3), 0.9)])
    num_from_best = sum(
        num_differences(make_child(study, seed=seed), make_member(3)) == 1 for seed in range(300)
    )
    assert 60 <= num_from_best <= 140  # it takes part in a third of the tournaments, 8 of 24
    assert all(
        num_differences(make_child(study, seed=seed, tournament_size=24), make_member(3)) == 1
        for seed in range(20)
    )


def test_the_oldest_trial_leaves_the_population_even_if_it_is_the_best():
    study = study_of([(make_member(3), 1.0)] + [(make_member(0), 0.1)] * 24)
    assert all(
        num_differences(make_child(study, seed=seed), make_member(0)) == 1 for seed in range(100)
    )


def test_failed_and_running_trials_are_no_parents():
    study = study_of([(make_member(0), 0.1)] * 24 + [(make_member(3), None)] * 24)
    study.add_trial(
        create_trial(state=TrialState.RUNNING, params=make_member(3), distributions=DISTRIBUTIONS)
    )
    assert all(
        num_differences(make_child(study, seed=seed), make_member(0)) == 1 for seed in range(50)
    )


def test_before_the_population_is_full_choices_are_random():
    study = study_of([(make_member(0), 0.5)] * 23)
    children = [make_child(study, seed=seed) for seed in range(30)]
    assert sum(num_differences(params, make_member(0)) > 3 for params in children) > 25


def test_a_decision_with_one_choice_is_never_mutated():
    distributions = DISTRIBUTIONS | FIXED
    study = study_of([(make_member(0) | {"fixed": 7}, 0.5)] * 24, distributions=distributions)
    for seed in range(60):
        assert (
            num_differences(
                make_child(study, seed=seed, distributions=distributions),
                make_member(0) | {"fixed": 7},
            )
            == 1
        )


def test_if_no_choice_can_be_mutated_the_child_is_its_parent():
    study = study_of([({"fixed": 7}, 0.5)] * 24, distributions=FIXED)
    assert make_child(study, seed=0, distributions=FIXED) == {"fixed": 7}


@pytest.mark.parametrize("count", [0, 40])
def test_the_same_seed_gives_the_same_child(count):
    study = study_of([(make_member(index % 4), index / 100) for index in range(count)])
    assert make_child(study, seed=3) == make_child(study, seed=3)
    assert len({tuple(make_child(study, seed=seed).values()) for seed in range(10)}) > 5
