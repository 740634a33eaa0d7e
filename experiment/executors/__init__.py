"""Executors, which run the jobs of a run.

The driver is the process that submits jobs. Jobs and results are plain data, so the executors
differ only in where a job runs.
"""

from collections.abc import Callable, Collection

from phinas.experiment.executors.interface import (
    Executor,
    Job,
    NonRetryableError,
    ReportCallback,
    Result,
)

__all__ = [
    "EXECUTORS",
    "Executor",
    "Job",
    "NonRetryableError",
    "ReportCallback",
    "Result",
    "make_executor",
]


def _make_processes(max_workers: int) -> Executor:
    from phinas.experiment.executors.processes import ProcessExecutor

    return ProcessExecutor(max_workers)


def _make_inline(max_workers: int) -> Executor:
    from phinas.experiment.executors.inline import InlineExecutor

    return InlineExecutor(max_workers)


def _make_ray(max_workers: int) -> Executor:
    from phinas.experiment.executors.ray_tasks import RayExecutor

    return RayExecutor(max_workers)


# `run.executor` is one of these names. An executor is imported when it is made, so that help stays
# quick.
EXECUTORS: dict[str, Callable[[int], Executor]] = {
    "processes": _make_processes,
    "inline": _make_inline,
    "ray": _make_ray,
}


def make_executor(
    name: str, max_workers: int, *, max_retries: int, retry_on: Collection[str]
) -> Executor:
    """Create an executor that retries failed jobs.

    Args:
        name: A key of EXECUTORS.
        max_workers: Maximum number of jobs that run at the same time.
        max_retries: Maximum number of retries of one job.
        retry_on: Kinds of failure (keys of `interface.FAILURES`) after which a job is retried.

    Raises:
        InputError: The executor cannot run that many jobs, or its library is not installed.
        StorageError: The Ray cluster does not answer.
    """
    from phinas.experiment.executors.retry import RetryingExecutor

    return RetryingExecutor(
        EXECUTORS[name](max_workers), max_retries=max_retries, retry_on=retry_on
    )
