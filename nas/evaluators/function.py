"""A user's own function as the evaluator: `function(spec, budget, seed)` returns an accuracy or a Measurement.

`spec` is an ArchSpec, `budget` the epochs of the recipe, the accuracy a fraction. It runs in a worker process, so it may
crash or hang without harm to the search.
"""

from typing import Any

from experiment.batch import job_key
from experiment.config import Recipe
from experiment.errors import InputError
from experiment.executors import Job
from experiment.executors.interface import describe_failure, resolve
from experiment.measurement import Measurement
from space.search_space import SearchSpace
from space.spec import ArchSpec


class FunctionEvaluator:
    """name: "package.module:function", importable here and in the workers."""

    instant = False

    def __init__(self, name: str, limit_seconds: float) -> None:
        try:
            function = resolve(name)
        except Exception as error:  # a module of the user's may raise anything while it is imported
            why = describe_failure(error)
            raise InputError(f"search.evaluator: {name!r} can't be imported ({why}); is its folder on PYTHONPATH?") from None
        if not callable(function):
            raise InputError(f"search.evaluator: {name!r} is a {type(function).__name__}, not a function")
        self._name = name
        self._limit_seconds = limit_seconds

    def job(self, spec: ArchSpec, recipe: Recipe, seed: int) -> Job:
        payload = {"function": self._name, "spec": spec.to_dict(), "budget": recipe.epochs, "seed": seed}
        function = "nas.evaluators.function:measure"
        return Job(job_key(function, payload), function, payload, self._limit_seconds)

    def facts(self) -> dict[str, Any]:
        return {}

    def require_space(self, searched: SearchSpace) -> None:
        """What it can't measure fails, trial by trial."""


def measure(*, function: str, spec: dict[str, Any], budget: int, seed: int) -> dict[str, Any]:
    """The job: call the user's function and check what it returns. Raises TypeError or ValueError saying what it gave."""
    answer = resolve(function)(ArchSpec.from_dict(spec), budget, seed)
    if isinstance(answer, Measurement):
        return answer.to_dict()
    if isinstance(answer, bool) or not isinstance(answer, int | float):
        raise TypeError(f"{function} returned {answer!r}; return an accuracy from 0 to 1 or a Measurement")
    return Measurement(accuracy=float(answer), split="function", seed=seed, epochs=budget).to_dict()
