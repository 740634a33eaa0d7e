"""All executors behave alike, and `processes` survives jobs that crash or hang."""

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
import errno, json, os, signal, subprocess, sys, time
from pathlib import Path

def add(a, b): return {"sum": a + b}
def echo(**payload): return payload
def return_mixed_types(): return {1: (2, 3), "é": None, "deep": {"x": [True, 0.1]}}
def fail(message): raise ValueError(message)
class Unprintable(Exception):
    def __str__(self):
        raise ValueError("no text")
def raise_unprintable():
    raise Unprintable
def exit_python(): sys.exit(3)
def fill_disk(): raise OSError(errno.ENOSPC, "No space left on device", "w")
def fill_disk_wrapped():
    try: fill_disk()
    except OSError: raise RuntimeError("could not save")
def write_read_only(): raise OSError(errno.EROFS, "Read-only file system", "w")
def write_denied(): raise OSError(errno.EACCES, "Permission denied", "w")
def return_int(): return 3
def return_none(): return None
def return_nan(): return {"loss": float("nan")}
def return_object(): return {"value": object()}
def append_value(values):
    values.append(1)
    return {"values": values}
def print_output():
    print("not JSON"); print('{"key": "forged", "value": {}}'); sys.stdout.flush()
    os.write(1, b"raw\\n"); subprocess.run(["echo", "child"])
    return {"done": True}
def read_input(): return {"read": sys.stdin.read()}
def worker_index(): time.sleep(0.5); return {"index": os.environ["PHINAS_WORKER_INDEX"]}
def process_ids(): return {"pid": os.getpid(), "session": os.getsid(0)}
def write_pid(folder, name, seconds=0):
    with open(Path(folder) / name, "a") as file: file.write(f"{os.getpid()}\\n")
    time.sleep(seconds)
    return {"pid": os.getpid()}
def kill_itself(folder, name):
    write_pid(folder, name)
    os.kill(os.getpid(), signal.SIGKILL)
def exit_process(): os._exit(7)
def interrupt(): raise KeyboardInterrupt
def close_connection():
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
    """The name of a module of jobs, which a worker can import like a user's module."""
    (jobs_folder / "jobs_for_executors.py").write_text(JOBS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(jobs_folder))
        yield "jobs_for_executors"


# One executor for all tests, because a worker starts slowly. It depends on `jobs`, so that the
# folder of the jobs is on the path before a worker starts.
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


def is_alive(pid: int) -> bool:
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


def test_value_is_the_dict_that_the_function_returns(executor, jobs):
    assert run(executor, f"{jobs}:add", a=1, b=2) == Result("key", {"sum": 3})


def test_function_gets_the_payload_unchanged(executor, jobs):
    payload = {
        "text": "é\n\0 {}",
        "number": 1e-300,
        "big": 2**80,
        "none": None,
        "list": [1, [2]],
        "dict": {"a": {}},
    }
    assert run(executor, f"{jobs}:echo", **payload).value == payload


def test_value_is_converted_to_json_by_every_executor(executor, jobs):
    assert run(executor, f"{jobs}:return_mixed_types").value == {
        "1": [2, 3],
        "é": None,
        "deep": {"x": [True, 0.1]},
    }


def test_job_cannot_modify_the_payload_in_the_driver(executor, jobs):
    values: list[int] = []
    assert run(executor, f"{jobs}:append_value", values=values).value == {"values": [1]}
    assert values == []


def test_exception_becomes_a_failure_with_type_and_message(executor, jobs):
    assert run(executor, f"{jobs}:fail", message="two\nlines") == Result(
        "key", None, "ValueError: two lines", failure="exception"
    )


FAILING_JOBS = {
    "return_int": ("invalid_result", ".*:return_int returned int, not a dict"),
    "return_none": ("invalid_result", ".*:return_none returned NoneType, not a dict"),
    "return_nan": (
        "invalid_result",
        ".*:return_nan returned a value that is not valid JSON .Out of range float values",
    ),
    "return_object": (
        "invalid_result",
        ".*:return_object returned a value that is not valid JSON .Object of type object",
    ),
    "exit_python": ("exception", "SystemExit: 3"),
    "raise_unprintable": ("exception", "Unprintable"),
    "fill_disk": ("disk_error", "OSError: .*No space left on device: 'w'"),
    "fill_disk_wrapped": ("disk_error", "RuntimeError: could not save"),
    "write_read_only": ("disk_error", "OSError: .*Read-only file system: 'w'"),
    "write_denied": ("exception", "PermissionError: .*Permission denied: 'w'"),
    "absent": ("exception", "AttributeError: .*has no attribute 'absent'"),
    "add": ("exception", "TypeError: .*missing 2 required"),
}


# All executors run jobs with the same function, so a few failures suffice for those that start
# processes.
@pytest.mark.parametrize(
    ("name", "function", "failure", "reason"),
    [
        *(("inline", function, *expected) for function, expected in FAILING_JOBS.items()),
        *(
            ("processes", function, *FAILING_JOBS[function])
            for function in ("return_nan", "exit_python", "fill_disk")
        ),
        *(
            pytest.param("ray", function, *FAILING_JOBS[function], marks=pytest.mark.slow)
            for function in ("return_object", "exit_python")
        ),
    ],
    indirect=["name"],
)
def test_failing_job_returns_kind_and_reason(executor, jobs, function, failure, reason):
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
def test_function_that_cannot_be_imported_fails_with_the_reason(executor, function):
    result = run(executor, function)
    assert result.value is None
    assert "ImportError" in result.reason or "ModuleNotFoundError" in result.reason


def test_next_job_runs_after_a_failure(executor, jobs):
    run(executor, f"{jobs}:fail", message="x")
    assert run(executor, f"{jobs}:add", a=2, b=2).value == {"sum": 4}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("inline", value) for value in (float("nan"), object(), {1, 2})),
        *(("processes", value) for value in (float("nan"), object())),
        pytest.param("ray", float("nan"), marks=pytest.mark.slow),
    ],
    indirect=["name"],
)
def test_payload_that_is_not_json_is_rejected_by_submit(executor, jobs, value):
    with pytest.raises((TypeError, ValueError)):
        executor.submit(Job("key", f"{jobs}:echo", {"value": value}))
    assert run(executor, f"{jobs}:add", a=1, b=1).value == {"sum": 2}


def test_submit_fails_when_all_workers_are_busy(executor, jobs):
    executor.submit(Job("one", f"{jobs}:add", {"a": 1, "b": 1}))
    with pytest.raises(RuntimeError):
        executor.submit(Job("two", f"{jobs}:add", {"a": 1, "b": 1}))
    assert executor.next_result().key == "one"


def test_next_result_fails_when_no_job_is_running(executor):
    with pytest.raises(RuntimeError, match="no job is running"):
        executor.next_result()


def test_inline_executor_rejects_more_than_one_worker():
    with pytest.raises(
        InputError,
        match=r"run\.workers: 2 is too many for run\.executor: inline, which runs one job",
    ):
        EXECUTORS["inline"](2)


def test_two_workers_run_two_jobs_in_two_processes(processes, jobs, tmp_path):
    for key in ("a", "b"):
        processes.submit(
            Job(key, f"{jobs}:write_pid", {"folder": str(tmp_path), "name": key, "seconds": 0.3})
        )
    results = [processes.next_result(), processes.next_result()]
    assert {result.key for result in results} == {"a", "b"}
    assert len({result.value["pid"] for result in results}) == 2


def test_worker_process_is_reused_for_the_next_job(processes, jobs):
    assert (
        run(processes, f"{jobs}:process_ids").value == run(processes, f"{jobs}:process_ids").value
    )


def test_killed_job_fails_without_affecting_another_worker(processes, jobs, tmp_path):
    processes.submit(
        Job(
            "other", f"{jobs}:write_pid", {"folder": str(tmp_path), "name": "other", "seconds": 0.8}
        )
    )
    processes.submit(
        Job("killed", f"{jobs}:kill_itself", {"folder": str(tmp_path), "name": "killed"})
    )
    results = {result.key: result for result in (processes.next_result(), processes.next_result())}
    assert results["killed"] == Result(
        "killed", None, "its process died (signal 9)", failure="crash"
    )
    assert results["other"].value
    assert len((tmp_path / "other").read_text().split()) == 1


def test_exit_code_of_a_job_that_ends_its_process_is_reported(processes, jobs):
    assert run(processes, f"{jobs}:exit_process").reason == "its process died (exit code 7)"
    assert run(processes, f"{jobs}:add", a=1, b=1).value == {"sum": 2}


def test_a_keyboard_interrupt_that_a_job_raises_in_a_worker_is_an_error_of_the_job(processes, jobs):
    result = run(processes, f"{jobs}:interrupt")
    assert (result.reason, result.failure) == ("KeyboardInterrupt", "exception")
    assert run(processes, f"{jobs}:add", a=1, b=1).value == {"sum": 2}


def test_job_that_closes_its_connection_is_killed_and_fails(processes, jobs):
    assert run(processes, f"{jobs}:close_connection").reason == "its process died (signal 9)"


def test_hanging_job_and_its_children_are_killed_at_the_time_limit(processes, jobs, tmp_path):
    run(processes, f"{jobs}:add", a=1, b=1)  # start the worker before the time limit applies
    start = time.monotonic()
    processes.submit(
        Job("key", f"{jobs}:hang", {"folder": str(tmp_path), "name": "pids"}, limit_seconds=1.0)
    )
    assert processes.next_result() == Result(
        "key", None, "exceeded its limit of 1 s", failure="timeout"
    )
    assert 1.0 <= time.monotonic() - start < 20  # the job itself would take a minute
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert wait_until(lambda: not any(is_alive(pid) for pid in pids), seconds=2)
    assert run(processes, f"{jobs}:add", a=1, b=1).value == {"sum": 2}


def test_output_of_a_job_does_not_corrupt_its_result(processes, jobs):
    assert run(processes, f"{jobs}:print_output") == Result("key", {"done": True})


def test_standard_input_of_a_job_is_empty(processes, jobs):
    assert run(processes, f"{jobs}:read_input").value == {"read": ""}


def test_worker_has_its_own_session_so_ctrl_c_does_not_reach_it(processes, jobs):
    value = run(processes, f"{jobs}:process_ids").value
    assert value["session"] == value["pid"] != os.getsid(0)


def test_close_kills_running_jobs_and_their_children(jobs, tmp_path):
    executor = EXECUTORS["processes"](1)
    executor.submit(Job("key", f"{jobs}:hang", {"folder": str(tmp_path), "name": "pids"}))
    assert wait_until(
        lambda: (tmp_path / "pids").exists() and (tmp_path / "pids").read_text(), seconds=5
    )
    executor.close()
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert wait_until(lambda: not any(is_alive(pid) for pid in pids), seconds=2)


def test_module_in_the_current_directory_does_not_shadow_a_module_of_the_worker(
    jobs, tmp_path, monkeypatch
):
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "queue.py").write_text("raise RuntimeError('shadowed')")
    monkeypatch.chdir(folder)
    with closing(EXECUTORS["processes"](1)) as executor:
        assert run(executor, f"{jobs}:add", a=1, b=1).value == {"sum": 2}


def test_workers_and_their_children_end_when_the_driver_is_killed(jobs, jobs_folder, tmp_path):
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
    assert all(is_alive(pid) for pid in pids)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert wait_until(lambda: not any(is_alive(pid) for pid in pids), seconds=5)


def test_floats_keep_their_exact_value_between_processes(processes, jobs):
    numbers = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308]
    assert run(processes, f"{jobs}:echo", numbers=numbers).value == json.loads(
        json.dumps({"numbers": numbers})
    )


def test_each_worker_process_gets_its_own_index(processes, jobs):
    for key in ("one", "two"):
        processes.submit(Job(key, f"{jobs}:worker_index", {}))
    assert {processes.next_result().value["index"] for _ in range(2)} == {"0", "1"}
