"""Tests that a training whose worker is killed or interrupted resumes with the same result."""

import os
import signal
import subprocess
import time
from contextlib import closing, contextmanager, nullcontext

import pytest

from phinas.experiment.executors import make_executor
from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.schema.config import DataSection, Recipe, RunSection
from phinas.space.search_spaces.loading import load_space
from phinas.training.engine import train_step
from phinas.training.engine.job import TrainingJobFactory, run_training_job

SPEC = load_space("tiny").adapt_to(channels=1, classes=10, resolution=8).base
LONG = Recipe(epochs=20, batch_size=20, ema_fraction=0.2)
SHORT = LONG.model_copy(update={"epochs": 6})
RESULTS = ("score", "loss", "top5", "curve", "epochs", "per_class_accuracy")


def job_of(data, checkpoints, *, minutes, recipe=LONG):
    run = RunSection(device="cpu", checkpoint_minutes=minutes)
    return TrainingJobFactory.from_config(
        data, DataSection(source="digits"), run=run, threads=1, checkpoints=checkpoints
    ).make_job(SPEC, recipe, 5)


def results_of(result):
    assert result.value is not None, result.reason
    return {name: result.value[name] for name in RESULTS}


def run_here(job, report=None):
    """Run a job in this process and return its results."""
    with closing(InlineExecutor(1)) as executor:
        executor.submit(job, report)
        return results_of(executor.next_result())


@contextmanager
def workers(**options):
    with closing(make_executor("processes", 1, **options)) as executor:
        yield executor


def find_workers():
    """Return the process ids of the workers of this process."""
    listing = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())],
        capture_output=True,
        text=True,
        check=True,
    )
    return [
        int(line.split()[0])
        for line in listing.stdout.splitlines()
        if "phinas.experiment.executors.worker" in line
    ]


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_a_training_whose_worker_is_killed_resumes_from_its_checkpoint(data, tmp_path):
    job = job_of(data, tmp_path, minutes=0.001)
    second_checkpoint = tmp_path / f"{job.key}.checkpoint.previous"
    with workers(max_retries=1, retry_on=["crash"]) as executor:
        executor.submit(job)
        wait_for(second_checkpoint.exists)
        [worker] = find_workers()
        os.kill(worker, signal.SIGKILL)
        result = executor.next_result()
    assert result.attempts == 2
    assert results_of(result) == run_here(job_of(data, None, minutes=1.0))
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_training_writes_a_checkpoint_and_resumes_later(data, tmp_path):
    job = job_of(data, tmp_path, minutes=60.0, recipe=SHORT)
    reports = []

    def interrupt_after_three(_epoch, accuracy):
        reports.append(accuracy)
        if len(reports) == 3:
            raise KeyboardInterrupt
        return True

    with workers(max_retries=0, retry_on=[]) as executor:
        executor.submit(job, interrupt_after_three)
        with pytest.raises(KeyboardInterrupt):
            executor.next_result()
    assert [path.name for path in tmp_path.iterdir()] == [f"{job.key}.checkpoint"]
    uninterrupted = run_here(job_of(data, None, minutes=1.0, recipe=SHORT))
    assert run_here(job, interrupt_after_three) == uninterrupted
    assert reports[3:6] == reports[:3]  # epochs before the checkpoint are reported again


@pytest.mark.parametrize("usable", [True, False])
def test_after_a_failed_capture_the_training_is_repeated_in_another_process(
    usable, data, tmp_path, monkeypatch, simulate_capture
):
    """Before torch 2.13 a process cannot train on a GPU after a failed capture. Here, the end of a
    process is an exception.
    """

    def fail(_train_step, *_batch):
        raise RuntimeError("operation not permitted when stream is capturing")

    class EndOfProcess(BaseException):
        pass

    def end(_code):
        raise EndOfProcess

    checkpoints = tmp_path / "checkpoints"
    job = job_of(data, checkpoints, minutes=60, recipe=SHORT)
    expected = run_here(job_of(data, None, minutes=60, recipe=SHORT))
    simulate_capture(fail)
    monkeypatch.setattr(train_step, "is_process_usable_after_failed_capture", lambda: usable)
    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.setenv("PHINAS_WORKER_INDEX", "0")
    if not usable:
        with pytest.raises(EndOfProcess):
            run_training_job(**job.payload)
    with nullcontext() if not usable else pytest.warns(UserWarning, match="could not be captured"):
        value = run_training_job(**job.payload)
    assert value["cuda_graph"] == "failed: operation not permitted when stream is capturing"
    assert {name: value[name] for name in RESULTS} == expected
    assert not list(checkpoints.glob("*"))
