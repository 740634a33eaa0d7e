"""What is begun again after a failure, and how often, under every executor that can survive it."""

from contextlib import closing
from pathlib import Path

import pytest

from phinas.experiment.executors import Job, Result, make_executor

JOBS = """
import os, signal, sys, time
from pathlib import Path

def fail(how, note, times=99):
    path = Path(note)
    begun = len(path.read_text()) if path.exists() else 0
    path.write_text("x" * (begun + 1))
    if begun < times:
        if how == "killed": os.kill(os.getpid(), signal.SIGKILL)
        if how == "exits": os._exit(7)
        if how == "raised": raise RuntimeError("no GPU")
        if how == "leaves": sys.exit(3)
        if how == "hung": time.sleep(60)
        if how == "nan": return {"accuracy": float("nan")}
    return {"begun": begun + 1}
"""


@pytest.fixture
def job(tmp_path, monkeypatch):
    name = f"failing_jobs_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(JOBS)
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(how, *, times=99, limit=60.0):
        return Job(
            "key",
            f"{name}:fail",
            {"how": how, "note": str(tmp_path / "note"), "times": times},
            limit,
        )

    return make


@pytest.fixture
def begun(tmp_path):
    return lambda: len((tmp_path / "note").read_text())


SURVIVORS = pytest.mark.parametrize(
    "name", ["processes", pytest.param("ray", marks=pytest.mark.slow)], indirect=True
)


def run(name: str, job: Job, *, max_retries: int, retry_on: list[str]) -> Result:
    with closing(make_executor(name, 1, max_retries=max_retries, retry_on=retry_on)) as executor:
        executor.submit(job)
        return executor.next_result()


@SURVIVORS
def test_a_job_whose_process_dies_once_is_begun_again(name, job):
    assert run(name, job("killed", times=1), max_retries=1, retry_on=["crash"]) == Result(
        "key", {"begun": 2}, attempts=2
    )


@pytest.mark.parametrize(
    ("name", "retries"),
    [("processes", 0), ("processes", 2), pytest.param("ray", 2, marks=pytest.mark.slow)],
    indirect=["name"],
)
def test_a_job_whose_process_always_dies_fails_after_so_many_retries(name, job, begun, retries):
    result = run(name, job("killed"), max_retries=retries, retry_on=["crash"])
    assert begun() == result.attempts == retries + 1
    assert (result.value, result.failure) == (None, "crash")
    assert result.reason.startswith("its process died")
    assert result.reason.endswith(f"; tried {retries + 1} times") is (retries > 0)


def test_the_exit_code_of_the_last_attempt_is_told(job):
    assert (
        run("processes", job("exits"), max_retries=1, retry_on=["crash"]).reason
        == "its process died (exit code 7); tried 2 times"
    )


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("inline", "raised"),
        ("inline", "leaves"),
        ("processes", "raised"),
        pytest.param("ray", "leaves", marks=pytest.mark.slow),
    ],
    indirect=["name"],
)
def test_a_job_that_raises_is_begun_again_where_that_is_asked_for(name, job, how):
    assert run(name, job(how, times=1), max_retries=1, retry_on=["exception"]) == Result(
        "key", {"begun": 2}, attempts=2
    )


def test_a_job_that_raises_is_not_begun_again_by_itself(name, job, begun):
    result = run(name, job("raised"), max_retries=5, retry_on=["crash", "timeout"])
    assert result == Result("key", None, "RuntimeError: no GPU", failure="exception")
    assert begun() == 1


@SURVIVORS
def test_a_job_that_hangs_is_begun_again_where_that_is_asked_for(name, job):
    # On a busy machine an attempt may reach its limit before its worker has started the job.
    limit = 4.0 if name == "ray" else 2.0
    result = run(name, job("hung", times=1, limit=limit), max_retries=20, retry_on=["timeout"])
    assert result.failure == ""
    assert 2 <= result.value["begun"] <= result.attempts


def test_a_job_that_hangs_again_tells_its_limit_and_how_often(job):
    result = run("processes", job("hung", limit=0.5), max_retries=1, retry_on=["timeout"])
    assert result == Result("key", None, "exceeded its limit of 0.5 s; tried 2 times", 2, "timeout")


def test_what_is_no_result_is_never_tried_again(name, job, begun):
    result = run(name, job("nan"), max_retries=5, retry_on=["crash", "exception", "timeout"])
    assert (result.failure, result.attempts, begun()) == ("invalid_result", 1, 1)


def test_a_retried_job_leaves_the_other_slots_their_work(job, tmp_path):
    with closing(make_executor("processes", 2, max_retries=2, retry_on=["crash"])) as executor:
        executor.submit(job("killed", times=2))
        other = Job(
            "other", job("raised").function, {"how": "none", "note": str(Path(tmp_path) / "other")}
        )
        executor.submit(other)
        results = {
            result.key: result for result in (executor.next_result(), executor.next_result())
        }
    assert (results["key"].attempts, results["other"].attempts) == (3, 1)
