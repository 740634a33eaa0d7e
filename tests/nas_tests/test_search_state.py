"""The state of a search: the record, the strategy's view and the pruner's view stay consistent."""

import re
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.storages import InMemoryStorage

import phinas.nas
from phinas.experiment.measurement import Measurement
from phinas.experiment.schema.config import Recipe, SearchSection
from phinas.experiment.storage.trial_record import drop_replaced
from phinas.experiment.storage.trial_store import TrialStore
from phinas.nas.cost_constraint import CostConstraint
from phinas.nas.problem import Problem
from phinas.nas.reward import Reward
from phinas.nas.search_loop import describe_progress
from phinas.nas.search_state.history import PastTrials
from phinas.nas.search_state.state import SearchState
from phinas.nas.trial import TrialAttributes, completed_trials
from phinas.testing.searches import (
    EPOCHS,
    TINY,
    UNRELIABLE,
    Interrupted,
    in_memory_store,
    list_proposals,
    run_search,
)

SECTION = SearchSection(
    strategy="asha", trials=5, recipe=Recipe(epochs=EPOCHS), evaluator=UNRELIABLE
)
PROBLEM = Problem(TINY, CostConstraint(), Reward("soft", 0.0, 1.0), epochs=EPOCHS)


def open_state(
    trial_store, *, section=SECTION, problem=PROBLEM, estimating_exponent=False, **options
):
    can_pause = section.strategy == "asha" and not estimating_exponent
    return SearchState(
        replace(problem, can_pause=can_pause),
        section,
        trial_store,
        seed=0,
        estimating_exponent=estimating_exponent,
        **options,
    )


def next_trial(state):
    return state.next_trial(lambda network, _: f"key of {network.network_id}")


def finish(state, trial, score):
    epochs = trial.stop_epoch or EPOCHS
    curve = tuple(score * epoch / epochs for epoch in range(1, epochs + 1))
    return state.finish(trial, Measurement(score, epochs=epochs, curve=curve), attempts=1)


def test_only_one_module_uses_the_private_storage_of_optuna():
    root = Path(phinas.nas.__path__[0]).parent
    users = [
        path.relative_to(root).as_posix()
        for path in sorted(root.glob("*/**/*.py"))
        if re.search(r"\b_storage\b|\._study_id\b", path.read_text(encoding="utf-8"))
    ]
    assert users == ["experiment/storage/optuna_study.py"]


def test_only_the_typed_attributes_read_a_record_by_name():
    root = Path(phinas.nas.__path__[0]).parent
    users = {
        path.relative_to(root).as_posix()
        for folder in ("nas", "reports")
        for path in (root / folder).rglob("*.py")
        if re.search(r"\buser_attrs\b(?!=|:)", path.read_text(encoding="utf-8"))
    }
    # Samplers read the attributes of the trials in their study.
    samplers = {"nas/strategies/nsga2.py"}
    lists_of_jobs = {path for path in users if path.startswith("nas/selection/")}
    # The proposer adds finished trials to the study of a sampler.
    proposer = {"nas/search_state/proposer.py"}
    assert users - samplers - lists_of_jobs - proposer == {"nas/trial.py"}


def test_a_paused_trial_is_resumed_and_completed_in_the_record():
    trial_store = in_memory_store()
    state = open_state(trial_store)
    trials = [next_trial(state) for _ in range(3)]
    assert {trial.stop_epoch for trial in trials} == {1}
    for trial, score in zip(trials, (0.2, 0.4, 0.3), strict=True):
        assert finish(state, trial, score) == ""
    record = trial_store.record(1)
    assert (record.is_paused, record.paused_epochs, record.measurement.score) == (True, (1,), 0.4)
    promoted = next_trial(state)
    assert (promoted.number, promoted.stop_epoch) == (1, 3)
    record = trial_store.record(1)
    assert (record.is_paused, record.target_epochs) == (False, (1, 3))
    finish(state, promoted, 0.5)
    assert trial_store.record(1).intermediate_values == {1: 0.5 / 3, 2: 1.0 / 3, 3: 0.5}
    assert state.num_paused == 3


@pytest.mark.parametrize("num_finished", range(6))
def test_a_state_read_from_the_record_makes_the_same_proposals(num_finished):
    uninterrupted, interrupted = in_memory_store(), in_memory_store()
    state = open_state(uninterrupted)
    other = open_state(interrupted)
    for index in range(8):
        if index == num_finished:
            other = open_state(interrupted)
        for current in (state, other):
            trial = next_trial(current)
            finish(current, trial, (0.2, 0.4, 0.3, 0.5)[index % 4])
    assert list_proposals(interrupted) == list_proposals(uninterrupted)


def test_a_running_trial_is_run_again_with_its_stop_epoch():
    trial_store = in_memory_store()
    state = open_state(trial_store)
    for score in (0.2, 0.4, 0.3):
        finish(state, next_trial(state), score)
    started = next_trial(state)
    again = next_trial(open_state(trial_store))
    assert (again.number, again.stop_epoch, again.attributes) == (
        started.number,
        3,
        started.attributes,
    )
    assert len(trial_store.records()) == 3


def test_an_interrupted_first_training_is_replaced_by_another_trial():
    trial_store = in_memory_store()
    started = next_trial(open_state(trial_store))
    again = next_trial(open_state(trial_store))
    assert (started.number, again.number, again.stop_epoch) == (0, 1, 1)
    assert [record.number for record in drop_replaced(trial_store.records())] == [1]


def test_a_closed_training_is_resumed_by_a_search_with_a_larger_budget():
    trial_store = in_memory_store()
    state = open_state(trial_store)
    for score in (0.2, 0.4, 0.3):
        finish(state, next_trial(state), score)
    state.close_paused()
    assert sum(record.was_closed_while_paused for record in trial_store.records()) == 3
    assert all(record.is_pruned for record in trial_store.records())
    resumed = next_trial(open_state(trial_store))
    assert (resumed.number, resumed.proposal, resumed.stop_epoch) == (3, 1, 3)
    records = drop_replaced(trial_store.records())
    assert [record.number for record in records] == [0, 2, 3]
    assert records[-1].intermediate_values == {1: 0.4}


def test_a_failed_resumption_is_a_failed_trial_and_is_not_resumed_again():
    trial_store = in_memory_store()
    state = open_state(trial_store)
    for score in (0.2, 0.4, 0.3):
        finish(state, next_trial(state), score)
    state.fail(next_trial(state), "diverged", attempts=2)
    record = trial_store.record(1)
    assert (record.is_failed, record.reason, record.attempts) == (True, "diverged", 2)
    assert state.recent_failures == ["diverged"]
    assert next_trial(state).proposal == 3
    assert next_trial(open_state(trial_store)).proposal == 3


def test_a_budget_that_a_proposal_exceeds_is_left_unspent():
    section = SECTION.model_copy(update={"trials": 1})
    trial_store = in_memory_store()
    state = open_state(trial_store, section=section)
    epochs = 0
    while (trial := next_trial(state)) is not None:
        epochs += (trial.stop_epoch or EPOCHS) - max(
            trial_store.record(trial.number).paused_epochs or (0,)
        )
        finish(state, trial, 0.1 + 0.01 * trial.number)
    assert EPOCHS - 6 <= epochs <= EPOCHS


def test_a_reward_that_is_not_finite_is_a_failure_with_the_reason():
    trial_store = in_memory_store()
    problem = Problem(TINY, CostConstraint(), Reward("soft", -1000.0, 1e9), epochs=EPOCHS)
    section = SECTION.model_copy(update={"strategy": "random"})
    state = open_state(trial_store, section=section, problem=problem)
    reason = finish(state, next_trial(state), 0.5)
    assert reason == "its reward inf is not a finite number"
    assert trial_store.record(0).reason == reason
    assert state.trials == []


def test_a_measurement_in_another_metric_than_the_earlier_ones_is_a_failure():
    trial_store = in_memory_store()
    state = open_state(trial_store, section=SECTION.model_copy(update={"strategy": "random"}))
    for metric, expected in [
        ("mean_iou", ""),
        ("accuracy", "its metric 'accuracy' is not 'mean_iou', that of the other trials"),
        ("mean_iou", ""),
    ]:
        measurement = Measurement(0.5, metric=metric, epochs=EPOCHS)
        assert state.finish(next_trial(state), measurement, attempts=1) == expected
    assert [trial.number for trial in state.trials] == [0, 2]


def test_progress_reports_the_paused_trainings_and_then_the_best_trial():
    state = open_state(in_memory_store())
    assert describe_progress(state) == "no trial is complete yet"
    finish(state, next_trial(state), 0.4)
    assert describe_progress(state) == "no trial is complete yet, 1 paused"
    section = SECTION.model_copy(update={"strategy": "random"})
    state = open_state(in_memory_store(), section=section)
    finish(state, next_trial(state), 0.4)
    assert describe_progress(state).startswith("best so far 40.0% with 0.")


def test_attributes_of_a_trial_are_read_back_unchanged():
    trial_store = in_memory_store()
    trial = next_trial(open_state(trial_store))
    attributes = TrialAttributes.from_record(trial_store.record(0))
    assert attributes == trial.attributes
    assert attributes.key == f"key of {trial.spec.network_id}"
    assert attributes.flops == trial.spec.cost().flops
    with pytest.raises(ValueError, match="has not been measured"):
        attributes.get_cost("latency")


def test_epochs_of_a_failed_trial_count_as_spent():
    trial_store = in_memory_store()
    state = open_state(trial_store)
    state.fail(next_trial(state), "diverged", attempts=1)
    past = PastTrials(PROBLEM, drop_replaced(trial_store.records()))
    assert (past.num_actions, past.spent_epochs, past.finished_epochs) == (1, 1, 1)


class KillableStorage(InMemoryStorage):
    """Raises Interrupted in place of the write after `writes_before_kill` others."""

    def __init__(self):
        super().__init__()
        self.writes, self.writes_before_kill = 0, None

    def count(self):
        if self.writes == self.writes_before_kill:
            self.writes_before_kill = None
            raise Interrupted
        self.writes += 1

    def create_new_trial(self, *arguments, **options):
        self.count()
        return super().create_new_trial(*arguments, **options)

    def set_trial_user_attr(self, *arguments, **options):
        self.count()
        return super().set_trial_user_attr(*arguments, **options)

    def set_trial_state_values(self, *arguments, **options):
        self.count()
        return super().set_trial_state_values(*arguments, **options)

    def set_trial_intermediate_value(self, *arguments, **options):
        self.count()
        return super().set_trial_intermediate_value(*arguments, **options)


def test_a_search_that_resumes_trainings_may_be_interrupted_before_any_write():
    options = {"function": UNRELIABLE, "trials": 5}
    storage = KillableStorage()
    trial_store = TrialStore(optuna.create_study(direction="maximize", storage=storage))
    run_search("asha", trial_store, **options)
    expected, total = list_proposals(trial_store), storage.writes
    trials = completed_trials(drop_replaced(trial_store.records()))
    assert total > 150
    # Every fifth write covers each kind of write.
    for writes in range(0, total, 5):
        storage = KillableStorage()
        storage.writes_before_kill = writes
        trial_store = TrialStore(optuna.create_study(direction="maximize", storage=storage))
        with pytest.raises(Interrupted):
            run_search("asha", trial_store, **options)
        run_search("asha", trial_store, **options)
        assert list_proposals(trial_store) == expected, writes
        again = completed_trials(drop_replaced(trial_store.records()))
        assert [(trial.proposal, trial.reward) for trial in again] == [
            (trial.proposal, trial.reward) for trial in trials
        ]
        assert all(record.state.is_finished() for record in trial_store.records())
