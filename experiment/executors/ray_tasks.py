"""Executor that runs jobs as Ray Core tasks, on this machine or on the cluster at RAY_ADDRESS.

Each task runs in a new process (`max_calls=1`). Ray Tune is not used because its restore fails
with a stored Optuna study. Every node needs phinas, and the images of the run at the same path. The
files of a job are sent to a node that lacks them, and those that it writes are sent back. A task
cannot call its driver, so it sends its reports to an actor and waits there for the answers.

Ray waits forever for resources that do not exist, so they are checked first.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from phinas.experiment.errors import InputError, StorageError
from phinas.experiment.executors.interface import (
    Job,
    ReportCallback,
    Result,
    classify_failure,
    describe_failure,
    run_job_in_worker,
    version_mismatch,
)
from phinas.experiment.executors.job_files import JobFile, JobFiles, read_inputs, write_outputs
from phinas.experiment.executors.ray_cluster import HEAD_TEST_SECONDS, Head, connect
from phinas.experiment.optional_library import import_library
from phinas.experiment.versions import version


class RayExecutor:
    """Runs up to `max_workers` tasks at the same time.

    Each task has one CPU core and, where the cluster has GPUs, a GPU or an equal part of one.

    Raises:
        InputError: Ray is not installed, RAY_ADDRESS is wrong, or the cluster has fewer cores than
            `max_workers`.
        StorageError: The cluster does not answer.
    """

    def __init__(self, max_workers: int) -> None:
        ray = import_library("ray", attribute="remote", needed_by="run.executor: ray", extra="ray")
        self.max_workers = max_workers
        self._ray = ray
        self._owns_cluster = not ray.is_initialized()
        if self._owns_cluster:
            connect(ray, max_workers)
        resources = ray.cluster_resources()
        if resources.get("CPU", 0) < max_workers:
            self.close()
            raise InputError(
                f"run.workers: {max_workers} is more than the {resources.get('CPU', 0):g} CPU "
                "cores of the Ray cluster; lower it"
            )
        self._workers_per_gpu = workers_per_gpu(max_workers, int(resources.get("GPU", 0)))
        gpu_fraction = 1 / self._workers_per_gpu if self._workers_per_gpu else 0
        self._task = ray.remote(max_calls=1, max_retries=0, num_cpus=1, num_gpus=gpu_fraction)(
            _run_task
        )
        self._head = Head(ray)
        self._jobs: dict[Any, tuple[Job, float, ReportCallback | None]] = {}
        self._mailbox: Any = None
        self._pending_report: Any = None

    def submit(self, job: Job, on_report: ReportCallback | None = None) -> None:
        if len(self._jobs) >= self.max_workers:
            raise RuntimeError(f"all {self.max_workers} workers are busy")
        # Ray could send more than JSON, but the executors must accept the same payloads.
        json.dumps(job.payload, allow_nan=False)
        if on_report is not None and self._mailbox is None:
            self._mailbox = self._ray.remote(num_cpus=0)(_Mailbox).remote()
            self._pending_report = self._mailbox.next_report.remote()
        mailbox = self._mailbox if on_report is not None else None
        contents = {
            name: self._ray.put(content) for name, content in read_inputs(job.files).items()
        }
        task = _Task(
            job.key,
            job.function,
            job.payload,
            job.files,
            contents,
            writes_files=bool(job.output_folder),
        )
        reference = self._task.remote(task, version(), sys.path, mailbox, self._workers_per_gpu)
        self._jobs[reference] = (job, time.monotonic() + job.limit_seconds, on_report)

    def next_result(self) -> Result:
        if not self._jobs:
            raise RuntimeError("no job is running")
        while True:
            timeout_seconds = (
                min(deadline for _, deadline, _ in self._jobs.values()) - time.monotonic()
            )
            pending_reports = [self._pending_report] if self._pending_report is not None else []
            try:
                ready, _ = self._ray.wait(
                    [*self._jobs, *pending_reports],
                    num_returns=1,
                    timeout=min(max(timeout_seconds, 0.0), HEAD_TEST_SECONDS),
                )
                if pending_reports and ready == pending_reports:
                    self._answer_report()
                    ready = []
            except (self._ray.exceptions.RaySystemError, ConnectionError) as error:
                self._head.is_lost = True
                raise StorageError(
                    f"the connection to the Ray cluster was lost ({describe_failure(error)}); "
                    "start the cluster again, then `phinas resume`"
                ) from error
            self._head.require_connection()
            if ready:
                result = self._collect(ready[0])
                if result.failure == "crash":
                    # A lost head is no failure of the job.
                    self._head.wait_for_connection()
                return result
            for reference, (job, deadline, _) in list(self._jobs.items()):
                if deadline <= time.monotonic():
                    self._ray.cancel(reference, force=True)
                    del self._jobs[reference]
                    return Result(
                        job.key,
                        None,
                        f"exceeded its limit of {job.limit_seconds:g} s",
                        failure="timeout",
                    )

    def close(self) -> None:
        if hasattr(self, "_head") and self._head.is_lost:
            self._jobs, self._mailbox = {}, None  # these calls would wait for the head
        for reference in getattr(self, "_jobs", {}):
            self._ray.cancel(reference, force=True)
        self._jobs = {}
        if getattr(self, "_mailbox", None) is not None:
            self._ray.kill(self._mailbox)
        if self._owns_cluster:
            self._ray.shutdown()

    def _answer_report(self) -> None:
        key, step, value = self._ray.get(self._pending_report)
        self._pending_report = self._mailbox.next_report.remote()
        for job, _, on_report in self._jobs.values():
            if job.key == key and on_report is not None:
                self._mailbox.send_reply.remote(key, step, on_report(step, value))

    def _collect(self, reference: Any) -> Result:
        job, _, _ = self._jobs.pop(reference)
        try:
            reply = self._ray.get(reference)
        except self._ray.exceptions.WorkerCrashedError:
            return Result(job.key, None, "its process died", failure="crash")
        except self._ray.exceptions.RayTaskError as error:
            return Result(job.key, None, describe_failure(error), failure="exception")
        except self._ray.exceptions.RayError as error:  # such as a lost node or a lack of memory
            return Result(job.key, None, describe_failure(error), failure="crash")
        if "version" in reply:
            raise version_mismatch(reply["version"])
        try:
            if job.output_folder:
                write_outputs(Path(job.output_folder), reply["contents"])
        except OSError as error:
            reason, failure = describe_failure(error), classify_failure(error)
            return Result(job.key, None, reason, failure=failure)
        return Result.from_reply(job, reply)


def workers_per_gpu(max_workers: int, gpus: int) -> int:
    """The smallest number of tasks that must share a GPU so that all tasks run at the same time.

    For 3 tasks on 2 GPUs it is 2. Without GPUs it is 0.
    """
    return -(-max_workers // gpus) if gpus else 0


class _Mailbox:
    """The actor between tasks and driver. It queues reports and returns their answers."""

    def __init__(self) -> None:
        self._reports: asyncio.Queue[tuple[str, int, float]] = asyncio.Queue()
        self._replies: dict[tuple[str, int], asyncio.Future[bool]] = {}

    async def post(self, key: str, step: int, value: float) -> bool:
        self._replies[key, step] = asyncio.get_running_loop().create_future()
        self._reports.put_nowait((key, step, value))
        return await self._replies[key, step]

    async def next_report(self) -> tuple[str, int, float]:
        return await self._reports.get()

    async def send_reply(self, key: str, step: int, keep_running: bool) -> None:
        # The report is missing if its task has died and was started again.
        reply = self._replies.pop((key, step), None)
        if reply is not None:
            reply.set_result(keep_running)


@dataclass(frozen=True, slots=True)
class _Task:
    """A job as it is sent to a worker.

    Attributes:
        key: The key of the job.
        function: Its function.
        payload: The keyword arguments of the function.
        files: The files that it needs, by name.
        contents: Ray's references to the content of these files. A worker fetches only what its
            machine lacks.
        writes_files: Whether the driver wants the files that it writes.
    """

    key: str
    function: str
    payload: dict[str, Any]
    files: Mapping[str, JobFile]
    contents: Mapping[str, Any]
    writes_files: bool


def _run_task(
    task: _Task, driver_version: str, paths: list[str], mailbox: Any, workers_per_gpu: int
) -> dict[str, Any]:
    """Run a job as a Ray task, which sees only the GPU that Ray assigns to it.

    Returns:
        The result of `run_job_in_worker` with the key `contents`, the bytes of the written files by
        name; or {"version": ...} if the versions of phinas differ.
    """
    if version() != driver_version:
        return {"version": version()}
    os.environ["PHINAS_NUM_WORKERS"] = str(max(1, workers_per_gpu))
    sys.path.extend(path for path in paths if path and path not in sys.path)
    import ray

    def ask_driver(step: int, value: float) -> bool:
        return ray.get(mailbox.post.remote(task.key, step, value))

    def fetch(name: str) -> bytes | None:
        try:
            return ray.get(task.contents[name]) if name in task.contents else None
        except ray.exceptions.RayError:
            return None  # The node with the content was lost.

    on_report = ask_driver if mailbox is not None else None
    with TemporaryDirectory(prefix="phinas-job-") as folder:
        files = JobFiles(task.files, Path(folder) / "outputs" if task.writes_files else None, fetch)
        reply = run_job_in_worker(task.function, task.payload, on_report, files)
        return reply | {"contents": files.read_outputs()}
