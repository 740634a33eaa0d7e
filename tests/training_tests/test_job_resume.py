"""A training in a worker that is killed, or asked to end, goes on from its checkpoint and comes to
the same end.
"""

import os
import signal
import subprocess
import time
from contextlib import closing, contextmanager

import pytest

from phinas.experiment.executors import make_executor
from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.schema.config import DataSection, Recipe, RunSection
from phinas.space.search_spaces.loading import load_space
from phinas.training.engine.job import TrainingJobFactory

SPEC = load_space("tiny").adapt_to(channels=1, classes=10, resolution=8).base
LONG = Recipe(epochs=20, batch_size=20, ema_fraction=0.2)
SHORT = LONG.model_copy(update={"epochs": 6})
TOLD = ("accuracy", "loss", "top5", "curve", "epochs", "per_class_accuracy")


def job_of(data, checkpoints, *, minutes, recipe=LONG):
    run = RunSection(device="cpu", checkpoint_minutes=minutes)
    return TrainingJobFactory.from_config(
        data, DataSection(source="digits"), run=run, threads=1, checkpoints=checkpoints
    ).make_job(SPEC, recipe, 5)


def facts(result):
    assert result.value is not None, result.reason
    return {name: result.value[name] for name in TOLD}


def run_here(job, listen=None):
    """What comes of a job in this process."""
    with closing(InlineExecutor(1)) as executor:
        executor.submit(job, listen)
        return facts(executor.next_result())


@contextmanager
def workers(**options):
    with closing(make_executor("processes", 1, **options)) as executor:
        yield executor


def children():
    """Process ids of the workers of this process."""
    listed = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())],
        capture_output=True,
        text=True,
        check=True,
    )
    return [
        int(line.split()[0])
        for line in listed.stdout.splitlines()
        if "phinas.experiment.executors.worker" in line
    ]


def wait_for(condition):
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.slow
def test_a_training_whose_worker_is_killed_goes_on_from_its_snapshot(data, tmp_path):
    job = job_of(data, tmp_path, minutes=0.001)
    written = tmp_path / f"{job.key}.checkpoint.previous"
    with workers(max_retries=1, retry_on=["crash"]) as executor:
        executor.submit(job)
        wait_for(written.exists)
        [worker] = children()
        os.kill(worker, signal.SIGKILL)
        result = executor.next_result()
    assert result.attempts == 2
    assert facts(result) == run_here(job_of(data, None, minutes=1.0))
    assert list(tmp_path.iterdir()) == []


def test_a_training_that_is_asked_to_end_leaves_a_snapshot_and_goes_on_later(data, tmp_path):
    job = job_of(data, tmp_path, minutes=60.0, recipe=SHORT)
    heard = []

    def listen(epoch, accuracy):
        heard.append(accuracy)
        if len(heard) == 3:
            raise KeyboardInterrupt
        return True

    with workers(max_retries=0, retry_on=[]) as executor:
        executor.submit(job, listen)
        with pytest.raises(KeyboardInterrupt):
            executor.next_result()
    assert [path.name for path in tmp_path.iterdir()] == [f"{job.key}.checkpoint"]
    undisturbed = run_here(job_of(data, None, minutes=1.0, recipe=SHORT))
    assert run_here(job, listen) == undisturbed
    assert heard[3:6] == heard[:3]  # told again from the first
