"""Who runs the jobs. Jobs and results are plain data, so the executors differ in nothing but where
the work happens.
"""

from collections.abc import Callable, Collection

from phinas.experiment.executors.inline import InlineExecutor
from phinas.experiment.executors.interface import Conclusive, Executor, Job, Report, Result
from phinas.experiment.executors.processes import ProcessExecutor
from phinas.experiment.executors.ray_tasks import RayExecutor
from phinas.experiment.executors.retry import RetryingExecutor

__all__ = ["EXECUTORS", "Conclusive", "Executor", "Job", "Report", "Result", "make_executor"]

EXECUTORS: dict[str, Callable[[int], Executor]] = {
    "inline": InlineExecutor,
    "processes": ProcessExecutor,
    "ray": RayExecutor,
}


def make_executor(name: str, slots: int, *, retries: int, on: Collection[str]) -> Executor:
    """The executor of that name, which begins a job that failed in one of the ways `on`
    (interface.FAILURES) again.
    """
    return RetryingExecutor(EXECUTORS[name](slots), retries=retries, on=on)
