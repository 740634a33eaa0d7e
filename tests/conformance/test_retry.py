"""Retries of failed jobs, under every executor that survives the failure."""

from contextlib import closing
from pathlib import Path

import pytest

from phinas.experiment.executors import Job, Result, make_executor

JOBS = """
import os, signal, sys, time
from pathlib import Path

def fail(failure_kind, note, times=99):
    path = Path(note)
    previous = len(path.read_text()) if path.exists() else 0
    path.write_text("x" * (previous + 1))
    if previous < times:
        if failure_kind == "kill": os.kill(os.getpid(), signal.SIGKILL)
        if failure_kind == "exit": os._exit(7)
        if failure_kind == "raise": raise RuntimeError("no GPU")
        if failure_kind == "sys_exit": sys.exit(3)
        if failure_kind == "hang": time.sleep(60)
        if failure_kind == "nan": return {"score": float("nan")}
    return {"attempts": previous + 1}
"""


@pytest.fixture
def job(tmp_path, monkeypatch):
    name = f"failing_jobs_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(JOBS)
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(failure_kind, *, times=99, limit=60.0):
        return Job(
            "key",
            f"{name}:fail",
            {"failure_kind": failure_kind, "note": str(tmp_path / "note"), "times": times},
            limit,
        )

    return make


@pytest.fixture
def count_attempts(tmp_path):
    return lambda: len((tmp_path / "note").read_text())


PROCESS_EXECUTORS = pytest.mark.parametrize(
    "name", ["processes", pytest.param("ray", marks=pytest.mark.slow)], indirect=True
)


def run(name: str, job: Job, *, max_retries: int, retry_on: list[str]) -> Result:
    with closing(make_executor(name, 1, max_retries=max_retries, retry_on=retry_on)) as executor:
        executor.submit(job)
        return executor.next_result()


@PROCESS_EXECUTORS
def test_job_whose_process_dies_once_is_retried(name, job):
    assert run(name, job("kill", times=1), max_retries=1, retry_on=["crash"]) == Result(
        "key", {"attempts": 2}, attempts=2
    )


@pytest.mark.parametrize(
    ("name", "retries"),
    [("processes", 0), ("processes", 2), pytest.param("ray", 2, marks=pytest.mark.slow)],
    indirect=["name"],
)
def test_job_whose_process_always_dies_fails_after_max_retries(name, job, count_attempts, retries):
    result = run(name, job("kill"), max_retries=retries, retry_on=["crash"])
    assert count_attempts() == result.attempts == retries + 1
    assert (result.value, result.failure) == (None, "crash")
    assert result.reason.startswith("its process died")
    assert result.reason.endswith(f"; tried {retries + 1} times") is (retries > 0)


def test_reason_has_the_exit_code_and_the_number_of_attempts(job):
    assert (
        run("processes", job("exit"), max_retries=1, retry_on=["crash"]).reason
        == "its process died (exit code 7); tried 2 times"
    )


@pytest.mark.parametrize(
    ("name", "failure_kind"),
    [
        ("inline", "raise"),
        ("inline", "sys_exit"),
        ("processes", "raise"),
        pytest.param("ray", "sys_exit", marks=pytest.mark.slow),
    ],
    indirect=["name"],
)
def test_job_that_raises_is_retried_if_retry_on_contains_exception(name, job, failure_kind):
    assert run(name, job(failure_kind, times=1), max_retries=1, retry_on=["exception"]) == Result(
        "key", {"attempts": 2}, attempts=2
    )


def test_job_that_raises_is_not_retried_otherwise(name, job, count_attempts):
    result = run(name, job("raise"), max_retries=5, retry_on=["crash", "timeout"])
    assert result == Result("key", None, "RuntimeError: no GPU", failure="exception")
    assert count_attempts() == 1


@PROCESS_EXECUTORS
def test_job_that_hangs_is_retried_if_retry_on_contains_timeout(name, job):
    # On a busy machine an attempt may reach its limit before its worker has started the job.
    limit = 4.0 if name == "ray" else 2.0
    result = run(name, job("hang", times=1, limit=limit), max_retries=20, retry_on=["timeout"])
    assert result.failure == ""
    assert 2 <= result.value["attempts"] <= result.attempts


def test_reason_has_the_time_limit_and_the_number_of_attempts(job):
    result = run("processes", job("hang", limit=0.5), max_retries=1, retry_on=["timeout"])
    assert result == Result("key", None, "exceeded its limit of 0.5 s; tried 2 times", 2, "timeout")


def test_invalid_result_is_never_retried(name, job, count_attempts):
    result = run(name, job("nan"), max_retries=5, retry_on=["crash", "exception", "timeout"])
    assert (result.failure, result.attempts, count_attempts()) == ("invalid_result", 1, 1)


def test_retried_job_does_not_disturb_another_worker(job, tmp_path):
    with closing(make_executor("processes", 2, max_retries=2, retry_on=["crash"])) as executor:
        executor.submit(job("kill", times=2))
        other = Job(
            "other",
            job("raise").function,
            {"failure_kind": "none", "note": str(Path(tmp_path) / "other")},
        )
        executor.submit(other)
        results = {
            result.key: result for result in (executor.next_result(), executor.next_result())
        }
    assert (results["key"].attempts, results["other"].attempts) == (3, 1)
