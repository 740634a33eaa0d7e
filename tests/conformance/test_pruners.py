"""Every pruner: which trainings it stops depends on the seed and the record only. A pruned trial
counts against the budget and is never a finalist.
"""

from contextlib import closing, contextmanager

import optuna
import pytest
from optuna.trial import TrialState

from phinas.experiment.errors import InputError
from phinas.experiment.executors import make_executor
from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.measurement import Measurement
from phinas.experiment.schema.config import Recipe, SearchSection, config_from_text
from phinas.experiment.storage.study_storage import open_storage
from phinas.experiment.storage.trial_record import drop_replaced
from phinas.experiment.storage.trial_store import TrialStore
from phinas.nas.evaluators.function import FunctionEvaluator
from phinas.nas.pareto import pareto_front
from phinas.nas.pruning import PRUNERS, require_pruner, require_reports
from phinas.nas.search import search
from phinas.nas.search_state.pruner import TrialPruner
from phinas.nas.selection.baseline import EvaluationContext, select_baseline
from phinas.nas.trial import TrialAttributes
from phinas.space.search_spaces.loading import load_space

ACTIVE_PRUNERS = [name for name in PRUNERS if name != "none"]
TINY = load_space("tiny")
EPOCHS = 9

EVALUATORS = """
import os, signal, time
from pathlib import Path
from phinas.experiment.measurement import Measurement

def final(spec): return 0.2 + int(spec.network_id, 16) % 1000 / 2000

def curved(spec, budget, seed, report):
    for epoch in range(1, budget + 1):
        accuracy = final(spec) * (1 - 0.5 ** epoch)
        if not report(epoch, accuracy): break
    return accuracy

def unreliable(spec, budget, seed, report):
    behavior = int(spec.network_id, 16) % 7
    for epoch in range(1, budget + 1):
        accuracy = final(spec) * (1 - 0.5 ** epoch)
        if behavior == 0: raise RuntimeError("diverged")
        if not report(epoch, accuracy): break
    return float("nan") if behavior == 1 else accuracy

def measured(spec, budget, seed, report):
    curve = []
    for epoch in range(1, budget + 1):
        curve.append(final(spec) * (1 - 0.5 ** epoch))
        if not report(epoch, curve[-1]): break
    return Measurement(curve[-1], epochs=len(curve), train_seconds=2.0 * len(curve),
                       curve=tuple(curve))

def careless(spec, budget, seed, report):
    for epoch in range(1, budget + 1):
        if not report(epoch, final(spec) * (1 - 0.5 ** epoch)): return None
    return final(spec)

def sparse(spec, budget, seed, report):
    for epoch in (3, 6, 9):
        if not report(epoch, final(spec) * (1 - 0.5 ** epoch)): break
    return final(spec) * (1 - 0.5 ** epoch)

def percent(spec, budget, seed, report):
    report(1, 93.5)
    return 0.935

def dies_once(spec, budget, seed, report):
    marker = Path(__file__).with_name(spec.network_id)
    for epoch in range(1, budget + 1):
        accuracy = final(spec) * (1 - 0.5 ** epoch)
        if epoch == 4 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if not report(epoch, accuracy): break
    return accuracy

def silent(spec, budget, seed): return final(spec)
"""


@pytest.fixture
def evaluators(tmp_path, monkeypatch):
    name = f"curves_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(EVALUATORS)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


@pytest.fixture(params=ACTIVE_PRUNERS)
def pruner(request):
    return request.param


class Killed(Exception):
    """Simulates that the driver is killed."""


class KilledExecutor(InlineExecutor):
    """Raises Killed during a training, at report number `reports`."""

    def __init__(self, reports):
        super().__init__(1)
        self._reports_left = reports

    def submit(self, job, on_report=None):
        def counting_listener(step, value):
            self._reports_left -= 1
            if self._reports_left == 0:
                raise Killed
            return on_report(step, value)

        super().submit(job, counting_listener)

    def next_result(self):
        result = super().next_result()
        if self._reports_left == 0:
            raise Killed  # the exception of `on_report` has become the failure of the job
        return result


def in_memory_store():
    return TrialStore(optuna.create_study(direction="maximize"))


def section_of(evaluator, pruner, *, trials=40, strategy="random", epochs=EPOCHS, **options):
    recipe = Recipe(epochs=epochs)
    return SearchSection(
        pruner=pruner,
        trials=trials,
        strategy=strategy,
        evaluator=evaluator,
        recipe=recipe,
        **options,
    )


def run(trial_store, evaluator, pruner, *, seed=0, executor=None, messages=None, **options):
    with closing(executor or InlineExecutor(1)) as active_executor:
        return search(
            TINY,
            section_of(evaluator, pruner, **options),
            seed=seed,
            trial_store=trial_store,
            executor=active_executor,
            evaluator=FunctionEvaluator(evaluator, 60.0),
            on_progress=lambda _done, _total, text: (
                messages.append(text) if messages is not None else None
            ),
        )


def trial_history(trial_store):
    """Proposal, network, state, curve and reward of every trial that was not replaced."""
    rows = [(TrialAttributes.from_record(row), row) for row in drop_replaced(trial_store.records())]
    rows.sort(key=lambda item: item[0].proposal)
    return [
        (attributes.proposal, attributes.network_id, row.state, row.intermediate_values, row.value)
        for attributes, row in rows
    ]


def test_a_pruned_trial_is_recorded_with_its_curve_reason_and_time(evaluators, pruner):
    trial_store = in_memory_store()
    run(trial_store, f"{evaluators}:measured", pruner)
    pruned = [row for row in trial_store.records() if row.is_pruned]
    assert len(pruned) > 5
    for row in pruned:
        epochs = row.measurement.epochs
        assert 1 <= epochs < EPOCHS
        assert row.reason.startswith(f"pruned by {pruner} after {epochs} of {EPOCHS} epochs at ")
        assert row.measurement.train_seconds == 2.0 * epochs
        assert list(row.intermediate_values) == list(range(1, epochs + 1))
        assert list(row.measurement.curve) == list(row.intermediate_values.values())
        assert row.value is None
        assert row.attempts == 1


def test_pruned_trials_count_against_the_budget_and_are_not_finalists(evaluators, pruner):
    trial_store, messages = in_memory_store(), []
    result = run(trial_store, f"{evaluators}:curved", pruner, messages=messages)
    rows = trial_store.records()
    pruned = {row.number for row in rows if row.is_pruned}
    assert len(rows) == 40
    assert len(result.trials) == 40 - len(pruned)
    assert pruned.isdisjoint(trial.number for trial in result.trials)
    assert pruned.isdisjoint(trial.number for trial in pareto_front(result.trials))
    assert sum(text.startswith(f"pruned by {pruner} after") for text in messages) == len(pruned)
    with closing(InlineExecutor(1)) as executor:
        baseline = select_baseline(
            result,
            section_of(
                f"{evaluators}:curved", pruner, finalists=40, finalist_seeds=1, reference="none"
            ),
            TINY,
            seed=0,
            context=EvaluationContext(
                in_memory_store(), executor, FunctionEvaluator(f"{evaluators}:curved", 60.0)
            ),
            on_progress=lambda *_: None,
        )
    assert pruned.isdisjoint(finalist.trial.number for finalist in baseline.finalists)
    assert len(baseline.scores) == len(result.trials)  # no finalist was stopped early


def test_the_best_network_is_found_with_fewer_epochs(evaluators, pruner):
    unpruned_store, pruned_store = in_memory_store(), in_memory_store()
    best = max(
        run(unpruned_store, f"{evaluators}:curved", "none", reward_exponent=0.0).trials,
        key=lambda trial: trial.reward,
    )
    assert {row.state for row in unpruned_store.records()} == {TrialState.COMPLETE}
    pruned_best = max(
        run(pruned_store, f"{evaluators}:curved", pruner, reward_exponent=0.0).trials,
        key=lambda trial: trial.reward,
    )
    assert pruned_best.spec == best.spec  # these learning curves do not cross
    assert sum(row.measurement.epochs for row in pruned_store.records()) < 0.8 * sum(
        row.measurement.epochs for row in unpruned_store.records()
    )


def test_no_trial_is_stopped_at_its_last_epoch(evaluators, pruner):
    trial_store = in_memory_store()
    run(trial_store, f"{evaluators}:curved", pruner)
    assert all(
        len(row.intermediate_values) < EPOCHS for row in trial_store.records() if row.is_pruned
    )
    assert all(
        len(row.intermediate_values) == EPOCHS for row in trial_store.records() if row.is_complete
    )


def test_two_searches_with_the_same_seed_prune_the_same_trials(evaluators, pruner):
    trial_stores = [in_memory_store(), in_memory_store()]
    for trial_store in trial_stores:
        run(trial_store, f"{evaluators}:unreliable", pruner, seed=3, strategy="tpe")
    assert trial_history(trial_stores[0]) == trial_history(trial_stores[1])


@pytest.mark.parametrize(
    ("pruner", "strategy", "on_disk"),
    [
        ("median", "tpe", False),
        ("halving", "evolution", True),
        ("hyperband", "tpe", False),
        ("hyperband", "evolution", False),
    ],
)
def test_a_search_interrupted_during_trainings_prunes_what_an_uninterrupted_one_does(
    tmp_path, evaluators, pruner, strategy, on_disk
):
    uninterrupted = in_memory_store()
    run(uninterrupted, f"{evaluators}:unreliable", pruner, trials=28, strategy=strategy)
    path, study = tmp_path / "study.db", optuna.create_study(direction="maximize")

    @contextmanager
    def open_trial_store():
        if not on_disk:  # faster: writing to disk takes most of the time
            yield TrialStore(study)
            return
        with closing(open_storage(path, url=None, new=not path.exists())) as storage:
            yield storage.open_study("search")

    for reports in (3, 25, 12):
        with open_trial_store() as trial_store, pytest.raises(Killed):
            run(
                trial_store,
                f"{evaluators}:unreliable",
                pruner,
                trials=28,
                strategy=strategy,
                executor=KilledExecutor(reports),
            )
    with open_trial_store() as trial_store:
        run(trial_store, f"{evaluators}:unreliable", pruner, trials=28, strategy=strategy)
        assert trial_history(trial_store) == trial_history(uninterrupted)
        assert len(trial_store.records()) == 31  # three were begun twice
    states = [state for _, _, state, _, _ in trial_history(uninterrupted)]
    assert {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL} == set(states)


def test_rejected_proposals_do_not_change_the_brackets_of_hyperband(evaluators):
    """Hyperband derives a bracket from the number of a trial, which rejections must not shift."""
    trial_store = in_memory_store()
    run(trial_store, f"{evaluators}:curved", "hyperband", max_flops=4e5)
    rows = [(TrialAttributes.from_record(row), row) for row in trial_store.records()]
    rows.sort(key=lambda item: item[0].proposal)
    assert sum(attributes.num_rejected for attributes, _ in rows) > 5
    replayed_pruner = TrialPruner("hyperband", epochs=EPOCHS, seed=0)
    for attributes, row in rows:
        replayed_pruner.add_trial(attributes.proposal)
        stops = [
            replayed_pruner.should_prune(
                attributes.proposal, step, score * (attributes.flops / 1e6) ** -0.07
            )
            for step, score in row.intermediate_values.items()
        ]
        assert any(stops) is row.is_pruned
        replayed_pruner.finish_trial(attributes.proposal, row.state)


@pytest.mark.parametrize("executor", ["processes", pytest.param("ray", marks=pytest.mark.slow)])
def test_trainings_of_several_workers_are_pruned(request, evaluators, executor):
    if executor == "ray":
        request.getfixturevalue("ray_on_two_cores")
    trial_store, trials = in_memory_store(), 5 if executor == "ray" else 40
    active_executor = make_executor(executor, 2, max_retries=0, retry_on=[])
    result = run(
        trial_store, f"{evaluators}:curved", "halving", trials=trials, executor=active_executor
    )
    rows = trial_store.records()
    assert len(rows) == trials
    assert len(result.trials) + sum(row.is_pruned for row in rows) == trials
    assert sum(row.is_pruned for row in rows) >= 2


def test_a_training_that_is_retried_after_a_crash_is_pruned_like_any_other(evaluators):
    expected_store, retried_store = in_memory_store(), in_memory_store()
    run(expected_store, f"{evaluators}:curved", "halving", trials=4)
    executor = make_executor("processes", 1, max_retries=1, retry_on=["crash"])
    run(retried_store, f"{evaluators}:dies_once", "halving", trials=4, executor=executor)
    assert trial_history(retried_store) == trial_history(expected_store)
    rows = retried_store.records()
    assert {row.is_pruned for row in rows} == {True, False}
    assert {row.attempts for row in rows if row.is_complete} == {2}


@pytest.mark.parametrize("name", ["careless", "sparse"])
def test_a_stopped_function_may_return_anything_and_report_at_some_epochs(evaluators, name):
    trial_store = in_memory_store()
    run(trial_store, f"{evaluators}:{name}", "halving")
    pruned = [row for row in trial_store.records() if row.is_pruned]
    assert len(pruned) > 5
    for row in pruned:
        assert row.measurement.epochs == max(row.intermediate_values)
        assert row.measurement.score == row.intermediate_values[max(row.intermediate_values)]
        assert row.measurement.train_seconds > 0


def test_a_score_in_percent_is_refused_when_it_is_reported(evaluators):
    trial_store = in_memory_store()
    with pytest.raises(Exception, match=r"reported 93\.5 at step 1; report a score from 0 to 1"):
        run(trial_store, f"{evaluators}:percent", "median", trials=3)


def test_without_a_pruner_reports_are_ignored(evaluators):
    class CheckingExecutor(InlineExecutor):
        def submit(self, job, on_report=None):
            assert on_report is None
            super().submit(job, on_report)

    trial_store = in_memory_store()
    run(trial_store, f"{evaluators}:curved", "none", trials=3, executor=CheckingExecutor(1))
    assert [list(row.intermediate_values) for row in trial_store.records()] == [
        list(range(1, EPOCHS + 1))
    ] * 3


def test_an_evaluator_that_reports_nothing_cannot_be_pruned(evaluators, pruner):
    trial_store = in_memory_store()
    with pytest.raises(
        InputError,
        match=rf"^search\.pruner: {pruner} needs .* {evaluators}:silent reports none; give the "
        r"function a parameter",
    ):
        run(trial_store, f"{evaluators}:silent", pruner)
    assert trial_store.records() == []
    require_reports("none", "x:y", reports_progress=False)
    assert len(run(trial_store, f"{evaluators}:silent", "none", trials=2).trials) == 2


def test_two_objectives_cannot_be_pruned(pruner):
    section = SearchSection.model_construct(pruner=pruner, reward="pareto")
    with pytest.raises(
        ValueError,
        match=rf"^{pruner} compares one number, and search\.reward: pareto has two; "
        r"set search\.pruner: none",
    ):
        section._check_pruner()


def test_one_epoch_cannot_be_pruned(pruner):
    text = f"data: {{source: digits}}\nsearch: {{pruner: {pruner}, recipe: {{epochs: 1}}}}"
    with pytest.raises(
        InputError,
        match=rf"search\.pruner: {pruner} cannot shorten a training of one epoch",
    ):
        config_from_text(text, source="c.yaml")


def test_adding_proposals_out_of_order_is_an_error(pruner):
    trial_pruner = TrialPruner(pruner, epochs=EPOCHS, seed=0)
    with pytest.raises(RuntimeError, match="proposal 1 is out of order"):
        trial_pruner.add_trial(1)


def test_an_interruption_while_a_pruned_trial_is_recorded_neither_loses_nor_duplicates_it():
    measurement = Measurement(0.4, epochs=2, curve=(0.3, 0.4))

    def killing_write(count, storage):
        """A method that raises Killed in place of the write after `count` attributes."""
        original, remaining_writes = storage.set_trial_user_attr, [count]

        def write(*arguments):
            if remaining_writes[0] == 0:
                raise Killed
            remaining_writes[0] -= 1
            original(*arguments)

        return write

    for count in range(3):
        trial_store = in_memory_store()
        number = trial_store.begin({}, {}, proposal=0, network_id="a", key="k")
        storage = trial_store._study.study._storage
        original, storage.set_trial_user_attr = (
            storage.set_trial_user_attr,
            killing_write(count, storage),
        )
        with pytest.raises(Killed):
            trial_store.prune(number, "pruned by median", measurement, {1: 0.3, 2: 0.4}, attempts=1)
        storage.set_trial_user_attr = original
        (restarted,) = trial_store.recover()
        trial_store.prune(
            restarted.number, "pruned by median", measurement, {1: 0.3, 2: 0.4}, attempts=1
        )
        rows = drop_replaced(trial_store.records())
        assert [(row.is_pruned, row.measurement, row.intermediate_values) for row in rows] == [
            (True, measurement, {1: 0.3, 2: 0.4})
        ]
    trial_store = in_memory_store()
    number = trial_store.begin({}, {}, proposal=0, network_id="a", key="k")
    trial_store._study.write(
        number, {"measurement": measurement.to_dict(), "reason": "pruned by median"}, {1: 0.3}
    )
    assert trial_store.recover() == []
    assert [(row.is_pruned, row.value) for row in trial_store.records()] == [(True, None)]


def test_an_unknown_pruner_is_an_error_that_names_those_that_exist():
    with pytest.raises(InputError, match=r"^search\.pruner: 'halvin' is not .*, halving, "):
        require_pruner("halvin")


@pytest.mark.parametrize("name", ACTIVE_PRUNERS)
def test_every_pruner_of_the_table_can_be_made(name):
    assert not TrialPruner(name, epochs=4, seed=0)._study.trials()
