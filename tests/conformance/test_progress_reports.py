"""Jobs report their progress and can be stopped early, under every executor."""

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
def ignore_stop(report): return {"answers": [report(step, 0.0) for step in range(1, 6)]}
def report_nothing(report): return {"reached": 0}
def take_no_callback(): return {"reached": 0}
def report_once(report, step, value): return {"answer": report(eval(step), eval(value))}
def report_twice(report): return {"answers": [report(2, 0.0), report(2, 0.0)]}
def die_once(report, note):
    path, answers = Path(note), []
    first = not path.exists()
    path.write_text("started")
    for step in (1, 2, 3):
        answers.append(report(step, step / 10))
        if first and step == 2: os.kill(os.getpid(), signal.SIGKILL)
    return {"answers": answers}
def report_until_file_exists(report, path):
    end = time.monotonic() + 60
    step = 0
    while time.monotonic() < end and not Path(path).exists():
        step += 1
        report(step, 0.0)
        time.sleep(0.02)
    return {"reached": step}
def wait_for_file(path):
    end = time.monotonic() + 60
    while time.monotonic() < end and not Path(path).exists(): time.sleep(0.02)
    return {"exists": Path(path).exists()}
def hang(): time.sleep(60)
"""


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("jobs")
    (folder / "reporting_jobs.py").write_text(JOBS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield "reporting_jobs"


# One executor for all tests, because a worker starts slowly. It depends on `jobs`, so that the
# folder of the jobs is on the path before a worker starts.
@pytest.fixture(scope="module")
def executor(name, jobs):
    with closing(EXECUTORS[name](1)) as executor_instance:
        yield executor_instance


PROCESS_EXECUTORS = pytest.mark.parametrize(
    "name", ["processes", pytest.param("ray", marks=pytest.mark.slow)], indirect=True
)


class RecordingCallback:
    """Records the reports and returns False from step `stop_at` on."""

    def __init__(self, *, stop_at=99):
        self.reports, self.stop_at = [], stop_at

    def __call__(self, step, value):
        self.reports.append((step, value))
        return step < self.stop_at


def run(executor, function, callback, **payload):
    executor.submit(Job("key", function, payload), callback)
    return executor.next_result()


def test_reports_reach_the_driver_unchanged_and_in_order(executor, jobs):
    callback = RecordingCallback()
    assert run(executor, f"{jobs}:count", callback).value == {"reached": 5}
    assert callback.reports == [(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4), (5, 0.5)]


def test_job_returns_its_result_early_when_a_report_returns_false(executor, jobs):
    callback = RecordingCallback(stop_at=3)
    assert run(executor, f"{jobs}:count", callback).value == {"reached": 3}
    assert [step for step, _ in callback.reports] == [1, 2, 3]


def test_report_stays_false_without_asking_the_driver_again(executor, jobs):
    callback = RecordingCallback(stop_at=2)
    assert run(executor, f"{jobs}:ignore_stop", callback).value == {
        "answers": [True, False, False, False, False]
    }
    assert [step for step, _ in callback.reports] == [1, 2]


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("inline", "report_nothing"),
        ("inline", "take_no_callback"),
        ("processes", "report_nothing"),
        ("processes", "take_no_callback"),
        pytest.param("ray", "report_nothing", marks=pytest.mark.slow),
    ],
    indirect=["name"],
)
def test_job_that_never_reports_has_the_same_result_with_and_without_callback(
    executor, jobs, function
):
    callback = RecordingCallback()
    assert run(executor, f"{jobs}:{function}", callback) == run(
        executor, f"{jobs}:{function}", None
    )
    assert callback.reports == []


def test_report_without_callback_returns_true_without_a_round_trip(executor, jobs):
    start_time = time.monotonic()
    assert run(executor, f"{jobs}:count", None, to=200_000).value == {"reached": 200_000}
    # With a round trip for each report it would take minutes.
    assert time.monotonic() - start_time < 20


def test_next_job_of_a_worker_uses_its_own_callback(executor, jobs):
    first, second = RecordingCallback(), RecordingCallback(stop_at=1)
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
        ("0", "0.5", "reported step 0 after step 0; steps must be increasing integers from 1"),
        ("1.0", "0.5", "reported step 1.0 after step 0"),
        ("True", "0.5", "reported step True after step 0"),
    ],
)
def test_invalid_report_fails_the_job_with_and_without_callback(
    jobs, has_callback, step, value, reason
):
    callback = RecordingCallback()
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


def test_reporting_a_step_twice_fails_the_job(executor, jobs):
    assert run(executor, f"{jobs}:report_twice", RecordingCallback()).reason.startswith(
        "reported step 2 after step 2"
    )


def test_report_accepts_numpy_numbers(executor, jobs):
    callback = RecordingCallback()
    value = "__import__('numpy').float32(0.5)"
    assert run(
        executor, f"{jobs}:report_once", callback, step="__import__('numpy').int64(3)", value=value
    ).value == {"answer": True}
    assert callback.reports == [(3, 0.5)]


@PROCESS_EXECUTORS
def test_jobs_of_two_workers_use_their_own_callbacks(name, jobs):
    with closing(EXECUTORS[name](2)) as executor:
        callbacks = {"a": RecordingCallback(stop_at=2), "b": RecordingCallback(stop_at=4)}
        for key, callback in callbacks.items():
            executor.submit(Job(key, f"{jobs}:count", {}), callback)
        results = [executor.next_result() for _ in callbacks]
    assert {result.key: result.value["reached"] for result in results} == {"a": 2, "b": 4}


@PROCESS_EXECUTORS
def test_job_that_dies_between_reports_is_retried_and_reports_again(name, jobs, tmp_path):
    callback = RecordingCallback()
    with closing(make_executor(name, 1, max_retries=2, retry_on=["crash"])) as executor:
        result = run(executor, f"{jobs}:die_once", callback, note=str(tmp_path / "note"))
    assert (result.value, result.attempts) == ({"answers": [True, True, True]}, 2)
    assert Counter(step for step, _ in callback.reports) == {1: 2, 2: 2, 3: 1}


def test_hanging_job_is_killed_at_the_time_limit_while_another_job_reports(jobs, tmp_path):
    callback, path = RecordingCallback(), tmp_path / "end"
    with closing(EXECUTORS["processes"](2)) as executor:
        for key in "01":  # start the workers before the time limit applies
            executor.submit(Job(key, f"{jobs}:count", {}))
        assert {executor.next_result().key for _ in "01"} == {"0", "1"}
        executor.submit(
            Job("reports", f"{jobs}:report_until_file_exists", {"path": str(path)}), callback
        )
        executor.submit(Job("hangs", f"{jobs}:hang", {}, limit_seconds=1.5), RecordingCallback())
        assert executor.next_result().key == "hangs"
        num_reports = len(callback.reports)
        path.touch()
        assert executor.next_result().key == "reports"
    assert num_reports > 0


def test_hanging_job_does_not_delay_other_jobs(jobs, tmp_path):
    path = tmp_path / "end"
    with closing(EXECUTORS["processes"](3)) as executor:
        executor.submit(
            Job("hangs", f"{jobs}:wait_for_file", {"path": str(path)}, 60), RecordingCallback()
        )
        for key in "01":
            executor.submit(Job(key, f"{jobs}:count", {}), RecordingCallback())
        results = [executor.next_result().key for _ in "01"]
        for key in "2345":
            executor.submit(Job(key, f"{jobs}:count", {}), RecordingCallback())
            results.append(executor.next_result().key)
        assert sorted(results) == list("012345")
        path.touch()
        result = executor.next_result()
        assert (result.key, result.value) == ("hangs", {"exists": True})


def test_surviving_grandchild_of_a_killed_job_does_not_delay_its_result(tmp_path, monkeypatch):
    """A grandchild in its own session survives the kill and keeps the worker's pipe open."""
    name = f"forking_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(
        "import os, time\nfrom pathlib import Path\n"
        "def fork_and_hang(note):\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        Path(note).write_text(str(os.getpid()))\n"
        "    time.sleep(60)\n"
        "def start(): return {}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    note = tmp_path / "note"
    with closing(EXECUTORS["processes"](1)) as executor:
        run(executor, f"{name}:start", None)  # start the worker before the time limit applies
        start_time = time.monotonic()
        executor.submit(Job("key", f"{name}:fork_and_hang", {"note": str(note)}, limit_seconds=2))
        assert executor.next_result().failure == "timeout"
    assert time.monotonic() - start_time < 20  # the grandchild itself sleeps for a minute
    os.kill(int(note.read_text()), signal.SIGKILL)
