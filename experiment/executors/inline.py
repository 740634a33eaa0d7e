"""Jobs in the driver's own process, one at a time: the reference that the others must agree with.

It can neither survive a job that kills its process nor end one that hangs; `limit_seconds` is not
enforced here.
"""

import json

from phinas.experiment.errors import InputError
from phinas.experiment.executors.interface import Job, ReportCallback, Result, run_job


class InlineExecutor:
    """Runs each job when its result is asked for."""

    def __init__(self, max_workers: int) -> None:
        if max_workers != 1:
            raise InputError(
                f"run.workers: {max_workers} jobs at a time need run.executor: processes"
            )
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
            raise RuntimeError("no job is under way")
        job, self._job = self._job, None
        reply = run_job(job.function, json.loads(self._payload), self._on_report)
        return Result(
            job.key,
            reply.get("value"),
            reply.get("reason", ""),
            failure=reply.get("failure", ""),
        )

    def close(self) -> None:
        self._job = None
