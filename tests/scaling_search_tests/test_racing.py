"""The race: what is trained next and what is claimed at the end, as functions of the results
alone.
"""

import math

import numpy as np
import pytest

from phinas.experiment.statistics.posterior import Column, believe
from phinas.scaling_search.race.flops_adjustment import default_slope, measured_slope
from phinas.scaling_search.race.racing import Race, Training, judge, next_trainings, spent_by

RACE = Race(members=8, seeds=3, epochs=10)
STEEP = [0.70, 0.72, 0.74, 0.76, 0.80, 0.75, 0.73, 0.71]


def trained(training, truth, *, noise=0.002, luck=0, short_loss=0.1):
    """One accuracy, which depends on nothing but the training."""
    member, seed, epochs = training
    own = np.random.default_rng([luck, member, seed, epochs]).normal() * noise
    shared = np.random.default_rng([luck, 99, seed, epochs]).normal() * 0.005
    return truth[member] - (short_loss if epochs < 10 else 0.0) + own + shared


def run(race, truth, *, failing=(), **noise):
    results, rungs = {}, []
    while todo := next_trainings(race, results):
        rungs.append(todo)
        results |= {
            t: None if t in failing or t.member in failing else trained(t, truth, **noise)
            for t in todo
        }
    return results, rungs


def test_first_all_are_trained_briefly_with_one_seed():
    assert next_trainings(RACE, {}) == [Training(member, 0, 2) for member in range(8)]


def test_a_clear_winner_is_found_alone_and_early():
    results, _ = run(RACE, STEEP, noise=0.001)
    verdict = judge(RACE, results)
    assert (verdict.winner, verdict.ties) == (4, (4,))
    assert verdict.spent == spent_by(results) < 0.4 * verdict.full_grid
    low, high = verdict.interval
    assert 0 < low < verdict.lead < high
    assert low < 0.04 < high


def test_where_all_are_alike_none_is_claimed_and_the_budget_is_kept():
    results, _ = run(RACE, [0.75] * 8)
    verdict = judge(RACE, results)
    assert len(verdict.ties) > 4
    assert verdict.interval[0] < 0 < verdict.interval[1]
    assert spent_by(results) <= RACE.budget == 96
    assert "open" in {row.status for row in verdict.standings}


def test_no_training_is_asked_for_twice_and_seeds_are_taken_in_turn():
    _, rungs = run(RACE, [0.75] * 8)
    asked = [training for rung in rungs for training in rung]
    assert len(set(asked)) == len(asked)
    for member in range(8):
        seeds = [t.seed for t in asked if t.member == member and t.epochs == 10]
        assert seeds == list(range(len(seeds)))


def test_the_order_in_which_results_arrive_changes_nothing():
    results, _ = run(RACE, STEEP)
    shuffled = dict(sorted(results.items(), reverse=True))
    assert judge(RACE, shuffled) == judge(RACE, results)
    assert next_trainings(RACE, shuffled) == []


def test_a_rung_half_done_asks_for_its_other_half_only():
    results, rungs = run(RACE, [0.75] * 8)
    first, second = rungs[:2]
    known = {t: results[t] for t in [*first, *second[1:]]}
    assert next_trainings(RACE, known) == second[:1]


def test_results_that_no_rung_asked_for_change_nothing():
    results, rungs = run(RACE, [0.75] * 8)
    unasked = next(Training(m, 2, 10) for m in range(8) if Training(m, 2, 10) not in results)
    early = {t: results[t] for t in rungs[0]}
    assert next_trainings(RACE, early | {unasked: 0.99}) == next_trainings(RACE, early)
    assert judge(RACE, results | {unasked: 0.99}) == judge(RACE, results)


def test_a_member_that_failed_is_out_and_its_epochs_are_paid_for():
    results, _ = run(RACE, STEEP, failing=(4,), noise=0.001)
    verdict = judge(RACE, results)
    assert verdict.standings[4].status == "failed"
    assert verdict.winner == 3
    assert 4 not in verdict.ties
    assert verdict.spent == spent_by(results)
    assert not any(t.member == 4 and t.epochs == 10 for t in results)


def test_a_member_that_fails_later_is_out_too():
    results, _ = run(RACE, STEEP, failing=(Training(4, 1, 10),))
    verdict = judge(RACE, results)
    assert verdict.standings[4].status == "failed"
    assert verdict.standings[4].estimate is None


def test_where_all_but_one_failed_the_race_is_over_and_nothing_is_judged():
    results, rungs = run(RACE, STEEP, failing=tuple(range(1, 8)))
    assert len(rungs) == 1
    with pytest.raises(ValueError, match="1 members are left of 8"):
        judge(RACE, results)


def test_nobody_is_excluded_on_short_trainings_alone():
    short = {t: trained(t, STEEP) for t in next_trainings(RACE, {})}
    assert judge(RACE, short).excluded_after == ((),)


def test_a_late_bloomer_within_the_drift_seen_is_kept():
    """Final accuracies that the short trainings say nothing about."""
    truth, rungs = STEEP, {}
    while todo := next_trainings(RACE, rungs):
        for t in todo:
            rungs[t] = trained(t, truth[::-1] if t.epochs < 10 else truth)
    assert 4 in judge(RACE, rungs).ties


def test_excluded_members_are_trained_no_more_while_they_are_excluded():
    results, rungs = run(RACE, STEEP, noise=0.004)
    for count in range(1, len(rungs)):
        so_far = {t: results[t] for rung in rungs[:count] for t in rung}
        excluded = {
            m for m, row in enumerate(judge(RACE, so_far).standings) if row.status == "excluded"
        }
        assert not excluded & {t.member for t in rungs[count]}


def test_more_flops_are_corrected_for_and_both_means_are_told():
    race = Race(members=8, seeds=3, epochs=10, flops=(1.0,) * 7 + (1.03,), slope=0.5)
    truth = [0.75] * 7 + [0.75 + 0.5 * math.log(1.03)]
    results, _ = run(race, truth, noise=0.001)
    verdict = judge(race, results)
    assert len(verdict.ties) > 4
    assert all(row.corrected == row.raw for row in verdict.standings[:7])
    plain = judge(RACE, run(RACE, truth, noise=0.001)[0])
    assert plain.ties == (7,)
    favoured = max(verdict.standings, key=lambda row: (row.raw or 0.0) - (row.corrected or 0.0))
    assert favoured.raw - favoured.corrected == pytest.approx(0.5 * math.log(1.03))


def test_the_best_is_kept_and_none_is_wrongly_alone():
    """A few races; benchmarks/racing.md has hundreds, on other laws."""
    kept = unique = 0
    for luck in range(6):
        truth = 0.75 + 0.004 * np.random.default_rng(luck).normal(size=6)
        race = Race(members=6, seeds=3, epochs=10)
        verdict = judge(race, run(race, truth, noise=0.003, luck=luck)[0])
        kept += int(truth.argmax()) in verdict.ties
        unique += len(verdict.ties) == 1 and verdict.winner != truth.argmax()
    assert kept >= 5
    assert unique <= 1


def test_a_schedule_of_one_epoch_has_no_short_rung():
    race = Race(members=8, seeds=4, epochs=1)
    first = next_trainings(race, {})
    assert first == [Training(member, 0, 1) for member in range(8)]
    results = {t: STEEP[t.member] for t in first}
    assert all(t.epochs == 1 and t.seed == 1 for t in next_trainings(race, results))


def test_a_race_that_cannot_pay_its_first_rung_is_refused():
    with pytest.raises(ValueError, match="share"):
        Race(members=8, seeds=2, epochs=1)
    with pytest.raises(ValueError, match="coordinates: 1 given for 8"):
        Race(members=8, seeds=3, epochs=10, coordinates=((0.0,),))
    with pytest.raises(ValueError, match="two members"):
        Race(members=1, seeds=3, epochs=10)


def test_a_smooth_surface_tells_of_members_that_were_not_trained():
    places = np.linspace(-1, 1, 12)[:, None]
    truth = 0.75 - 0.05 * (places[:, 0] - 0.3) ** 2
    noise = np.random.default_rng(0).normal(size=(12, 2)) * 0.001
    seen = [m for m in range(12) if m not in (2, 9)]
    columns = [Column(tuple(seen), tuple(truth[seen] + noise[seen, seed])) for seed in (0, 1)]
    smooth = believe(columns, 12, coordinates=places).expected()
    assert np.abs(smooth - (truth - truth.mean())).max() < 0.002
    rough = believe(columns, 12).expected()
    assert abs(rough[2] - (truth - truth.mean())[2]) > 0.01


def test_the_noise_of_a_training_is_estimated():
    generator = np.random.default_rng(1)
    table = generator.normal(size=(10, 1)) * 0.01 + generator.normal(size=(10, 5)) * 0.003
    belief = believe([Column(tuple(range(10)), tuple(column)) for column in table.T], 10)
    assert belief.deviation == pytest.approx(0.003, rel=0.2)
    assert belief.chance_above(3)[3] == pytest.approx(0.5)


def test_without_a_pair_nothing_can_be_compared():
    with pytest.raises(ValueError, match="no two members"):
        believe([Column((0,), (0.7,))], 3)


def test_the_slope_in_log_flops_is_measured_against_the_baseline():
    members = [[0.72, 0.74], [0.73, 0.75]]
    assert measured_slope([0.70, 0.72], members, [2.0, 2.0]) == pytest.approx(0.025 / math.log(2))
    assert measured_slope([0.80, 0.82], members, [2.0, 2.0]) == 0
    assert default_slope(0.75) == pytest.approx(0.015)
    with pytest.raises(ValueError, match="one side of 1"):
        measured_slope([0.7, 0.7], members, [0.9, 1.1])
    with pytest.raises(ValueError, match="every seed"):
        measured_slope([0.7], members, [2.0, 2.0])
