"""Jobs as Ray Core tasks: the cores of this machine, or the cluster that RAY_ADDRESS names.

Plain tasks in fresh processes (`max_calls=1`), retried where a worker or its node is lost; not Ray Tune, whose restore fails
with a stored Optuna study. The run directory must be visible to every node under one path, and phinas installed on each.

Ray itself waits for ever for an address that does not answer and for resources that do not exist, so both are looked at first.
"""

import json
import os
import socket
import sys
import time
from typing import Any

from experiment.errors import InputError, StorageError
from experiment.executors.interface import ATTEMPTS, Job, Result, call, describe_failure
from experiment.manifest import version

CONNECT_SECONDS = 10.0


class RayExecutor:
    """`slots` tasks at a time, one core each, and one GPU each where the cluster has any.

    Raises InputError where Ray is not installed or the cluster is smaller than `slots`, StorageError where it does not answer.
    """

    def __init__(self, slots: int) -> None:
        try:
            import ray
        except ImportError:
            raise InputError("run.executor: ray is not installed; pip install 'phinas[ray]'") from None
        self.slots = slots
        self._ray = ray
        self._started = not ray.is_initialized()
        if self._started:
            _connect(ray, slots)
        has = ray.cluster_resources()  # type: ignore[no-untyped-call]
        if has.get("CPU", 0) < slots:
            self.close()
            raise InputError(f"run.workers: {slots} need as many cores, the Ray cluster has {has.get('CPU', 0):g}")
        self._gpus = min(1.0, has.get("GPU", 0) / slots)
        self._task = ray.remote(max_calls=1, max_retries=ATTEMPTS - 1, num_cpus=1, num_gpus=self._gpus)(_run)
        self._jobs: dict[Any, tuple[Job, float]] = {}

    def submit(self, job: Job) -> None:
        if len(self._jobs) >= self.slots:
            raise RuntimeError(f"all {self.slots} slots are at work")
        json.dumps(job.payload, allow_nan=False)  # what the other executors can't carry, this one refuses too
        reference = self._task.remote(job.function, job.payload, version(), sys.path)
        self._jobs[reference] = (job, time.monotonic() + job.limit_seconds)

    def next_result(self) -> Result:
        if not self._jobs:
            raise RuntimeError("no job is under way")
        while True:
            wait = min(deadline for _, deadline in self._jobs.values()) - time.monotonic()
            try:
                ready, _ = self._ray.wait(list(self._jobs), num_returns=1, timeout=min(max(wait, 0.0), 3600.0))
            except self._ray.exceptions.RaySystemError as error:
                raise StorageError(f"the Ray cluster is lost ({describe_failure(error)}); start it again and resume") from error
            if ready:
                return self._collect(ready[0])
            for reference, (job, deadline) in list(self._jobs.items()):
                if deadline <= time.monotonic():
                    self._ray.cancel(reference, force=True)
                    del self._jobs[reference]
                    return Result(job.key, None, f"exceeded its limit of {job.limit_seconds:g} s")

    def close(self) -> None:
        for reference in getattr(self, "_jobs", {}):
            self._ray.cancel(reference, force=True)
        self._jobs = {}
        if self._started:
            self._ray.shutdown()

    def _collect(self, reference: Any) -> Result:
        job, _ = self._jobs.pop(reference)
        try:
            answer = self._ray.get(reference)
        except self._ray.exceptions.WorkerCrashedError:
            return Result(job.key, None, f"its process died {ATTEMPTS} times", ATTEMPTS)
        except self._ray.exceptions.RayError as error:
            return Result(job.key, None, describe_failure(error))
        if "version" in answer:
            raise StorageError(f"a worker runs phinas {answer['version']}, the driver {version()}; install one version")
        return Result(job.key, answer.get("value"), answer.get("reason", ""))


def _run(function: str, payload: dict[str, Any], driver: str, paths: list[str]) -> dict[str, Any]:
    """The task. What fails in a job comes back as its reason, so that Ray retries nothing but lost processes."""
    if version() != driver:
        return {"version": version()}
    sys.path.extend(path for path in paths if path and path not in sys.path)
    try:
        return {"value": call(function, payload)}
    except (Exception, SystemExit) as error:
        return {"reason": describe_failure(error)}


def _connect(ray: Any, slots: int) -> None:
    address = os.environ.get("RAY_ADDRESS")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not address or address == "local":
        ray.init(address="local", num_cpus=slots, include_dashboard=False, logging_level="error", log_to_driver=False)
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise StorageError(f"RAY_ADDRESS: {address} does not answer ({error}); start the cluster, or unset it") from None
    ray.init(address=address, logging_level="error", log_to_driver=False)
