"""The race: what is trained next and what is claimed at the end, as functions of the results
alone.
"""

import math

import numpy as np
import pytest

from phinas.scaling_search.race.racing import (
    Race,
    TrainingRun,
    evaluate_race,
    next_runs,
    total_epochs,
)

RACE = Race(num_members=8, num_seeds=3, epochs=10)
STEEP = [0.70, 0.72, 0.74, 0.76, 0.80, 0.75, 0.73, 0.71]


def run_accuracy(training, truth, *, noise=0.002, noise_seed=0, short_loss=0.1):
    """One accuracy, which depends on nothing but the training."""
    member, seed, epochs = training
    run_noise = np.random.default_rng([noise_seed, member, seed, epochs]).normal() * noise
    seed_effect = np.random.default_rng([noise_seed, 99, seed, epochs]).normal() * 0.005
    return truth[member] - (short_loss if epochs < 10 else 0.0) + run_noise + seed_effect


def run(race, truth, *, failing=(), **noise):
    results, rungs = {}, []
    while rung := next_runs(race, results):
        rungs.append(rung)
        results |= {
            t: None if t in failing or t.member in failing else run_accuracy(t, truth, **noise)
            for t in rung
        }
    return results, rungs


def test_first_all_are_trained_briefly_with_one_seed():
    assert next_runs(RACE, {}) == [TrainingRun(member, 0, 2) for member in range(8)]


def test_a_clear_winner_is_found_alone_and_early():
    results, _ = run(RACE, STEEP, noise=0.001)
    race_result = evaluate_race(RACE, results)
    assert (race_result.winner, race_result.ties) == (4, (4,))
    assert race_result.epochs_spent == total_epochs(results) < 0.4 * race_result.full_grid_epochs
    low, high = race_result.margin_interval
    assert 0 < low < race_result.margin < high
    assert low < 0.04 < high


def test_where_all_are_alike_none_is_claimed_and_the_budget_is_kept():
    results, _ = run(RACE, [0.75] * 8)
    race_result = evaluate_race(RACE, results)
    assert len(race_result.ties) > 4
    assert race_result.margin_interval[0] < 0 < race_result.margin_interval[1]
    assert total_epochs(results) <= RACE.max_epochs == 96
    assert "open" in {row.status for row in race_result.member_results}


def test_no_training_is_asked_for_twice_and_seeds_are_taken_in_turn():
    _, rungs = run(RACE, [0.75] * 8)
    requested = [training for rung in rungs for training in rung]
    assert len(set(requested)) == len(requested)
    for member in range(8):
        seeds = [t.seed for t in requested if t.member == member and t.epochs == 10]
        assert seeds == list(range(len(seeds)))


def test_the_order_in_which_results_arrive_changes_nothing():
    results, _ = run(RACE, STEEP)
    shuffled = dict(sorted(results.items(), reverse=True))
    assert evaluate_race(RACE, shuffled) == evaluate_race(RACE, results)
    assert next_runs(RACE, shuffled) == []


def test_a_rung_half_done_asks_for_its_other_half_only():
    results, rungs = run(RACE, [0.75] * 8)
    first, second = rungs[:2]
    results_so_far = {t: results[t] for t in [*first, *second[1:]]}
    assert next_runs(RACE, results_so_far) == second[:1]


def test_results_that_no_rung_asked_for_change_nothing():
    results, rungs = run(RACE, [0.75] * 8)
    unrequested = next(
        TrainingRun(m, 2, 10) for m in range(8) if TrainingRun(m, 2, 10) not in results
    )
    early = {t: results[t] for t in rungs[0]}
    assert next_runs(RACE, early | {unrequested: 0.99}) == next_runs(RACE, early)
    assert evaluate_race(RACE, results | {unrequested: 0.99}) == evaluate_race(RACE, results)


def test_a_member_that_failed_is_out_and_its_epochs_are_paid_for():
    results, _ = run(RACE, STEEP, failing=(4,), noise=0.001)
    race_result = evaluate_race(RACE, results)
    assert race_result.member_results[4].status == "failed"
    assert race_result.winner == 3
    assert 4 not in race_result.ties
    assert race_result.epochs_spent == total_epochs(results)
    assert not any(t.member == 4 and t.epochs == 10 for t in results)


def test_a_member_that_fails_later_is_out_too():
    results, _ = run(RACE, STEEP, failing=(TrainingRun(4, 1, 10),))
    race_result = evaluate_race(RACE, results)
    assert race_result.member_results[4].status == "failed"
    assert race_result.member_results[4].posterior_mean is None


def test_where_all_but_one_failed_the_race_is_over_and_nothing_is_judged():
    results, rungs = run(RACE, STEEP, failing=tuple(range(1, 8)))
    assert len(rungs) == 1
    with pytest.raises(ValueError, match="1 members are left of 8"):
        evaluate_race(RACE, results)


def test_nobody_is_excluded_on_short_trainings_alone():
    short = {t: run_accuracy(t, STEEP) for t in next_runs(RACE, {})}
    assert evaluate_race(RACE, short).excluded_by_rung == ((),)


def test_a_late_bloomer_within_the_drift_seen_is_kept():
    """Final accuracies that the short trainings say nothing about."""
    truth, rungs = STEEP, {}
    while rung := next_runs(RACE, rungs):
        for t in rung:
            rungs[t] = run_accuracy(t, truth[::-1] if t.epochs < 10 else truth)
    assert 4 in evaluate_race(RACE, rungs).ties


def test_excluded_members_are_trained_no_more_while_they_are_excluded():
    results, rungs = run(RACE, STEEP, noise=0.004)
    for count in range(1, len(rungs)):
        so_far = {t: results[t] for rung in rungs[:count] for t in rung}
        excluded = {
            m
            for m, row in enumerate(evaluate_race(RACE, so_far).member_results)
            if row.status == "excluded"
        }
        assert not excluded & {t.member for t in rungs[count]}


def test_more_flops_are_corrected_for_and_both_means_are_told():
    race = Race(
        num_members=8, num_seeds=3, epochs=10, relative_flops=(1.0,) * 7 + (1.03,), slope=0.5
    )
    truth = [0.75] * 7 + [0.75 + 0.5 * math.log(1.03)]
    results, _ = run(race, truth, noise=0.001)
    race_result = evaluate_race(race, results)
    assert len(race_result.ties) > 4
    assert all(row.adjusted_accuracy == row.accuracy for row in race_result.member_results[:7])
    plain = evaluate_race(RACE, run(RACE, truth, noise=0.001)[0])
    assert plain.ties == (7,)
    favored = max(
        race_result.member_results,
        key=lambda row: (row.accuracy or 0.0) - (row.adjusted_accuracy or 0.0),
    )
    assert favored.accuracy - favored.adjusted_accuracy == pytest.approx(0.5 * math.log(1.03))


def test_the_best_is_kept_and_none_is_wrongly_alone():
    """A few races; benchmarks/racing.md has hundreds, on other laws."""
    num_kept = num_false_unique = 0
    for noise_seed in range(6):
        truth = 0.75 + 0.004 * np.random.default_rng(noise_seed).normal(size=6)
        race = Race(num_members=6, num_seeds=3, epochs=10)
        race_result = evaluate_race(race, run(race, truth, noise=0.003, noise_seed=noise_seed)[0])
        num_kept += int(truth.argmax()) in race_result.ties
        num_false_unique += len(race_result.ties) == 1 and race_result.winner != truth.argmax()
    assert num_kept >= 5
    assert num_false_unique <= 1


def test_a_schedule_of_one_epoch_has_no_short_rung():
    race = Race(num_members=8, num_seeds=4, epochs=1)
    first = next_runs(race, {})
    assert first == [TrainingRun(member, 0, 1) for member in range(8)]
    results = {t: STEEP[t.member] for t in first}
    assert all(t.epochs == 1 and t.seed == 1 for t in next_runs(race, results))


def test_a_race_that_cannot_pay_its_first_rung_is_refused():
    with pytest.raises(ValueError, match="max_budget_fraction"):
        Race(num_members=8, num_seeds=2, epochs=1)
    with pytest.raises(ValueError, match="coordinates: 1 given for 8"):
        Race(num_members=8, num_seeds=3, epochs=10, coordinates=((0.0,),))
    with pytest.raises(ValueError, match="two members"):
        Race(num_members=1, num_seeds=3, epochs=10)
