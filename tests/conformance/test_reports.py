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
def stubborn(report): return {"answers": [report(step, 0.0) for step in range(1, 6)]}
def silent(report): return {"reached": 0}
def deaf(): return {"reached": 0}
def tell(report, step, value): return {"answer": report(eval(step), eval(value))}
def twice(report): return {"answers": [report(2, 0.0), report(2, 0.0)]}
def dies_once(report, note):
    path, answers = Path(note), []
    first = not path.exists()
    path.write_text("begun")
    for step in (1, 2, 3):
        answers.append(report(step, step / 10))
        if first and step == 2: os.kill(os.getpid(), signal.SIGKILL)
    return {"answers": answers}
def slow(report, seconds):
    end = time.monotonic() + seconds
    step = 0
    while time.monotonic() < end:
        step += 1
        report(step, 0.0)
        time.sleep(0.02)
    return {"reached": step}
def hang(): time.sleep(60)
"""


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    name = f"reporting_jobs_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(JOBS)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


@pytest.fixture
def executor(name):
    with closing(EXECUTORS[name](1)) as made:
        yield made


class Listener:
    """Notes what it hears and stops a job at a step."""

    def __init__(self, *, stop_at=99):
        self.heard, self.stop_at = [], stop_at

    def __call__(self, step, value):
        self.heard.append((step, value))
        return step < self.stop_at


def run(executor, function, listener, **payload):
    executor.submit(Job("key", function, payload), listener)
    return executor.next_result()


def test_reports_reach_the_driver_in_order_and_as_they_were(executor, jobs):
    listener = Listener()
    assert run(executor, f"{jobs}:count", listener).value == {"reached": 5}
    assert listener.heard == [(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4), (5, 0.5)]


def test_a_job_that_is_told_to_stop_gives_what_it_has(executor, jobs):
    listener = Listener(stop_at=3)
    assert run(executor, f"{jobs}:count", listener).value == {"reached": 3}
    assert [step for step, _ in listener.heard] == [1, 2, 3]


def test_a_job_that_does_not_stop_is_answered_no_and_its_driver_is_troubled_no_more(executor, jobs):
    listener = Listener(stop_at=2)
    assert run(executor, f"{jobs}:stubborn", listener).value == {
        "answers": [True, False, False, False, False]
    }
    assert [step for step, _ in listener.heard] == [1, 2]


@pytest.mark.parametrize("function", ["silent", "deaf"])
def test_a_job_that_never_reports_is_as_it_would_be_without_a_listener(executor, jobs, function):
    listener = Listener()
    assert run(executor, f"{jobs}:{function}", listener) == run(
        executor, f"{jobs}:{function}", None
    )
    assert listener.heard == []


def test_a_report_without_a_listener_is_answered_yes_where_the_job_runs(executor, jobs):
    began = time.monotonic()
    assert run(executor, f"{jobs}:count", None, to=200_000).value == {"reached": 200_000}
    assert time.monotonic() - began < 20  # a round trip each would take minutes


def test_the_next_job_of_a_slot_has_a_listener_of_its_own(executor, jobs):
    first, second = Listener(), Listener(stop_at=1)
    run(executor, f"{jobs}:count", first)
    assert run(executor, f"{jobs}:count", second).value == {"reached": 1}
    assert run(executor, f"{jobs}:count", None).value == {"reached": 5}
    assert (len(first.heard), len(second.heard)) == (5, 1)


@pytest.mark.parametrize("listened", [True, False])
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
    jobs, listened, step, value, reason
):
    listener = Listener()
    with closing(EXECUTORS["inline"](1)) as executor:
        result = run(
            executor, f"{jobs}:tell", listener if listened else None, step=step, value=value
        )
    assert (result.value, result.failure) == (None, "wrong")
    assert result.reason.startswith(reason)
    assert listener.heard == []


def test_a_step_is_not_told_twice(executor, jobs):
    assert run(executor, f"{jobs}:twice", Listener()).reason.startswith(
        "reported step 2 after step 2"
    )


def test_numbers_of_numpy_are_numbers(executor, jobs):
    listener = Listener()
    value = "__import__('numpy').float32(0.5)"
    assert run(
        executor, f"{jobs}:tell", listener, step="__import__('numpy').int64(3)", value=value
    ).value == {"answer": True}
    assert listener.heard == [(3, 0.5)]


@pytest.mark.parametrize("name", [name for name in EXECUTORS if name != "inline"], indirect=True)
def test_jobs_of_two_slots_are_each_answered_by_their_own_listener(name, jobs):
    with closing(EXECUTORS[name](2)) as executor:
        listeners = {"a": Listener(stop_at=2), "b": Listener(stop_at=4)}
        for key, listener in listeners.items():
            executor.submit(Job(key, f"{jobs}:count", {}), listener)
        results = [executor.next_result() for _ in listeners]
    assert {result.key: result.value["reached"] for result in results} == {"a": 2, "b": 4}


@pytest.mark.parametrize("name", [name for name in EXECUTORS if name != "inline"], indirect=True)
def test_a_job_that_dies_while_it_reports_is_begun_again_and_reports_again(name, jobs, tmp_path):
    listener = Listener()
    with closing(make_executor(name, 1, retries=2, on=["died"])) as executor:
        result = run(executor, f"{jobs}:dies_once", listener, note=str(tmp_path / "note"))
    assert (result.value, result.attempts) == ({"answers": [True, True, True]}, 2)
    assert Counter(step for step, _ in listener.heard) == {1: 2, 2: 2, 3: 1}


def test_a_hanging_job_is_ended_at_its_limit_however_much_the_others_report(jobs):
    with closing(EXECUTORS["processes"](2)) as executor:
        executor.submit(Job("talks", f"{jobs}:slow", {"seconds": 4}), Listener())
        executor.submit(Job("hangs", f"{jobs}:hang", {}, limit_seconds=1.5), Listener())
        began = time.monotonic()
        assert executor.next_result().key == "hangs"
        assert time.monotonic() - began < 3


def test_a_job_that_hangs_delays_no_other(jobs):
    with closing(EXECUTORS["processes"](8)) as executor:
        executor.submit(Job("hangs", f"{jobs}:hang", {}, limit_seconds=6), Listener())
        for key in range(7):
            executor.submit(Job(str(key), f"{jobs}:count", {}), Listener())
        began = time.monotonic()
        assert {executor.next_result().key for _ in range(7)} == set("0123456")
        assert time.monotonic() - began < 5.5
        assert executor.next_result().key == "hangs"


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
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    note = tmp_path / "note"
    began = time.monotonic()
    with closing(EXECUTORS["processes"](1)) as executor:
        executor.submit(Job("key", f"{name}:leave", {"note": str(note)}, limit_seconds=2))
        assert executor.next_result().failure == "hung"
    assert time.monotonic() - began < 6
    os.kill(int(note.read_text()), signal.SIGKILL)
