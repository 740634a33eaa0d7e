"""The race: next trainings and result as functions of the results alone."""

import math
from dataclasses import replace

import numpy as np
import pytest

from phinas.scaling_search.race.race import Race, TrainingRun
from phinas.scaling_search.race.racing import evaluate_race, next_runs

RACE = Race(num_members=8, num_seeds=3, epochs=10)
STEEP = [0.70, 0.72, 0.74, 0.76, 0.80, 0.75, 0.73, 0.71]


def run_score(training, truth, *, noise=0.002, noise_seed=0, short_loss=0.1):
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
            t: None if t in failing or t.member in failing else run_score(t, truth, **noise)
            for t in rung
        }
    return results, rungs


def test_in_the_first_rung_all_have_a_short_training_with_one_seed():
    assert next_runs(RACE, {}) == [TrainingRun(member, 0, 2) for member in range(8)]


def test_a_clear_winner_has_no_ties_and_ends_the_race_early():
    results, _ = run(RACE, STEEP, noise=0.001)
    race_result = evaluate_race(RACE, results)
    assert (race_result.winner, race_result.ties) == (4, (4,))
    assert (
        race_result.epochs_spent == RACE.total_epochs(results) < 0.4 * race_result.full_grid_epochs
    )
    low, high = race_result.margin_interval
    assert low < race_result.margin < high
    assert low < 0.04 < high


def test_equal_members_are_tied_and_the_budget_is_respected():
    results, _ = run(RACE, [0.75] * 8)
    race_result = evaluate_race(RACE, results)
    assert len(race_result.ties) > 4
    assert race_result.margin_interval[0] < 0 < race_result.margin_interval[1]
    assert RACE.total_epochs(results) <= RACE.max_epochs == 96
    assert "open" in {row.status for row in race_result.member_results}


def test_no_training_is_requested_twice_and_seeds_are_used_in_order():
    _, rungs = run(RACE, [0.75] * 8)
    requested = [training for rung in rungs for training in rung]
    assert len(set(requested)) == len(requested)
    for member in range(8):
        seeds = [t.seed for t in requested if t.member == member and t.epochs == 10]
        assert seeds == list(range(len(seeds)))


def test_the_order_of_the_results_has_no_effect():
    results, _ = run(RACE, STEEP)
    shuffled = dict(sorted(results.items(), reverse=True))
    assert evaluate_race(RACE, shuffled) == evaluate_race(RACE, results)
    assert next_runs(RACE, shuffled) == []


def test_an_unfinished_rung_requests_only_its_missing_trainings():
    results, rungs = run(RACE, [0.75] * 8)
    first, second = rungs[:2]
    results_so_far = {t: results[t] for t in [*first, *second[1:]]}
    assert next_runs(RACE, results_so_far) == second[:1]


def test_results_that_no_rung_requested_have_no_effect():
    results, rungs = run(RACE, [0.75] * 8)
    unrequested = next(
        TrainingRun(m, 2, 10) for m in range(8) if TrainingRun(m, 2, 10) not in results
    )
    early = {t: results[t] for t in rungs[0]}
    assert next_runs(RACE, early | {unrequested: 0.99}) == next_runs(RACE, early)
    assert evaluate_race(RACE, results | {unrequested: 0.99}) == evaluate_race(RACE, results)


def test_a_failed_member_may_be_the_best_so_that_no_other_is_called_unique():
    results, _ = run(RACE, STEEP, failing=(4,), noise=0.001)
    race_result = evaluate_race(RACE, results)
    row = race_result.member_results[4]
    assert (row.status, row.num_trainings, row.score_gap) == ("failed", 0, None)
    assert race_result.winner == 3
    assert set(race_result.ties) >= {3, 4}
    assert race_result.epochs_spent == RACE.total_epochs(results)
    assert not any(t.member == 4 and t.epochs == 10 for t in results)


@pytest.mark.parametrize(("seed", "early_elimination"), [(0, True), (2, False)])
def test_the_best_member_is_a_tie_although_a_full_training_of_it_fails(seed, early_elimination):
    race = Race(num_members=8, num_seeds=3, epochs=10, early_elimination=early_elimination)
    results, _ = run(race, STEEP, failing=(TrainingRun(4, seed, 10),), noise=0.001)
    race_result = evaluate_race(race, results)
    assert race_result.member_results[4].status == "failed"
    assert race_result.winner != 4
    assert {race_result.winner, 4} <= set(race_result.ties)


def test_a_failed_member_that_is_worse_in_its_other_trainings_is_excluded():
    race = Race(num_members=8, num_seeds=3, epochs=10, early_elimination=False)
    results, _ = run(race, STEEP, failing=(TrainingRun(0, 2, 10),), noise=0.001)
    race_result = evaluate_race(race, results)
    assert race_result.member_results[0].status == "failed"
    assert race_result.ties == (4,)


def test_a_race_in_which_most_members_fail_has_a_result():
    """The members that did not fail are too few for a spread of their own."""
    results, _ = run(RACE, STEEP, failing=(0, 1, 2, 3, 5), noise=0.0005)
    race_result = evaluate_race(RACE, results)
    assert race_result.winner == 4
    assert set(race_result.ties) >= {0, 1, 2, 3, 4, 5}


def run_changed(scores, *, race=RACE, truth=STEEP, **noise):
    """A race in which some trainings have other scores."""
    results = {}
    while rung := next_runs(race, results):
        results |= {t: scores.get(t, run_score(t, truth, **noise)) for t in rung}
    return results


def test_a_diverged_full_training_is_left_out():
    plain = evaluate_race(RACE, run(RACE, STEEP)[0])
    results = run_changed({TrainingRun(4, 0, 10): 0.1})
    race_result = evaluate_race(RACE, results)
    assert results[TrainingRun(4, 0, 10)] == 0.1
    assert race_result.winner == plain.winner == 4
    row = race_result.member_results[4]
    assert row.num_diverged == 1
    assert row.score == pytest.approx(plain.member_results[4].score, abs=0.01)
    assert race_result.noise_std < 2 * plain.noise_std


def test_a_short_training_far_below_all_others_is_repeated():
    low = TrainingRun(4, 0, 2)
    first = {t: run_score(t, STEEP) for t in next_runs(RACE, {})} | {low: 0.1}
    repeated = TrainingRun(4, 1, 2)
    assert next_runs(RACE, first) == [repeated]
    race_result = evaluate_race(RACE, run_changed({low: 0.1}))
    assert race_result.winner == 4
    assert race_result.member_results[4].num_diverged == 1
    # a member that is as low again is bad, and its trainings count
    bad_truth = [*STEEP[:4], 0.2, *STEEP[5:]]
    bad, _ = run(RACE, bad_truth)
    bad_result = evaluate_race(RACE, bad)
    assert repeated in bad
    assert bad_result.member_results[4].num_diverged == 0
    assert bad_result.winner != 4


def test_a_member_whose_full_trainings_all_are_low_has_not_diverged():
    low = {TrainingRun(4, seed, 10): 0.3 for seed in range(3)}
    race_result = evaluate_race(RACE, run_changed(low))
    assert race_result.winner == 3
    assert race_result.member_results[4].num_diverged == 0
    assert 4 not in race_result.ties


def test_members_without_a_full_training_have_no_interval():
    results, _ = run(RACE, STEEP)
    race_result = evaluate_race(RACE, results)
    intervals = [row.gap_interval is not None for row in race_result.member_results]
    assert intervals == [row.num_trainings > 0 for row in race_result.member_results]
    assert not all(intervals)
    assert race_result.member_results[race_result.runner_up].num_trainings > 0


def test_a_race_with_one_remaining_member_has_no_result():
    results, rungs = run(RACE, STEEP, failing=tuple(range(1, 8)))
    assert len(rungs) == 1
    with pytest.raises(ValueError, match="1 of 8 members did not fail"):
        evaluate_race(RACE, results)


def test_no_member_is_excluded_by_short_trainings_alone():
    short = {t: run_score(t, STEEP) for t in next_runs(RACE, {})}
    assert evaluate_race(RACE, short).excluded_by_rung == ((),)


@pytest.mark.parametrize("slope", [-1.0, 0.0])
def test_short_trainings_with_opposed_or_unrelated_ranks_do_not_exclude_the_best(slope):
    """The short trainings of the best members are as bad as those of the worst are good."""
    truth, results = np.array(STEEP), {}
    order = np.random.default_rng(0).permutation(8)
    short_truth = 0.7 - (truth - truth.mean()) if slope < 0 else 0.7 + 0.3 * (truth[order] - 0.74)
    while rung := next_runs(RACE, results):
        results |= {
            t: run_score(t, short_truth if t.epochs < 10 else truth, short_loss=0.0) for t in rung
        }
    race_result = evaluate_race(RACE, results)
    assert 4 in race_result.ties
    assert race_result.winner == 4 or len(race_result.ties) > 1


def test_excluded_members_are_not_trained():
    results, rungs = run(RACE, STEEP, noise=0.004)
    for count in range(1, len(rungs)):
        so_far = {t: results[t] for rung in rungs[:count] for t in rung}
        excluded = {
            m
            for m, row in enumerate(evaluate_race(RACE, so_far).member_results)
            if row.status == "excluded"
        }
        assert not excluded & {t.member for t in rungs[count]}


def test_scores_are_adjusted_for_flops_and_both_means_are_in_the_result():
    race = Race(
        num_members=8,
        num_seeds=3,
        epochs=10,
        relative_flops=(1.0,) * 7 + (1.03,),
        slope=0.5,
        early_elimination=False,
    )
    truth = [0.75] * 7 + [0.75 + 0.5 * math.log(1.03)]
    results, _ = run(race, truth, noise=0.001)
    race_result = evaluate_race(race, results)
    assert len(race_result.ties) > 4
    assert all(row.adjusted_score == row.score for row in race_result.member_results[:7])
    plain = evaluate_race(RACE, run(RACE, truth, noise=0.001)[0])
    assert plain.ties == (7,)
    favored = race_result.member_results[7]
    assert favored.score - favored.adjusted_score == pytest.approx(0.5 * math.log(1.03))


def test_a_race_of_networks_at_chance_has_no_single_winner():
    """All predict one class, but the full trainings of member 5 have one image of 100 more."""
    num_ties = {}
    for score_step in (0.0, 0.01):
        race = Race(num_members=24, num_seeds=3, epochs=10, score_step=score_step)
        results = {}
        while rung := next_runs(race, results):
            results |= {
                t: 0.26
                if t.member == 5 and t.epochs == 10
                else 0.25 - 0.002 * ((t.member + t.seed) % 3 == 0)
                for t in rung
            }
        race_result = evaluate_race(race, results)
        assert race_result.winner == 5
        num_ties[score_step] = len(race_result.ties)
    assert num_ties[0.0] == 1
    assert num_ties[0.01] > 20


def test_of_two_networks_without_short_trainings_no_training_is_left_out():
    """Nothing shows by how much the scores of two trainings usually differ."""
    race = Race(num_members=2, num_seeds=2, epochs=1, early_elimination=False)
    scores = [0.75, 0.70, 0.73, 0.76]
    results = dict(zip(next_runs(race, {}), scores, strict=True))
    assert [row.num_diverged for row in evaluate_race(race, results).member_results] == [0, 0]


def test_a_score_that_is_a_few_images_lower_has_not_diverged():
    race = Race(num_members=8, num_seeds=2, epochs=10, early_elimination=False)
    results, _ = run(race, [0.25] * 8, noise=0.0)
    results[TrainingRun(3, 1, 10)] -= 0.05
    assert evaluate_race(race, results).member_results[3].num_diverged == 1
    coarse = replace(race, score_step=0.01)
    assert evaluate_race(coarse, results).member_results[3].num_diverged == 0


def test_the_best_member_is_tied_or_wins_and_no_other_wins_alone():
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


def test_a_race_with_a_budget_below_its_first_rung_is_refused():
    with pytest.raises(ValueError, match="max_budget_fraction"):
        Race(num_members=8, num_seeds=2, epochs=1)
    with pytest.raises(ValueError, match="coordinates: has 1 rows for 8"):
        Race(num_members=8, num_seeds=3, epochs=10, coordinates=((0.0,),))
    with pytest.raises(ValueError, match="two members"):
        Race(num_members=1, num_seeds=3, epochs=10)
