"""Who runs the jobs. Jobs and results are plain data, so the executors differ in nothing but where
the work happens.
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

EXECUTORS: dict[str, Callable[[int], Executor]] = {
    "inline": InlineExecutor,
    "processes": ProcessExecutor,
    "ray": RayExecutor,
}


def make_executor(
    name: str, max_workers: int, *, max_retries: int, retry_on: Collection[str]
) -> Executor:
    """The executor of that name, which begins a job that failed in one of the ways `retry_on`
    (interface.FAILURES) again.
    """
    return RetryingExecutor(
        EXECUTORS[name](max_workers), max_retries=max_retries, retry_on=retry_on
    )
