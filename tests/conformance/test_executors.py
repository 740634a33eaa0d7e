"""Every executor keeps one contract; `processes` survives what its jobs do to their process."""

import inspect
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from phinas.experiment.errors import InputError
from phinas.experiment.executors import EXECUTORS, Job, Result

JOBS = """
import json, os, signal, subprocess, sys, time
from pathlib import Path

def add(one, other): return {"sum": one + other}
def echo(**payload): return payload
def mixed(): return {1: (2, 3), "é": None, "deep": {"x": [True, 0.1]}}
def fail(message): raise ValueError(message)
def leave(): sys.exit(3)
def number(): return 3
def nothing(): return None
def nan(): return {"loss": float("nan")}
def thing(): return {"thing": object()}
def spoil(values):
    values.append(1)
    return {"values": values}
def chatter():
    print("not JSON"); print('{"key": "forged", "value": {}}'); sys.stdout.flush()
    os.write(1, b"raw\\n"); subprocess.run(["echo", "child"])
    return {"said": True}
def read_input(): return {"read": sys.stdin.read()}
def slot(): time.sleep(0.5); return {"slot": os.environ["PHINAS_WORKER_INDEX"]}
def process(): return {"pid": os.getpid(), "session": os.getsid(0)}
def note(folder, name, seconds=0):
    with open(Path(folder) / name, "a") as file: file.write(f"{os.getpid()}\\n")
    time.sleep(seconds)
    return {"pid": os.getpid()}
def killed_once(folder, name):
    path = Path(folder) / name
    first = not path.exists()
    note(folder, name)
    if first: os.kill(os.getpid(), signal.SIGKILL)
    return {"survived": True}
def killed(folder, name):
    note(folder, name)
    os.kill(os.getpid(), signal.SIGKILL)
def exits(): os._exit(7)
def mute():
    os.closerange(3, 256)
    time.sleep(60)
def hang(folder, name):
    child = subprocess.Popen(["sleep", "60"])
    (Path(folder) / name).write_text(f"{os.getpid()} {child.pid}")
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def jobs_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("jobs")


@pytest.fixture(scope="module")
def jobs(jobs_folder):
    """The name of a module of jobs that a worker can import, as a user's own module would be."""
    (jobs_folder / "jobs_for_executors.py").write_text(JOBS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(jobs_folder))
        yield "jobs_for_executors"


# One for all tests, since starting a worker takes long; `jobs` comes first, so that its workers can
# import them.
@pytest.fixture(scope="module")
def executor(name, jobs):
    with closing(EXECUTORS[name](1)) as executor:
        yield executor


@pytest.fixture(scope="module")
def processes(jobs):
    with closing(EXECUTORS["processes"](2)) as executor:
        yield executor


def run(executor, function, **payload):
    executor.submit(Job("key", function, payload))
    result = executor.next_result()
    assert result.key == "key"
    return result


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def wait_until(condition, *, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def test_a_job_gives_the_dict_its_function_returns(executor, jobs):
    assert run(executor, f"{jobs}:add", one=1, other=2) == Result("key", {"sum": 3})


def test_a_payload_arrives_as_it_was_sent(executor, jobs):
    payload = {
        "text": "é\n\0 {}",
        "number": 1e-300,
        "big": 2**80,
        "none": None,
        "list": [1, [2]],
        "dict": {"a": {}},
    }
    assert run(executor, f"{jobs}:echo", **payload).value == payload


def test_a_value_is_plain_json_whoever_ran_the_job(executor, jobs):
    assert run(executor, f"{jobs}:mixed").value == {
        "1": [2, 3],
        "é": None,
        "deep": {"x": [True, 0.1]},
    }


def test_a_job_cannot_change_the_payload_of_its_driver(executor, jobs):
    values: list[int] = []
    assert run(executor, f"{jobs}:spoil", values=values).value == {"values": [1]}
    assert values == []


def test_an_exception_is_a_failure_with_kind_and_message(executor, jobs):
    assert run(executor, f"{jobs}:fail", message="two\nlines") == Result(
        "key", None, "ValueError: two lines", failure="exception"
    )


INVALID_RESULTS = {
    "number": ("invalid_result", ".*:number returned int, not a dict"),
    "nothing": ("invalid_result", ".*:nothing returned NoneType, not a dict"),
    "nan": ("invalid_result", ".*:nan returned what is not JSON .Out of range float values"),
    "thing": (
        "invalid_result",
        ".*:thing returned what is not JSON .Object of type object is not JSON",
    ),
    "leave": ("exception", "SystemExit: 3"),
    "absent": ("exception", "AttributeError: .*has no attribute 'absent'"),
    "add": ("exception", "TypeError: .*missing 2 required"),
}


# All executors run jobs through one function: of each kind one suffices where a process is started.
@pytest.mark.parametrize(
    ("name", "function", "failure", "reason"),
    [
        *(("inline", function, *expected) for function, expected in INVALID_RESULTS.items()),
        *(("processes", function, *INVALID_RESULTS[function]) for function in ("nan", "leave")),
        *(
            pytest.param("ray", function, *INVALID_RESULTS[function], marks=pytest.mark.slow)
            for function in ("thing", "leave")
        ),
    ],
    indirect=["name"],
)
def test_a_job_that_gives_no_plain_dict_fails_with_kind_and_reason(
    executor, jobs, function, failure, reason
):
    result = run(executor, f"{jobs}:{function}")
    assert result.value is None
    assert (result.attempts, result.failure) == (1, failure)
    assert re.match(reason, result.reason)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("inline", "no_such_module_anywhere:f"),
        ("inline", "no_colon"),
        ("inline", ":f"),
        ("inline", "module:"),
        ("inline", ""),
        ("processes", "no_such_module_anywhere:f"),
        ("processes", "no_colon"),
        pytest.param("ray", "no_such_module_anywhere:f", marks=pytest.mark.slow),
    ],
    indirect=["name"],
)
def test_a_function_that_cannot_be_imported_fails_with_the_reason(executor, function):
    result = run(executor, function)
    assert result.value is None
    assert "ImportError" in result.reason or "ModuleNotFoundError" in result.reason


def test_work_goes_on_after_a_failure(executor, jobs):
    run(executor, f"{jobs}:fail", message="x")
    assert run(executor, f"{jobs}:add", one=2, other=2).value == {"sum": 4}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("inline", value) for value in (float("nan"), object(), {1, 2})),
        *(("processes", value) for value in (float("nan"), object())),
        pytest.param("ray", float("nan"), marks=pytest.mark.slow),
    ],
    indirect=["name"],
)
def test_a_payload_that_is_not_json_is_refused_at_submission(executor, jobs, value):
    with pytest.raises((TypeError, ValueError)):
        executor.submit(Job("key", f"{jobs}:echo", {"value": value}))
    assert run(executor, f"{jobs}:add", one=1, other=1).value == {"sum": 2}


def test_one_job_too_many_is_refused(executor, jobs):
    executor.submit(Job("one", f"{jobs}:add", {"one": 1, "other": 1}))
    with pytest.raises(RuntimeError):
        executor.submit(Job("two", f"{jobs}:add", {"one": 1, "other": 1}))
    assert executor.next_result().key == "one"


def test_asking_for_a_result_with_no_job_under_way_is_an_error(executor):
    with pytest.raises(RuntimeError, match="no job is under way"):
        executor.next_result()


def test_inline_refuses_more_than_one_slot():
    with pytest.raises(
        InputError, match=r"run\.workers: 2 jobs at a time need run\.executor: processes"
    ):
        EXECUTORS["inline"](2)


def test_jobs_of_two_slots_run_at_the_same_time(processes, jobs, tmp_path):
    for key in ("a", "b"):
        processes.submit(
            Job(key, f"{jobs}:note", {"folder": str(tmp_path), "name": key, "seconds": 0.3})
        )
    results = [processes.next_result(), processes.next_result()]
    assert {result.key for result in results} == {"a", "b"}
    assert len({result.value["pid"] for result in results}) == 2


def test_a_slot_keeps_its_process_from_job_to_job(processes, jobs):
    assert run(processes, f"{jobs}:process").value == run(processes, f"{jobs}:process").value


def test_a_killed_job_is_a_failure_of_its_own_and_the_other_slot_is_left_alone(
    processes, jobs, tmp_path
):
    processes.submit(
        Job("other", f"{jobs}:note", {"folder": str(tmp_path), "name": "other", "seconds": 0.8})
    )
    processes.submit(Job("victim", f"{jobs}:killed", {"folder": str(tmp_path), "name": "victim"}))
    results = {result.key: result for result in (processes.next_result(), processes.next_result())}
    assert results["victim"] == Result(
        "victim", None, "its process died (signal 9)", failure="crash"
    )
    assert results["other"].value
    assert len((tmp_path / "other").read_text().split()) == 1


def test_the_exit_code_of_a_job_that_ends_its_process_is_told(processes, jobs):
    assert run(processes, f"{jobs}:exits").reason == "its process died (exit code 7)"
    assert run(processes, f"{jobs}:add", one=1, other=1).value == {"sum": 2}


def test_a_job_that_closes_its_connection_counts_as_dead(processes, jobs):
    assert run(processes, f"{jobs}:mute").reason == "its process died (signal 9)"


def test_a_hanging_job_is_ended_at_its_limit_with_its_children(processes, jobs, tmp_path):
    run(processes, f"{jobs}:add", one=1, other=1)  # its limit is not for the start of the worker
    start = time.monotonic()
    processes.submit(
        Job("key", f"{jobs}:hang", {"folder": str(tmp_path), "name": "pids"}, limit_seconds=1.0)
    )
    assert processes.next_result() == Result(
        "key", None, "exceeded its limit of 1 s", failure="timeout"
    )
    assert 1.0 <= time.monotonic() - start < 20  # the job itself would take a minute
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert wait_until(lambda: not any(alive(pid) for pid in pids), seconds=2)
    assert run(processes, f"{jobs}:add", one=1, other=1).value == {"sum": 2}


def test_what_a_job_prints_does_not_reach_the_protocol(processes, jobs):
    assert run(processes, f"{jobs}:chatter") == Result("key", {"said": True})


def test_a_job_that_reads_its_input_finds_none(processes, jobs):
    assert run(processes, f"{jobs}:read_input").value == {"read": ""}


def test_a_worker_has_a_session_of_its_own_so_ctrl_c_passes_it_by(processes, jobs):
    value = run(processes, f"{jobs}:process").value
    assert value["session"] == value["pid"] != os.getsid(0)


def test_closing_ends_running_jobs_at_once(jobs, tmp_path):
    executor = EXECUTORS["processes"](1)
    executor.submit(Job("key", f"{jobs}:hang", {"folder": str(tmp_path), "name": "pids"}))
    assert wait_until(
        lambda: (tmp_path / "pids").exists() and (tmp_path / "pids").read_text(), seconds=5
    )
    executor.close()
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert wait_until(lambda: not any(alive(pid) for pid in pids), seconds=2)


def test_a_module_in_the_current_directory_does_not_shadow_one_of_the_worker(
    jobs, tmp_path, monkeypatch
):
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "queue.py").write_text("raise RuntimeError('shadowed')")
    monkeypatch.chdir(folder)
    with closing(EXECUTORS["processes"](1)) as executor:
        assert run(executor, f"{jobs}:add", one=1, other=1).value == {"sum": 2}


def test_workers_and_their_children_end_when_their_driver_is_killed(jobs, jobs_folder, tmp_path):
    driver_code = inspect.cleandoc(f"""
        import sys
        sys.path.insert(0, {str(jobs_folder)!r})
        from phinas.experiment.executors import EXECUTORS, Job
        executor = EXECUTORS["processes"](2)
        for name in ("a", "b"):
            executor.submit(Job(name, "{jobs}:hang", {{"folder": {str(tmp_path)!r}, "name": name}}))
        executor.next_result()
    """)
    driver = subprocess.Popen([sys.executable, "-c", driver_code])
    files = [tmp_path / "a", tmp_path / "b"]
    assert wait_until(lambda: all(file.exists() and file.read_text() for file in files), seconds=20)
    pids = [int(pid) for file in files for pid in file.read_text().split()]
    assert all(alive(pid) for pid in pids)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert wait_until(lambda: not any(alive(pid) for pid in pids), seconds=5)


def test_results_travel_as_text_that_any_json_reader_takes(processes, jobs):
    """A float keeps its exact value on its way through the process boundary."""
    numbers = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308]
    assert run(processes, f"{jobs}:echo", numbers=numbers).value == json.loads(
        json.dumps({"numbers": numbers})
    )


def test_each_slot_knows_its_number_so_that_each_may_take_its_own_gpu(processes, jobs):
    for key in ("one", "two"):
        processes.submit(Job(key, f"{jobs}:slot", {}))
    assert {processes.next_result().value["slot"] for _ in range(2)} == {"0", "1"}
