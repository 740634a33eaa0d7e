"""What Ray adds: a core is free again after a hanging task, and a cluster that is not there is an
error at once.
"""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from phinas.experiment.errors import InputError, StorageError
from phinas.experiment.executors import EXECUTORS, Executor, Job
from phinas.experiment.executors.ray_tasks import workers_per_gpu


@pytest.mark.parametrize(
    ("max_workers", "gpus", "workers_sharing_gpu"),
    [(2, 0, 0), (1, 1, 1), (4, 1, 4), (3, 2, 2), (2, 8, 1), (8, 8, 1), (9, 8, 2)],
)
def test_as_many_tasks_share_a_gpu_as_have_to_and_all_run_at_once(
    max_workers, gpus, workers_sharing_gpu
):
    assert workers_per_gpu(max_workers, gpus) == workers_sharing_gpu
    assert gpus == 0 or workers_sharing_gpu * gpus >= max_workers


JOBS = """
import os, signal, time
from pathlib import Path

def killed(note, times):
    path = Path(note)
    before = len(path.read_text()) if path.exists() else 0
    path.write_text("x" * (before + 1))
    if before < times: os.kill(os.getpid(), signal.SIGKILL)
    return {"attempt": before + 1}
def hang(seconds): time.sleep(seconds)
"""


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    place = tmp_path_factory.mktemp("jobs")
    (place / "jobs_for_ray.py").write_text(JOBS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(place))
        yield "jobs_for_ray"


@pytest.fixture(scope="module")
def executor(jobs: str, ray_on_two_cores: None) -> Iterator[Executor]:
    with closing(EXECUTORS["ray"](2)) as executor:
        yield executor


@pytest.mark.slow
def test_a_hanging_job_is_ended_at_its_limit_and_its_core_is_free_again(
    executor: Executor, jobs: str, tmp_path: Path
) -> None:
    executor.submit(Job("long", f"{jobs}:hang", {"seconds": 60}, limit_seconds=4))
    began = time.monotonic()
    assert "limit of 4 s" in executor.next_result().reason
    for key in ("one", "two"):
        executor.submit(Job(key, f"{jobs}:killed", {"note": str(tmp_path / key), "times": 0}))
    assert {executor.next_result().key, executor.next_result().key} == {"one", "two"}
    assert time.monotonic() - began < 40


@pytest.mark.slow
def test_more_slots_than_cores_are_refused_at_once(executor: Executor) -> None:
    with pytest.raises(InputError, match=r"run\.workers: 64 .* has 2"):
        EXECUTORS["ray"](64)


@pytest.mark.slow
def test_an_address_that_does_not_answer_is_refused_within_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)  # the other tests keep their Ray
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{unused.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(StorageError, match="does not answer"):
            EXECUTORS["ray"](1)
        assert time.monotonic() - began < 30
    assert os.environ["RAY_ADDRESS"]
