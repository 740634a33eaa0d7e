"""Jobs as Ray Core tasks: the cores of this machine, or the cluster that RAY_ADDRESS names.

Plain tasks in fresh processes (`max_calls=1`); not Ray Tune, whose restore fails with a stored
Optuna study. The run directory must be visible to every node under one path, and phinas installed
on each. A task has no line to its driver: it posts what it reports to an actor, and waits there for
the answer.

Ray itself waits for ever for an address that does not answer and for resources that do not exist,
so both are looked at first.
"""

import asyncio
import json
import os
import socket
import sys
import time
from typing import Any

from phinas.experiment.errors import InputError, StorageError
from phinas.experiment.executors.interface import Job, Report, Result, attempt, describe_failure
from phinas.experiment.manifest import version

CONNECT_SECONDS = 10.0


class RayExecutor:
    """`slots` tasks at a time, one core each, and one GPU each where the cluster has any.

    Raises InputError where Ray is not installed or the cluster is smaller than `slots`,
    StorageError where it does not answer.
    """

    def __init__(self, slots: int) -> None:
        try:
            import ray
        except ImportError:
            raise InputError(
                "run.executor: ray is not installed; pip install 'phinas[ray]'"
            ) from None
        self.slots = slots
        self._ray = ray
        self._started = not ray.is_initialized()
        if self._started:
            _connect(ray, slots)
        has = ray.cluster_resources()  # type: ignore[no-untyped-call]
        if has.get("CPU", 0) < slots:
            self.close()
            raise InputError(
                f"run.workers: {slots} need as many cores, the Ray cluster has "
                f"{has.get('CPU', 0):g}"
            )
        self._sharing = sharing_a_gpu(slots, int(has.get("GPU", 0)))
        share = 1 / self._sharing if self._sharing else 0
        self._task = ray.remote(max_calls=1, max_retries=0, num_cpus=1, num_gpus=share)(_run)
        self._jobs: dict[Any, tuple[Job, float, Report | None]] = {}
        self._post_box: Any = None
        self._letter: Any = None

    def submit(self, job: Job, listener: Report | None = None) -> None:
        if len(self._jobs) >= self.slots:
            raise RuntimeError(f"all {self.slots} slots are at work")
        json.dumps(
            job.payload, allow_nan=False
        )  # what the other executors can't carry, this one refuses too
        if listener is not None and self._post_box is None:
            self._post_box = self._ray.remote(num_cpus=0)(_PostBox).remote()
            self._letter = self._post_box.take.remote()
        box = self._post_box if listener is not None else None
        reference = self._task.remote(
            job.key, job.function, job.payload, version(), sys.path, box, self._sharing
        )
        self._jobs[reference] = (job, time.monotonic() + job.limit_seconds, listener)

    def next_result(self) -> Result:
        if not self._jobs:
            raise RuntimeError("no job is under way")
        while True:
            wait = min(deadline for _, deadline, _ in self._jobs.values()) - time.monotonic()
            letters = [self._letter] if self._letter is not None else []
            try:
                ready, _ = self._ray.wait(
                    [*self._jobs, *letters], num_returns=1, timeout=min(max(wait, 0.0), 3600.0)
                )
                if letters and ready == letters:
                    self._answer_letter()
                    ready = []
            except self._ray.exceptions.RaySystemError as error:
                raise StorageError(
                    f"the Ray cluster is lost ({describe_failure(error)}); start it again and "
                    "resume"
                ) from error
            if ready:
                return self._collect(ready[0])
            for reference, (job, deadline, _) in list(self._jobs.items()):
                if deadline <= time.monotonic():
                    self._ray.cancel(reference, force=True)
                    del self._jobs[reference]
                    return Result(
                        job.key,
                        None,
                        f"exceeded its limit of {job.limit_seconds:g} s",
                        failure="hung",
                    )

    def close(self) -> None:
        for reference in getattr(self, "_jobs", {}):
            self._ray.cancel(reference, force=True)
        self._jobs = {}
        if getattr(self, "_post_box", None) is not None:
            self._ray.kill(self._post_box)
        if self._started:
            self._ray.shutdown()

    def _answer_letter(self) -> None:
        key, step, value = self._ray.get(self._letter)
        self._letter = self._post_box.take.remote()
        for job, _, listener in self._jobs.values():
            if job.key == key and listener is not None:
                self._post_box.answer.remote(key, step, listener(step, value))

    def _collect(self, reference: Any) -> Result:
        job, _, _ = self._jobs.pop(reference)
        try:
            answer = self._ray.get(reference)
        except self._ray.exceptions.WorkerCrashedError:
            return Result(job.key, None, "its process died", failure="died")
        except self._ray.exceptions.RayTaskError as error:
            return Result(job.key, None, describe_failure(error), failure="raised")
        except self._ray.exceptions.RayError as error:  # its node was lost, or the memory
            return Result(job.key, None, describe_failure(error), failure="died")
        if "version" in answer:
            raise StorageError(
                f"a worker runs phinas {answer['version']}, the driver {version()}; install one "
                "version"
            )
        return Result(
            job.key,
            answer.get("value"),
            answer.get("reason", ""),
            failure=answer.get("failure", ""),
        )


def sharing_a_gpu(slots: int, gpus: int) -> int:
    """How many tasks share a GPU so that all run at once: with 3 tasks and 2 GPUs two of them do. 0
    where there is none.
    """
    return -(-slots // gpus) if gpus else 0


class _PostBox:
    """The actor between jobs and driver: reports wait here to be taken, and the jobs for their
    answers.
    """

    def __init__(self) -> None:
        self._letters: asyncio.Queue[tuple[str, int, float]] = asyncio.Queue()
        self._awaited: dict[tuple[str, int], asyncio.Future[bool]] = {}

    async def post(self, key: str, step: int, value: float) -> bool:
        self._awaited[key, step] = asyncio.get_running_loop().create_future()
        self._letters.put_nowait((key, step, value))
        return await self._awaited[key, step]

    async def take(self) -> tuple[str, int, float]:
        return await self._letters.get()

    async def answer(self, key: str, step: int, go_on: bool) -> None:
        awaited = self._awaited.pop(
            (key, step), None
        )  # none where its task has died and another has begun
        if awaited is not None:
            awaited.set_result(go_on)


def _run(
    key: str,
    function: str,
    payload: dict[str, Any],
    driver: str,
    paths: list[str],
    post_box: Any,
    sharing: int,
) -> dict[str, Any]:
    """The task, which sees its own GPU only. What fails in a job comes back as its reason."""
    if version() != driver:
        return {"version": version()}
    os.environ["PHINAS_SLOTS"] = str(max(1, sharing))
    sys.path.extend(path for path in paths if path and path not in sys.path)

    def ask_driver(step: int, value: float) -> bool:
        import ray

        return ray.get(post_box.post.remote(key, step, value))

    return attempt(function, payload, ask_driver if post_box is not None else None)


def _connect(ray: Any, slots: int) -> None:
    address = os.environ.get("RAY_ADDRESS")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not address or address == "local":
        ray.init(
            address="local",
            num_cpus=slots,
            include_dashboard=False,
            logging_level="error",
            log_to_driver=False,
        )
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise StorageError(
            f"RAY_ADDRESS: {address} does not answer ({error}); start the cluster, or unset it"
        ) from None
    ray.init(address=address, logging_level="error", log_to_driver=False)
