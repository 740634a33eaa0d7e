"""ASHA: rungs, promotions, and a search that pauses real trainings."""

from contextlib import closing

import pytest

from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.schema.config import DataSection, Recipe, RunSection, SearchSection
from phinas.nas.cost_constraint import CostConstraint
from phinas.nas.evaluators.proxy import ProxyEvaluator
from phinas.nas.problem import Problem
from phinas.nas.reward import Reward
from phinas.nas.search import search
from phinas.nas.strategies.asha import AshaStrategy, make_rungs
from phinas.nas.strategies.interface import PastTrial, ResumeTraining, StartTraining
from phinas.nas.trial import TrialAttributes
from phinas.space.search_spaces.loading import load_space
from phinas.testing.searches import EPOCHS, in_memory_store, live_records, run_search
from phinas.training.data.prepared_dataset import prepare
from phinas.training.engine.job import TrainingJobFactory

TINY = load_space("tiny")
PROBLEM = Problem(TINY, CostConstraint(), Reward("soft", 0.0, 1.0), epochs=EPOCHS)
CHOICES = {decision.name: decision.values[0] for decision in TINY.decisions}


def past(number, scores, status="paused"):
    return PastTrial(number, CHOICES, status, scores=scores, rewards=scores)


@pytest.mark.parametrize(
    ("epochs", "rungs"),
    [(1, [1]), (2, [2]), (3, [1, 3]), (5, [1, 5]), (9, [1, 3, 9]), (20, [2, 6, 20])],
)
def test_each_rung_is_a_third_of_the_next(epochs, rungs):
    assert make_rungs(epochs, 3) == rungs


def test_without_a_promotable_trial_a_random_network_starts_at_the_first_rung():
    history = [past(0, {1: 0.3}), past(1, {1: 0.2})]
    actions = [AshaStrategy(PROBLEM, seed).propose(history) for seed in (0, 0, 1)]
    assert actions[0] == actions[1] != actions[2]
    assert isinstance(actions[0], StartTraining)
    assert actions[0].epochs == 1
    TINY.decode(actions[0].choices)


def test_the_best_third_of_a_rung_is_promoted_in_the_order_of_their_rewards():
    scores = [0.1, 0.5, 0.3, 0.6, 0.2, 0.4]
    history = [past(number, {1: score}) for number, score in enumerate(scores)]
    assert AshaStrategy(PROBLEM, 0).propose(history) == ResumeTraining(3, 3)
    history[3] = past(3, {1: 0.6}, "running")
    assert AshaStrategy(PROBLEM, 0).propose(history) == ResumeTraining(1, 3)
    history[1] = past(1, {1: 0.5, 3: 0.7})
    assert isinstance(AshaStrategy(PROBLEM, 0).propose(history), StartTraining)


def test_a_promotion_to_a_higher_rung_is_preferred():
    history = [past(number, {1: 0.1 * number}) for number in range(3)]
    history += [past(number, {1: 0.9, 3: 0.1 * number}) for number in range(3, 6)]
    assert AshaStrategy(PROBLEM, 0).propose(history) == ResumeTraining(5, EPOCHS)


def test_the_older_of_two_trials_with_equal_rewards_is_promoted():
    history = [past(number, {1: 0.5}) for number in range(3)]
    assert AshaStrategy(PROBLEM, 0).propose(history) == ResumeTraining(0, 3)


def test_complete_trials_are_members_of_all_rungs_and_are_not_resumed():
    history = [past(number, {1: 0.9, 3: 0.9, 9: 0.9}, "complete") for number in range(3)]
    history += [past(3, {1: 0.1})]
    assert isinstance(AshaStrategy(PROBLEM, 0).propose(history), StartTraining)


def test_every_trial_stops_at_a_rung_and_the_budget_is_in_epochs():
    trial_store = in_memory_store()
    result = run_search("asha", trial_store, trials=12)
    targets = [record.target_epochs for record in live_records(trial_store)]
    assert set(targets) == {(1,), (1, 3), (1, 3, 9)}
    assert 11 * EPOCHS < sum(target[-1] for target in targets) <= 12 * EPOCHS
    assert len(result.trials) == targets.count((1, 3, 9)) >= 3


def test_paused_trainings_are_recorded_as_pruned_with_the_reason_when_the_search_ends():
    trial_store = in_memory_store()
    run_search("asha", trial_store, trials=6)
    pruned = [record for record in trial_store.records() if record.is_pruned]
    assert len(pruned) > 10
    for record in pruned:
        epochs = record.target_epochs[-1]
        assert record.reason == (
            f"paused after {epochs} of 9 epochs at {record.measurement.score:.1%} when the search "
            "ended"
        )
        assert record.measurement.epochs == epochs
        assert record.value is None


def test_real_trainings_are_paused_and_end_like_full_ones(tmp_path):
    section = DataSection(source="digits", max_train_images=300, max_validation_images=200)
    data = prepare(section, seed=0, directory=tmp_path / "data")
    job_factory = TrainingJobFactory.from_config(
        data,
        section,
        run=RunSection(device="cpu", trial_timeout_minutes=5.0),
        threads=1,
        checkpoints=tmp_path / "checkpoints",
    )
    recipe = Recipe(epochs=3, batch_size=64)
    space = TINY.adapt_to(channels=1, classes=10, resolution=8)
    evaluator, trial_store, executor = (
        ProxyEvaluator(job_factory),
        in_memory_store(),
        InlineExecutor(1),
    )
    with closing(executor):
        result = search(
            space,
            SearchSection(strategy="asha", trials=4, recipe=recipe),
            seed=0,
            trial_store=trial_store,
            executor=executor,
            evaluator=evaluator,
            on_progress=lambda *_: None,
        )
        records = live_records(trial_store)
        resumed = [record for record in records if record.target_epochs == (1, 3)]
        assert len(resumed) == len(result.trials) >= 1
        trial = result.trials[0]
        key = TrialAttributes.from_record(resumed[0]).key
        seed = resumed[0].measurement.seed
        full_job = TrainingJobFactory.from_config(
            data,
            section,
            run=RunSection(device="cpu", trial_timeout_minutes=5.0),
            threads=1,
            checkpoints=None,
        ).make_job(trial.spec, recipe, seed)
        assert full_job.key == key
        executor.submit(full_job)
        full = executor.next_result().value
    assert full["score"] == trial.score
    assert list(full["curve"]) == list(resumed[0].measurement.curve)
    assert len(resumed[0].measurement.curve) == 3
    paused = [record for record in records if record.is_pruned]
    assert len(paused) >= 3
    assert {len(record.measurement.curve) for record in paused} == {1}
    assert list((tmp_path / "checkpoints").glob("*.checkpoint")) == []


def test_a_training_resumed_by_a_later_search_is_one_trial_of_the_record():
    trial_store = in_memory_store()
    for trials in (3, 10):
        run_search("asha", trial_store, trials=trials)
    records = trial_store.records()
    resumed = [record for record in records if record.replaced_number is not None]
    assert resumed
    assert not any(record.is_interrupted for record in records)
    replaced = {record.replaced_number for record in resumed}
    assert replaced.isdisjoint(record.number for record in live_records(trial_store))
    assert {records[number].was_closed_while_paused for number in replaced} == {True}
