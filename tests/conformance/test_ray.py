"""Behavior of the Ray executor alone: GPU sharing, freed cores and checks of the cluster."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from phinas.experiment.errors import InputError, StorageError
from phinas.experiment.executors import EXECUTORS, Executor, Job
from phinas.experiment.executors.ray_tasks import workers_per_gpu


@pytest.mark.parametrize(
    ("max_workers", "gpus", "workers_sharing_gpu"),
    [(2, 0, 0), (1, 1, 1), (4, 1, 4), (3, 2, 2), (2, 8, 1), (8, 8, 1), (9, 8, 2)],
)
def test_gpus_are_shared_by_the_fewest_tasks_that_let_all_run_at_once(
    max_workers, gpus, workers_sharing_gpu
):
    assert workers_per_gpu(max_workers, gpus) == workers_sharing_gpu
    assert gpus == 0 or workers_sharing_gpu * gpus >= max_workers


JOBS = """
import time

def add(a, b): return {"sum": a + b}
def hang(seconds): time.sleep(seconds)
"""


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("jobs")
    (folder / "jobs_for_ray.py").write_text(JOBS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield "jobs_for_ray"


@pytest.fixture(scope="module")
def executor(jobs: str, ray_on_two_cores: None) -> Iterator[Executor]:
    with closing(EXECUTORS["ray"](2)) as executor:
        yield executor


@pytest.mark.slow
def test_hanging_job_is_killed_at_the_time_limit_and_frees_its_core(
    executor: Executor, jobs: str
) -> None:
    executor.submit(Job("long", f"{jobs}:hang", {"seconds": 60}, limit_seconds=4))
    start_time = time.monotonic()
    assert "limit of 4 s" in executor.next_result().reason
    for key in ("one", "two"):
        executor.submit(Job(key, f"{jobs}:add", {"a": 1, "b": 1}))
    results = [executor.next_result(), executor.next_result()]
    assert {result.key: result.value for result in results} == {
        "one": {"sum": 2},
        "two": {"sum": 2},
    }
    assert time.monotonic() - start_time < 40


@pytest.mark.slow
def test_more_workers_than_cores_are_rejected(executor: Executor) -> None:
    with pytest.raises(InputError, match=r"run\.workers: 64 is more than the 2 CPU cores"):
        EXECUTORS["ray"](64)


@pytest.mark.slow
def test_cluster_address_that_does_not_answer_is_an_error_within_30_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)  # other tests use the cluster
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{unused.getsockname()[1]}")
        start_time = time.monotonic()
        with pytest.raises(StorageError, match="does not answer"):
            EXECUTORS["ray"](1)
        assert time.monotonic() - start_time < 30
    assert os.environ["RAY_ADDRESS"]
