"""Every pruner: what is stopped follows from the seed and the record, costs a trial of the budget
and is never a candidate.
"""

from contextlib import closing
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from phinas.experiment.errors import InputError
from phinas.experiment.executors import make_executor
from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.measurement import Measurement
from phinas.experiment.schema.config import Recipe, SearchSection, config_from_text
from phinas.experiment.trial_store import ORPHAN, Ledger, open_store
from phinas.nas.evaluators.function import FunctionEvaluator
from phinas.nas.pareto import pareto_front
from phinas.nas.pruning import PRUNERS, Pruning, require_reports
from phinas.nas.search import search
from phinas.nas.selection.baseline import choose_baseline
from phinas.space.search_spaces.loading import load_space

REAL = [name for name in PRUNERS if name != "none"]
TINY = load_space("tiny")
EPOCHS = 9

EVALUATORS = """
import os, signal, time
from pathlib import Path
from phinas.experiment.measurement import Measurement

def final(spec): return 0.2 + int(spec.spec_id, 16) % 1000 / 2000

def curved(spec, budget, seed, report):
    for epoch in range(1, budget + 1):
        accuracy = final(spec) * (1 - 0.5 ** epoch)
        if not report(epoch, accuracy): break
    return accuracy

def moody(spec, budget, seed, report):
    mood = int(spec.spec_id, 16) % 7
    for epoch in range(1, budget + 1):
        accuracy = final(spec) * (1 - 0.5 ** epoch)
        if mood == 0: raise RuntimeError("diverged")
        if not report(epoch, accuracy): break
    return float("nan") if mood == 1 else accuracy

def measured(spec, budget, seed, report):
    curve = []
    for epoch in range(1, budget + 1):
        curve.append(final(spec) * (1 - 0.5 ** epoch))
        if not report(epoch, curve[-1]): break
    return Measurement(curve[-1], epochs=len(curve), train_seconds=2.0 * len(curve), curve=tuple(curve))

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
    note = Path(__file__).with_name(spec.spec_id)
    for epoch in range(1, budget + 1):
        accuracy = final(spec) * (1 - 0.5 ** epoch)
        if epoch == 4 and not note.exists():
            note.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if not report(epoch, accuracy): break
    return accuracy

def mute(spec, budget, seed): return final(spec)
"""


@pytest.fixture
def evaluators(tmp_path, monkeypatch):
    name = f"curves_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(EVALUATORS)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


@pytest.fixture(params=REAL)
def pruner(request):
    return request.param


class Killed(Exception):
    """Stands for the kill of a driver."""


class KilledExecutor(InlineExecutor):
    """Ends its driver in the midst of a training: at report `reports`."""

    def __init__(self, reports):
        super().__init__(1)
        self._left = reports

    def submit(self, job, listener=None):
        def counted(step, value):
            self._left -= 1
            if self._left == 0:
                raise Killed
            return listener(step, value)

        super().submit(job, counted)

    def next_result(self):
        result = super().next_result()
        if self._left == 0:
            raise Killed  # what the listener raised is, inline, the job's failure
        return result


def in_memory():
    return Ledger(optuna.create_study(direction="maximize"))


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


def run(ledger, evaluator, pruner, *, seed=0, executor=None, told=None, **options):
    with closing(executor or InlineExecutor(1)) as used:
        return search(
            TINY,
            section_of(evaluator, pruner, **options),
            seed=seed,
            ledger=ledger,
            executor=used,
            evaluator=FunctionEvaluator(evaluator, 60.0),
            notify=lambda _done, _total, text: told.append(text) if told is not None else None,
        )


def story(ledger):
    """Proposal, network, state, curve and reward of every trial that counts."""
    rows = [row for row in ledger.rows() if row.attributes.get("reason") != ORPHAN]
    rows.sort(key=lambda row: row.attributes["proposal"])
    return [
        (row.attributes["proposal"], row.attributes["spec_id"], row.state, row.reports, row.value)
        for row in rows
    ]


def test_a_pruned_trial_is_recorded_with_its_curve_its_reason_and_what_it_cost(evaluators, pruner):
    ledger = in_memory()
    run(ledger, f"{evaluators}:measured", pruner)
    pruned = [row for row in ledger.rows() if row.pruned]
    assert len(pruned) > 5
    for row in pruned:
        epochs = row.measurement.epochs
        assert 1 <= epochs < EPOCHS
        assert row.attributes["reason"].startswith(
            f"pruned by {pruner} after {epochs} of {EPOCHS} epochs at "
        )
        assert row.measurement.train_seconds == 2.0 * epochs
        assert list(row.reports) == list(range(1, epochs + 1))
        assert list(row.measurement.curve) == list(row.reports.values())
        assert row.value is None
        assert row.attributes["attempts"] == 1


def test_pruned_trials_count_against_the_budget_and_are_no_candidates(evaluators, pruner):
    ledger, told = in_memory(), []
    result = run(ledger, f"{evaluators}:curved", pruner, told=told)
    rows = ledger.rows()
    pruned = {row.number for row in rows if row.pruned}
    assert len(rows) == 40
    assert len(result.trials) == 40 - len(pruned)
    assert pruned.isdisjoint(trial.number for trial in result.trials)
    assert pruned.isdisjoint(trial.number for trial in pareto_front(result.trials))
    assert sum(text.startswith(f"pruned by {pruner} after") for text in told) == len(pruned)
    with closing(InlineExecutor(1)) as executor:
        baseline = choose_baseline(
            result,
            section_of(
                f"{evaluators}:curved", pruner, finalists=40, finalist_seeds=1, reference="none"
            ),
            TINY,
            seed=0,
            ledger=in_memory(),
            executor=executor,
            evaluator=FunctionEvaluator(f"{evaluators}:curved", 60.0),
            notify=lambda *_: None,
        )
    assert pruned.isdisjoint(finalist.trial.number for finalist in baseline.finalists)
    assert len(baseline.accuracies) == len(result.trials)  # no finalist was stopped on its way


def test_what_is_pruned_was_behind_and_the_best_is_found_with_fewer_epochs(evaluators, pruner):
    whole, saved = in_memory(), in_memory()
    best = max(
        run(whole, f"{evaluators}:curved", "none", weight=0.0).trials,
        key=lambda trial: trial.reward,
    )
    assert {row.state for row in whole.rows()} == {TrialState.COMPLETE}
    found = max(
        run(saved, f"{evaluators}:curved", pruner, weight=0.0).trials,
        key=lambda trial: trial.reward,
    )
    assert found.spec == best.spec  # curves here never cross
    assert sum(row.measurement.epochs for row in saved.rows()) < 0.8 * sum(
        row.measurement.epochs for row in whole.rows()
    )


def test_no_trial_is_stopped_at_its_last_epoch(evaluators, pruner):
    ledger = in_memory()
    run(ledger, f"{evaluators}:curved", pruner)
    assert all(len(row.reports) < EPOCHS for row in ledger.rows() if row.pruned)
    assert all(len(row.reports) == EPOCHS for row in ledger.rows() if row.done)


def test_the_same_seed_prunes_the_same(evaluators, pruner):
    ledgers = [in_memory(), in_memory()]
    for ledger in ledgers:
        run(ledger, f"{evaluators}:moody", pruner, seed=3, strategy="tpe")
    assert story(ledgers[0]) == story(ledgers[1])


@pytest.mark.parametrize("strategy", ["tpe", "evolution"])
def test_a_search_killed_in_the_midst_of_trainings_prunes_what_an_unbroken_one_does(
    tmp_path, evaluators, pruner, strategy
):
    unbroken = in_memory()
    run(unbroken, f"{evaluators}:moody", pruner, trials=28, strategy=strategy)
    path = tmp_path / "study.db"
    for reports in (3, 25, 12):
        with (
            closing(open_store(path, url=None, new=not path.exists())) as store,
            pytest.raises(Killed),
        ):
            run(
                store.ledger("search"),
                f"{evaluators}:moody",
                pruner,
                trials=28,
                strategy=strategy,
                executor=KilledExecutor(reports),
            )
    with closing(open_store(path, url=None, new=False)) as store:
        ledger = store.ledger("search")
        run(ledger, f"{evaluators}:moody", pruner, trials=28, strategy=strategy)
        assert story(ledger) == story(unbroken)
        assert len(ledger.rows()) == 31  # three were begun twice
    states = [state for _, _, state, _, _ in story(unbroken)]
    assert {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL} == set(states)


def test_what_the_gate_refuses_changes_no_bracket(evaluators):
    """Hyperband draws brackets from trial numbers: refusals must not shift them."""
    ledger = in_memory()
    run(ledger, f"{evaluators}:curved", "hyperband", max_flops=4e5)
    assert sum(row.attributes["refused"] for row in ledger.rows()) > 5
    replayed = Pruning("hyperband", epochs=EPOCHS, seed=0)
    rows = sorted(ledger.rows(), key=lambda row: row.attributes["proposal"])
    for row in rows:
        replayed.begin(row.attributes["proposal"])
        stops = [
            replayed.stops(
                row.attributes["proposal"],
                step,
                accuracy * (row.attributes["flops"] / 1e6) ** -0.07,
            )
            for step, accuracy in row.reports.items()
        ]
        assert any(stops) is row.pruned
        replayed.end(row.attributes["proposal"], row.state)


@pytest.mark.parametrize("executor", ["processes", pytest.param("ray", marks=pytest.mark.slow)])
def test_trainings_of_several_workers_are_pruned(evaluators, executor):
    if executor == "ray":
        pytest.importorskip("ray", reason="the extra `ray` is not installed")
    ledger, trials = in_memory(), 9 if executor == "ray" else 40
    used = make_executor(executor, 2, retries=0, on=[])
    result = run(ledger, f"{evaluators}:curved", "halving", trials=trials, executor=used)
    rows = ledger.rows()
    assert len(rows) == trials
    assert len(result.trials) + sum(row.pruned for row in rows) == trials
    assert sum(row.pruned for row in rows) >= 2


def test_a_training_whose_process_died_on_its_way_is_pruned_as_if_it_had_not(evaluators):
    smooth, bumpy = in_memory(), in_memory()
    run(smooth, f"{evaluators}:curved", "halving", trials=12)
    dying = make_executor("processes", 1, retries=1, on=["died"])
    run(bumpy, f"{evaluators}:dies_once", "halving", trials=12, executor=dying)
    assert story(bumpy) == story(smooth)
    assert {row.attributes["attempts"] for row in bumpy.rows() if row.done} == {2}


@pytest.mark.parametrize("name", ["careless", "sparse"])
def test_a_function_may_return_anything_once_it_was_stopped_and_report_now_and_then(
    evaluators, name
):
    ledger = in_memory()
    run(ledger, f"{evaluators}:{name}", "halving")
    pruned = [row for row in ledger.rows() if row.pruned]
    assert len(pruned) > 5
    for row in pruned:
        assert row.measurement.epochs == max(row.reports)
        assert row.measurement.accuracy == row.reports[max(row.reports)]
        assert row.measurement.train_seconds > 0


def test_an_accuracy_in_percent_is_refused_where_it_is_reported(evaluators):
    ledger = in_memory()
    with pytest.raises(
        Exception, match=r"reported 93\.5 at step 1; report an accuracy from 0 to 1"
    ):
        run(ledger, f"{evaluators}:percent", "median", trials=3)


def test_without_a_pruner_nobody_listens(evaluators):
    class Watching(InlineExecutor):
        def submit(self, job, listener=None):
            assert listener is None
            super().submit(job, listener)

    ledger = in_memory()
    run(ledger, f"{evaluators}:curved", "none", trials=3, executor=Watching(1))
    assert [list(row.reports) for row in ledger.rows()] == [list(range(1, EPOCHS + 1))] * 3


def test_an_evaluator_that_reports_nothing_cannot_be_pruned(evaluators, pruner):
    ledger = in_memory()
    with pytest.raises(
        InputError,
        match=rf"^search\.pruner: {pruner} needs .* {evaluators}:mute reports nothing; give it a "
        r"par",
    ):
        run(ledger, f"{evaluators}:mute", pruner)
    assert ledger.rows() == []
    require_reports("none", "x:y", reports=False)
    assert len(run(ledger, f"{evaluators}:mute", "none", trials=2).trials) == 2


def test_two_objectives_cannot_be_pruned(pruner):
    section = SearchSection.model_construct(pruner=pruner, reward="pareto")
    with pytest.raises(
        ValueError,
        match=rf"^pruner: {pruner} compares one number, reward: pareto has two; set pruner: none",
    ):
        section._something_can_be_pruned()


def test_one_epoch_cannot_be_pruned(pruner):
    text = f"data: {{source: digits}}\nsearch: {{pruner: {pruner}, recipe: {{epochs: 1}}}}"
    with pytest.raises(
        InputError,
        match=rf"search\.pruner: {pruner} can't save any of the one epoch of search\.recipe\.epochs",
    ):
        config_from_text(text, where="c.yaml")


def test_proposals_out_of_order_are_a_bug(pruner):
    pruning = Pruning(pruner, epochs=EPOCHS, seed=0)
    with pytest.raises(RuntimeError, match="proposal 1 is out of order"):
        pruning.begin(1)


def test_a_kill_while_a_pruned_trial_is_recorded_loses_and_doubles_nothing(tmp_path: Path):
    measurement = Measurement(0.4, epochs=2, curve=(0.3, 0.4))

    def dying_after(count, storage):
        """A storage that ends its driver after so many attributes."""
        original, left = storage.set_trial_user_attr, [count]

        def write(*arguments):
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            original(*arguments)

        return write

    for count in range(3):
        ledger = in_memory()
        number = ledger.begin({}, {}, proposal=0, spec_id="a", key="k")
        storage = ledger._study._storage
        original, storage.set_trial_user_attr = (
            storage.set_trial_user_attr,
            dying_after(count, storage),
        )
        with pytest.raises(Killed):
            ledger.prune(number, "pruned by median", measurement, {1: 0.3, 2: 0.4}, attempts=1)
        storage.set_trial_user_attr = original
        (again,) = ledger.recover()
        ledger.prune(again.number, "pruned by median", measurement, {1: 0.3, 2: 0.4}, attempts=1)
        rows = [row for row in ledger.rows() if row.attributes["reason"] != ORPHAN]
        assert [(row.pruned, row.measurement, row.reports) for row in rows] == [
            (True, measurement, {1: 0.3, 2: 0.4})
        ]
    ledger = in_memory()
    number = ledger.begin({}, {}, proposal=0, spec_id="a", key="k")
    ledger._write(
        number, {1: 0.3}, {"measurement": measurement.to_dict(), "reason": "pruned by median"}
    )
    assert ledger.recover() == []
    assert [(row.pruned, row.value) for row in ledger.rows()] == [(True, None)]
