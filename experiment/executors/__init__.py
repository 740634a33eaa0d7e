"""Executors, which run the jobs of a run.

The driver is the process that submits jobs. Jobs and results are plain data, so the executors
differ only in where a job runs.
"""

from collections.abc import Callable, Collection

from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.executors.interface import (
    Executor,
    Job,
    NonRetryableError,
    ReportCallback,
    Result,
)
from phinas.experiment.executors.processes import ProcessExecutor
from phinas.experiment.executors.ray_tasks import RayExecutor
from phinas.experiment.executors.retry import RetryingExecutor

__all__ = [
    "EXECUTORS",
    "Executor",
    "Job",
    "NonRetryableError",
    "ReportCallback",
    "Result",
    "make_executor",
]

# `run.executor` is one of these names.
EXECUTORS: dict[str, Callable[[int], Executor]] = {
    "processes": ProcessExecutor,
    "inline": InlineExecutor,
    "ray": RayExecutor,
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
    return RetryingExecutor(
        EXECUTORS[name](max_workers), max_retries=max_retries, retry_on=retry_on
    )
