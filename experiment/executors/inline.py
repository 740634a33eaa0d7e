"""Jobs in the driver's own process, one at a time: the reference that the others must agree with.

It can neither survive a job that kills its process nor end one that hangs; `limit_seconds` is not
enforced here.
"""

import json

from phinas.experiment.errors import InputError
from phinas.experiment.executors.interface import Job, Report, Result, attempt


class InlineExecutor:
    """Runs each job when its result is asked for."""

    def __init__(self, slots: int) -> None:
        if slots != 1:
            raise InputError(f"run.workers: {slots} jobs at a time need run.executor: processes")
        self.slots = slots
        self._job: Job | None = None
        self._payload = ""
        self._listener: Report | None = None

    def submit(self, job: Job, listener: Report | None = None) -> None:
        if self._job is not None:
            raise RuntimeError("the inline executor runs one job at a time")
        self._payload = json.dumps(job.payload, allow_nan=False)
        self._job, self._listener = job, listener

    def next_result(self) -> Result:
        if self._job is None:
            raise RuntimeError("no job is under way")
        job, self._job = self._job, None
        answer = attempt(job.function, json.loads(self._payload), self._listener)
        return Result(
            job.key,
            answer.get("value"),
            answer.get("reason", ""),
            failure=answer.get("failure", ""),
        )

    def close(self) -> None:
        self._job = None
