"""Executor that runs jobs in the driver process, one at a time.

It is the reference that the other executors must agree with. It cannot survive a job that kills its
process, and it ignores `Job.limit_seconds`, so a job that hangs is never stopped.
"""

import json

from phinas.experiment.errors import InputError
from phinas.experiment.executors.interface import Job, ReportCallback, Result, run_job


class InlineExecutor:
    """Runs a job in this process when `next_result` is called."""

    def __init__(self, max_workers: int) -> None:
        require_single_worker(max_workers)
        self.max_workers = max_workers
        self._job: Job | None = None
        self._payload = ""
        self._on_report: ReportCallback | None = None

    def submit(self, job: Job, on_report: ReportCallback | None = None) -> None:
        if self._job is not None:
            raise RuntimeError("the inline executor runs one job at a time")
        self._payload = json.dumps(job.payload, allow_nan=False)
        self._job, self._on_report = job, on_report

    def next_result(self) -> Result:
        if self._job is None:
            raise RuntimeError("no job is running")
        job, self._job = self._job, None
        reply = run_job(job.function, json.loads(self._payload), self._on_report, job.open_files())
        return Result.from_reply(job, reply)

    def close(self) -> None:
        self._job = None


def require_single_worker(max_workers: int) -> None:
    """Check the number of workers of the inline executor.

    Raises:
        InputError: It is not 1.
    """
    if max_workers != 1:
        raise InputError(
            f"run.workers: {max_workers} is too many for run.executor: inline, which runs one job "
            "at a time; set run.workers: 1 or run.executor: processes"
        )
