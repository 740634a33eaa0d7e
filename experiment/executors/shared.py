"""An executor that runs a list of jobs while the jobs of a search wait or run."""

from phinas.experiment.executors.interface import Executor, Job, ReportCallback, Result


class SharedExecutor:
    """The executor of a search, of which another list of jobs may borrow free workers.

    The search stops meanwhile: results of its jobs that arrive are kept until it asks for them. So
    it gets the same results in the same order as without the other list.

    Args:
        executor: Runs all jobs.
    """

    def __init__(self, executor: Executor) -> None:
        self.max_workers = executor.max_workers
        self._executor = executor
        self._running: set[str] = set()
        self._results: list[Result] = []

    def submit(self, job: Job, on_report: ReportCallback | None = None) -> None:
        self._executor.submit(job, on_report)
        self._running.add(job.key)

    def next_result(self) -> Result:
        if self._results:
            return self._results.pop(0)
        result = self._executor.next_result()
        self._running.discard(result.key)
        return result

    def close(self) -> None:
        self._executor.close()

    def borrow(self) -> "BorrowedWorkers":
        """An executor for another list of jobs, with other keys. Let all its jobs end before the
        search continues.
        """
        return BorrowedWorkers(self)

    def keep_result(self) -> Result | None:
        """Wait for the next result, and keep it if it is of the search.

        Returns:
            The result, if it is not of the search.
        """
        result = self._executor.next_result()
        if result.key not in self._running:
            return result
        self._running.discard(result.key)
        self._results.append(result)
        return None

    def submit_borrowed(self, job: Job, on_report: ReportCallback | None) -> None:
        """Start a job that is not of the search."""
        self._executor.submit(job, on_report)

    @property
    def num_running(self) -> int:
        """The number of running jobs of the search."""
        return len(self._running)


class BorrowedWorkers:
    """Runs jobs on the workers that the search leaves free.

    Args:
        owner: The executor of the search.
    """

    def __init__(self, owner: SharedExecutor) -> None:
        self.max_workers = owner.max_workers
        self._owner = owner
        self._num_running = 0
        self._results: list[Result] = []

    def submit(self, job: Job, on_report: ReportCallback | None = None) -> None:
        """Start a job, after waiting for a free worker."""
        while self._num_running + self._owner.num_running >= self.max_workers:
            self._receive()
        self._owner.submit_borrowed(job, on_report)
        self._num_running += 1

    def next_result(self) -> Result:
        while not self._results:
            if not self._num_running:
                raise RuntimeError("no job is running")
            self._receive()
        return self._results.pop(0)

    def close(self) -> None:
        """Nothing to stop: the search owns the workers."""

    def _receive(self) -> None:
        result = self._owner.keep_result()
        if result is not None:
            self._num_running -= 1
            self._results.append(result)
