"""A job may tell its driver how far it is, and be told to stop: the same under every executor."""

import os
import signal
import time
from collections import Counter
from contextlib import closing

import pytest

from phinas.experiment.executors import EXECUTORS, Job, make_executor

JOBS = """
import os, signal, time
from pathlib import Path

def count(report, to=5):
    for step in range(1, to + 1):
        if not report(step, step / 10):
            return {"reached": step}
    return {"reached": to}
def ignores_stop(report): return {"answers": [report(step, 0.0) for step in range(1, 6)]}
def never_reports(report): return {"reached": 0}
def takes_no_callback(): return {"reached": 0}
def report_once(report, step, value): return {"answer": report(eval(step), eval(value))}
def reports_twice(report): return {"answers": [report(2, 0.0), report(2, 0.0)]}
def dies_once(report, note):
    path, answers = Path(note), []
    first = not path.exists()
    path.write_text("begun")
    for step in (1, 2, 3):
        answers.append(report(step, step / 10))
        if first and step == 2: os.kill(os.getpid(), signal.SIGKILL)
    return {"answers": answers}
def slow(report, path):
    end = time.monotonic() + 60
    step = 0
    while time.monotonic() < end and not Path(path).exists():
        step += 1
        report(step, 0.0)
        time.sleep(0.02)
    return {"reached": step}
def wait(path):
    end = time.monotonic() + 60
    while time.monotonic() < end and not Path(path).exists(): time.sleep(0.02)
    return {"found": Path(path).exists()}
def hang(): time.sleep(60)
"""


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("jobs")
    (folder / "reporting_jobs.py").write_text(JOBS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield "reporting_jobs"


# One for all tests, since starting a worker takes long; `jobs` comes first, so that its workers can
# import them.
@pytest.fixture(scope="module")
def executor(name, jobs):
    with closing(EXECUTORS[name](1)) as executor_instance:
        yield executor_instance


SURVIVORS = pytest.mark.parametrize(
    "name", ["processes", pytest.param("ray", marks=pytest.mark.slow)], indirect=True
)


class ReportCallback:
    """Records the reports and stops a job at a step."""

    def __init__(self, *, stop_at=99):
        self.reports, self.stop_at = [], stop_at

    def __call__(self, step, value):
        self.reports.append((step, value))
        return step < self.stop_at


def run(executor, function, callback, **payload):
    executor.submit(Job("key", function, payload), callback)
    return executor.next_result()


def test_reports_reach_the_driver_in_order_and_as_they_were(executor, jobs):
    callback = ReportCallback()
    assert run(executor, f"{jobs}:count", callback).value == {"reached": 5}
    assert callback.reports == [(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4), (5, 0.5)]


def test_a_job_that_is_told_to_stop_gives_what_it_has(executor, jobs):
    callback = ReportCallback(stop_at=3)
    assert run(executor, f"{jobs}:count", callback).value == {"reached": 3}
    assert [step for step, _ in callback.reports] == [1, 2, 3]


def test_a_job_that_does_not_stop_is_answered_no_and_its_driver_is_troubled_no_more(executor, jobs):
    callback = ReportCallback(stop_at=2)
    assert run(executor, f"{jobs}:ignores_stop", callback).value == {
        "answers": [True, False, False, False, False]
    }
    assert [step for step, _ in callback.reports] == [1, 2]


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("inline", "never_reports"),
        ("inline", "takes_no_callback"),
        ("processes", "never_reports"),
        ("processes", "takes_no_callback"),
        pytest.param("ray", "never_reports", marks=pytest.mark.slow),
    ],
    indirect=["name"],
)
def test_a_job_that_never_reports_is_as_it_would_be_without_a_listener(executor, jobs, function):
    callback = ReportCallback()
    assert run(executor, f"{jobs}:{function}", callback) == run(
        executor, f"{jobs}:{function}", None
    )
    assert callback.reports == []


def test_a_report_without_a_listener_is_answered_yes_where_the_job_runs(executor, jobs):
    start_time = time.monotonic()
    assert run(executor, f"{jobs}:count", None, to=200_000).value == {"reached": 200_000}
    assert time.monotonic() - start_time < 20  # a round trip each would take minutes


def test_the_next_job_of_a_slot_has_a_listener_of_its_own(executor, jobs):
    first, second = ReportCallback(), ReportCallback(stop_at=1)
    run(executor, f"{jobs}:count", first)
    assert run(executor, f"{jobs}:count", second).value == {"reached": 1}
    assert run(executor, f"{jobs}:count", None).value == {"reached": 5}
    assert (len(first.reports), len(second.reports)) == (5, 1)


@pytest.mark.parametrize("has_callback", [True, False])
@pytest.mark.parametrize(
    ("step", "value", "reason"),
    [
        ("1", "float('nan')", "reported nan at step 1; report a finite number"),
        ("1", "float('inf')", "reported inf at step 1; report a finite number"),
        ("1", "'0.5'", "reported '0.5' at step 1"),
        ("1", "None", "reported None at step 1"),
        ("1", "True", "reported True at step 1"),
        ("0", "0.5", "reported step 0 after step 0; steps are whole numbers that rise from 1"),
        ("1.0", "0.5", "reported step 1.0 after step 0"),
        ("True", "0.5", "reported step True after step 0"),
    ],
)
def test_a_report_that_is_no_number_fails_its_job_whether_anyone_listens_or_not(
    jobs, has_callback, step, value, reason
):
    callback = ReportCallback()
    with closing(EXECUTORS["inline"](1)) as executor:
        result = run(
            executor,
            f"{jobs}:report_once",
            callback if has_callback else None,
            step=step,
            value=value,
        )
    assert (result.value, result.failure) == (None, "invalid_result")
    assert result.reason.startswith(reason)
    assert callback.reports == []


def test_a_step_is_not_told_twice(executor, jobs):
    assert run(executor, f"{jobs}:reports_twice", ReportCallback()).reason.startswith(
        "reported step 2 after step 2"
    )


def test_numbers_of_numpy_are_numbers(executor, jobs):
    callback = ReportCallback()
    value = "__import__('numpy').float32(0.5)"
    assert run(
        executor, f"{jobs}:report_once", callback, step="__import__('numpy').int64(3)", value=value
    ).value == {"answer": True}
    assert callback.reports == [(3, 0.5)]


@SURVIVORS
def test_jobs_of_two_slots_are_each_answered_by_their_own_listener(name, jobs):
    with closing(EXECUTORS[name](2)) as executor:
        callbacks = {"a": ReportCallback(stop_at=2), "b": ReportCallback(stop_at=4)}
        for key, callback in callbacks.items():
            executor.submit(Job(key, f"{jobs}:count", {}), callback)
        results = [executor.next_result() for _ in callbacks]
    assert {result.key: result.value["reached"] for result in results} == {"a": 2, "b": 4}


@SURVIVORS
def test_a_job_that_dies_while_it_reports_is_begun_again_and_reports_again(name, jobs, tmp_path):
    callback = ReportCallback()
    with closing(make_executor(name, 1, max_retries=2, retry_on=["crash"])) as executor:
        result = run(executor, f"{jobs}:dies_once", callback, note=str(tmp_path / "note"))
    assert (result.value, result.attempts) == ({"answers": [True, True, True]}, 2)
    assert Counter(step for step, _ in callback.reports) == {1: 2, 2: 2, 3: 1}


def test_a_hanging_job_is_ended_at_its_limit_however_much_the_others_report(jobs, tmp_path):
    callback, path = ReportCallback(), tmp_path / "end"
    with closing(EXECUTORS["processes"](2)) as executor:
        for key in "01":  # the limit is not for the start of the workers
            executor.submit(Job(key, f"{jobs}:count", {}))
        assert {executor.next_result().key for _ in "01"} == {"0", "1"}
        executor.submit(Job("talks", f"{jobs}:slow", {"path": str(path)}), callback)
        executor.submit(Job("hangs", f"{jobs}:hang", {}, limit_seconds=1.5), ReportCallback())
        assert executor.next_result().key == "hangs"
        num_reports = len(callback.reports)
        path.touch()
        assert executor.next_result().key == "talks"
    assert num_reports > 0


def test_a_job_that_hangs_delays_no_other(jobs, tmp_path):
    path = tmp_path / "end"
    with closing(EXECUTORS["processes"](3)) as executor:
        executor.submit(Job("hangs", f"{jobs}:wait", {"path": str(path)}, 60), ReportCallback())
        for key in "01":
            executor.submit(Job(key, f"{jobs}:count", {}), ReportCallback())
        results = [executor.next_result().key for _ in "01"]
        for key in "2345":
            executor.submit(Job(key, f"{jobs}:count", {}), ReportCallback())
            results.append(executor.next_result().key)
        assert sorted(results) == list("012345")
        path.touch()
        result = executor.next_result()
        assert (result.key, result.value) == ("hangs", {"found": True})


def test_what_a_hanging_job_left_running_elsewhere_delays_nothing(tmp_path, monkeypatch):
    """A grandchild in a session of its own outlives the kill, with the worker's pipe still open."""
    name = f"leaving_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(
        "import os, time\nfrom pathlib import Path\n"
        "def leave(note):\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        Path(note).write_text(str(os.getpid()))\n"
        "    time.sleep(60)\n"
        "def start(): return {}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    note = tmp_path / "note"
    with closing(EXECUTORS["processes"](1)) as executor:
        run(executor, f"{name}:start", None)  # the limit is not for the start of the worker
        start_time = time.monotonic()
        executor.submit(Job("key", f"{name}:leave", {"note": str(note)}, limit_seconds=2))
        assert executor.next_result().failure == "timeout"
    assert time.monotonic() - start_time < 20  # what is left running takes a minute
    os.kill(int(note.read_text()), signal.SIGKILL)
