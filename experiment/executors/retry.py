"""Executor that retries failed jobs.

The other executors run each job once and return how it ended, so retries are implemented only here.
"""

from collections.abc import Collection
from dataclasses import replace

from phinas.experiment.executors.interface import Executor, Job, ReportCallback, Result


class RetryingExecutor:
    """Retries a job up to `max_retries` times if its failure is one of `retry_on`."""

    def __init__(self, executor: Executor, *, max_retries: int, retry_on: Collection[str]) -> None:
        self.max_workers = executor.max_workers
        self._executor = executor
        self._max_retries = max_retries
        self._retry_on = frozenset(retry_on)
        self._running: dict[str, tuple[Job, ReportCallback | None, int]] = {}

    def submit(self, job: Job, on_report: ReportCallback | None = None) -> None:
        self._submit_attempt(job, on_report, attempt=1)

    def next_result(self) -> Result:
        while True:
            result = self._executor.next_result()
            job, on_report, attempt = self._running.pop(result.key)
            if result.failure in self._retry_on and attempt <= self._max_retries:
                self._submit_attempt(job, on_report, attempt=attempt + 1)
                continue
            attempts_note = f"; tried {attempt} times" if result.failure and attempt > 1 else ""
            return replace(result, reason=result.reason + attempts_note, attempts=attempt)

    def close(self) -> None:
        self._executor.close()

    def _submit_attempt(self, job: Job, on_report: ReportCallback | None, *, attempt: int) -> None:
        self._executor.submit(job, on_report)
        self._running[job.key] = (job, on_report, attempt)
