"""Begins a job again that failed in a way that may pass.

One place for all executors: they run a job once and say how it ended.
"""

from collections.abc import Collection
from dataclasses import replace

from phinas.experiment.executors.interface import Executor, Job, Report, Result


class RetryingExecutor:
    """`inner`, with up to `retries` more attempts of a job whose failure is one of `on`."""

    def __init__(self, inner: Executor, *, retries: int, on: Collection[str]) -> None:
        self.slots = inner.slots
        self._inner = inner
        self._retries = retries
        self._on = frozenset(on)
        self._under_way: dict[str, tuple[Job, Report | None, int]] = {}

    def submit(self, job: Job, listener: Report | None = None) -> None:
        self._start(job, listener, attempt=1)

    def next_result(self) -> Result:
        while True:
            result = self._inner.next_result()
            job, listener, attempt = self._under_way.pop(result.key)
            if result.failure in self._on and attempt <= self._retries:
                self._start(job, listener, attempt=attempt + 1)
                continue
            tried = f"; tried {attempt} times" if result.failure and attempt > 1 else ""
            return replace(result, reason=result.reason + tried, attempts=attempt)

    def close(self) -> None:
        self._inner.close()

    def _start(self, job: Job, listener: Report | None, *, attempt: int) -> None:
        self._inner.submit(job, listener)
        self._under_way[job.key] = (job, listener, attempt)
