"""Executor that stops a run whose files are gone.

Without it, every job that needs a missing file would be recorded as a failure of its network.
"""

from collections.abc import Callable

from phinas.experiment.executors.interface import Executor, Job, ReportCallback, Result


class CheckedExecutor:
    """Checks the files of a run before each job, and after each job that failed.

    Args:
        executor: Runs the jobs.
        check: Raises DiskError if a file that the jobs need is gone. The failed job is then not
            returned, so its trial stays unfinished and a resumed run starts it again.
    """

    def __init__(self, executor: Executor, check: Callable[[], None]) -> None:
        self.max_workers = executor.max_workers
        self._executor, self._check = executor, check

    def submit(self, job: Job, on_report: ReportCallback | None = None) -> None:
        self._check()
        self._executor.submit(job, on_report)

    def next_result(self) -> Result:
        result = self._executor.next_result()
        if result.failure:
            self._check()
        return result

    def close(self) -> None:
        self._executor.close()
