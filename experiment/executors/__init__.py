"""Who runs the jobs. Jobs and results are plain data, so the executors differ in nothing but where the work happens."""

from collections.abc import Callable

from experiment.executors.inline import InlineExecutor
from experiment.executors.interface import Executor, Job, Result
from experiment.executors.processes import ProcessExecutor
from experiment.executors.ray_tasks import RayExecutor

__all__ = ["EXECUTORS", "Executor", "Job", "Result"]

EXECUTORS: dict[str, Callable[[int], Executor]] = {
    "inline": InlineExecutor,
    "processes": ProcessExecutor,
    "ray": RayExecutor,
}
