"""A list of jobs: each is run once, recorded results are used again, and interrupted jobs are run
again.
"""

from collections import Counter
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from phinas.experiment.errors import DiskError
from phinas.experiment.executors import EXECUTORS, Job, Result
from phinas.experiment.job_list import Outcome, Task, job_key, record_result, run_jobs
from phinas.experiment.measurement import Measurement
from phinas.experiment.storage.study_storage import open_storage

JOBS = """
from pathlib import Path

def train(folder, name, score):
    with open(Path(folder) / "runs.txt", "a") as file: file.write(name + "\\n")
    if score is None: raise RuntimeError("diverged")
    return {"score": score, "images": 10}
"""


@pytest.fixture
def task(tmp_path, monkeypatch):
    module = f"jobs_{tmp_path.name}"
    (tmp_path / f"{module}.py").write_text(JOBS)
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(name, score):
        function, payload = (
            f"{module}:train",
            {"folder": str(tmp_path), "name": name, "score": score},
        )
        return Task(Job(job_key(function, payload), function, payload), {"name": name})

    return make


@contextmanager
def open_trial_store(tmp_path):
    path = tmp_path / "study.db"
    with closing(open_storage(path, url=None, new=not path.exists())) as storage:
        yield storage.open_study("finalists")


def run_all(tmp_path, tasks, *, executor="inline", max_workers=1):
    progress = []
    with (
        open_trial_store(tmp_path) as trial_store,
        closing(EXECUTORS[executor](max_workers)) as executor_instance,
    ):
        outcomes = run_jobs(
            tasks,
            trial_store,
            executor_instance,
            on_progress=lambda done, total, task, outcome: progress.append(
                (done, total, task.user_attrs["name"])
            ),
        )
        return outcomes, progress, trial_store.records()


def runs(tmp_path: Path) -> Counter[str]:
    path = tmp_path / "runs.txt"
    return Counter(path.read_text().split()) if path.exists() else Counter()


@pytest.mark.parametrize(("executor", "max_workers"), [("inline", 1), ("processes", 2)])
def test_every_task_is_run_once_and_recorded(tmp_path, task, executor, max_workers):
    tasks = [task(name, score) for name, score in (("a", 0.1), ("b", 0.2), ("c", 0.3))]
    outcomes, progress, rows = run_all(tmp_path, tasks, executor=executor, max_workers=max_workers)
    assert runs(tmp_path) == {"a": 1, "b": 1, "c": 1}
    assert [outcomes[listed.job.key] for listed in tasks] == [
        Outcome(Measurement(value, images=10)) for value in (0.1, 0.2, 0.3)
    ]
    assert [(done, total) for done, total, _ in progress] == [(1, 3), (2, 3), (3, 3)]
    assert {row.user_attrs["name"]: row.value for row in rows} == {"a": 0.1, "b": 0.2, "c": 0.3}


def test_a_second_run_returns_the_recorded_outcomes_and_runs_nothing(tmp_path, task):
    tasks = [task("a", 0.1), task("b", None)]
    first, _, rows = run_all(tmp_path, tasks)
    second, progress, rows_again = run_all(tmp_path, tasks)
    assert second == first
    assert rows_again == rows
    assert runs(tmp_path) == {"a": 1, "b": 1}
    assert progress == [(1, 2, "a"), (2, 2, "b")]


def test_a_failed_task_keeps_its_reason_and_is_not_run_again(tmp_path, task):
    for _ in range(2):
        outcomes, _, _ = run_all(tmp_path, [task("a", None)])
        assert list(outcomes.values()) == [Outcome(None, "RuntimeError: diverged")]
    assert runs(tmp_path) == {"a": 1}


def test_a_longer_list_runs_only_its_new_tasks(tmp_path, task):
    run_all(tmp_path, [task("a", 0.1)])
    run_all(tmp_path, [task("b", 0.2), task("a", 0.1)])
    assert runs(tmp_path) == {"a": 1, "b": 1}


def test_a_changed_payload_is_another_task(tmp_path, task):
    run_all(tmp_path, [task("a", 0.1)])
    outcomes, _, rows = run_all(tmp_path, [task("a", 0.2)])
    assert [outcome.measurement.score for outcome in outcomes.values()] == [0.2]
    assert len(rows) == 2


def test_an_interrupted_task_is_run_again_under_its_key(tmp_path, task):
    interrupted, other = task("a", 0.1), task("b", 0.2)
    with open_trial_store(tmp_path) as trial_store:
        trial_store.begin({}, {}, key=interrupted.job.key, **interrupted.user_attrs)
    outcomes, _, rows = run_all(tmp_path, [interrupted, other])
    assert {key: outcome.measurement.score for key, outcome in outcomes.items()} == {
        interrupted.job.key: 0.1,
        other.job.key: 0.2,
    }
    assert [(row.user_attrs["name"], row.is_complete) for row in rows] == [
        ("a", False),
        ("a", True),
        ("b", True),
    ]
    assert runs(tmp_path) == {"a": 1, "b": 1}
    run_all(tmp_path, [interrupted, other])
    assert runs(tmp_path) == {"a": 1, "b": 1}


def test_tasks_with_the_same_key_are_run_once(tmp_path, task):
    outcomes, progress, rows = run_all(
        tmp_path, [task("a", 0.1), task("a", 0.1)], executor="processes", max_workers=2
    )
    assert runs(tmp_path) == {"a": 1}
    assert len(outcomes) == len(rows) == 1
    assert progress == [(1, 1, "a")]


def test_an_empty_list_does_nothing(tmp_path):
    assert run_all(tmp_path, []) == ({}, [], [])


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({}, "missing 1 required"),
        ({"score": 1.5}, "score: 1.5 is not a fraction"),
        ({"score": "0.5"}, "score: '0.5' is not a finite number"),
        ({"score": None}, "score: None is not a finite number"),
        ({"score": True}, "score: True is not a finite number"),
        ({"score": 0.5, "curve": ["x"]}, "curve: 'x' is not a finite number"),
        ({"score": 0.5, "curve": 3}, "not iterable"),
        ({"score": 0.5, "images": "many"}, "images: 'many' is not a finite number"),
    ],
)
def test_a_value_that_is_not_a_measurement_is_a_failure_with_the_reason(tmp_path, value, reason):
    with open_trial_store(tmp_path) as trial_store:
        outcome = record_result(trial_store, trial_store.begin({}, {}), Result("key", value))
        (row,) = trial_store.records()
    assert outcome.measurement is None
    assert outcome.reason.startswith("the evaluator gave no measurement: ")
    assert reason in outcome.reason
    assert (row.is_complete, row.reason) == (False, outcome.reason)


def test_a_key_depends_on_function_and_payload_but_not_on_the_order_of_the_payload():
    assert job_key("m:f", {"a": 1, "b": 2}) == job_key("m:f", {"b": 2, "a": 1})
    keys = {
        job_key("m:f", {"a": 1}),
        job_key("m:g", {"a": 1}),
        job_key("m:f", {"a": 2}),
        job_key("m:f", {"a": "1"}),
    }
    assert len(keys) == 4


def test_a_full_disk_in_a_worker_fails_no_trial(tmp_path):
    with closing(open_storage(tmp_path / "study.db", url=None, new=True)) as storage:
        trial_store = storage.open_study("search")
        number = trial_store.begin({}, {}, key="a")
        with pytest.raises(DiskError, match="free space"):
            record_result(
                trial_store,
                number,
                Result("a", None, "OSError: No space left on device", failure="disk_error"),
            )
        assert not trial_store.records()[number].state.is_finished()
