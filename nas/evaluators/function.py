"""A user's own function as the evaluator: `function(spec, budget, seed)` returns an accuracy or a
Measurement.

`spec` is an ArchSpec, `budget` the epochs of the recipe, the accuracy a fraction. It runs in a
worker process, so it may crash or hang without harm to the search.

One with a fourth parameter of the name `report` can be pruned (search.pruner):

    def evaluate(spec, budget, seed, report):
        for epoch in range(1, budget + 1):
            accuracy = ...
            if not report(epoch, accuracy):
                break
        return accuracy
"""

import hashlib
import inspect
import time
from collections.abc import Callable
from numbers import Real
from pathlib import Path
from typing import Any

from phinas.experiment.errors import InputError
from phinas.experiment.executors import Conclusive, Job, Report
from phinas.experiment.executors.interface import describe_failure, resolve, takes_report
from phinas.experiment.job_list import job_key
from phinas.experiment.measurement import Measurement
from phinas.experiment.schema.config import Recipe
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.space.spec import ArchSpec


class FunctionEvaluator:
    """name: "package.module:function", importable here and in the workers; key: of the
    configuration, for errors.
    """

    instant = False

    def __init__(self, name: str, limit_seconds: float, *, key: str = "search.evaluator") -> None:
        try:
            function = resolve(name)
        except (
            Exception,
            SystemExit,
        ) as error:  # a module of the user's may raise anything while it is imported
            why = describe_failure(error)
            raise InputError(
                f"{key}: {name!r} can't be imported ({why}); is its folder on PYTHONPATH?"
            ) from None
        if not callable(function) or isinstance(function, type):
            what = "a class" if isinstance(function, type) else f"of type {type(function).__name__}"
            raise InputError(
                f"{key}: {name!r} is {what}; name a function, or an object that can be called"
            )
        if not _takes_what_it_is_given(function):
            raise InputError(
                f"{key}: {name!r} can't be called with (spec, budget, seed); give it these three "
                "parameters"
            )
        self.reports = takes_report(function)
        self._source = _hash_of_source(function)
        self._name = name
        self._limit_seconds = limit_seconds

    def job(self, spec: ArchSpec, recipe: Recipe, seed: int) -> Job:
        payload = {
            "function": self._name,
            "spec": spec.to_dict(),
            "budget": recipe.epochs,
            "seed": seed,
        }
        function = "phinas.nas.evaluators.function:measure"
        return Job(job_key(function, payload), function, payload, self._limit_seconds)

    def facts(self) -> dict[str, Any]:
        return {"accuracies": f"what {self._name} returns", "source_sha256": self._source}

    def require_space(self, searched: SearchSpace) -> None:
        """What it can't measure fails, trial by trial."""


def _hash_of_source(function: Callable[..., Any]) -> str:
    """Of the module's file, so that what an edited one gives is told from what it gave before; ""
    where there is none.
    """
    try:
        return hashlib.sha256(
            Path(inspect.getfile(inspect.unwrap(function))).read_bytes()
        ).hexdigest()
    except (TypeError, OSError):
        return ""


def _takes_what_it_is_given(function: Callable[..., Any]) -> bool:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of a builtin, which has none
        return True
    try:
        signature.bind(
            "spec", "budget", "seed", **({"report": None} if takes_report(function) else {})
        )
    except TypeError:
        return False
    return True


def measure(
    *,
    function: str,
    spec: dict[str, Any],
    budget: int,
    seed: int,
    report: Report = lambda _step, _value: True,
) -> dict[str, Any]:
    """The job: call the user's function and check what it returns. Raises Conclusive saying what it
    gave.
    """
    curve: list[float] = []
    stopped_at = 0

    def report_accuracy(step: int, value: float) -> bool:
        nonlocal stopped_at
        going_on = report(step, value)
        if not 0 <= value <= 1:
            raise Conclusive(
                f"{function} reported {value!r} at step {step}; report an accuracy from 0 to 1"
            )
        curve.append(float(value))
        stopped_at = stopped_at or (0 if going_on else step)
        return going_on

    called = resolve(function)
    began = time.perf_counter()
    answer = called(
        ArchSpec.from_dict(spec),
        budget,
        seed,
        **({"report": report_accuracy} if takes_report(called) else {}),
    )
    if isinstance(answer, Measurement):
        return answer.to_dict()
    if stopped_at:
        answer = curve[-1]  # a function that was stopped may return anything
    if isinstance(answer, bool) or not isinstance(answer, Real):
        raise Conclusive(
            f"{function} returned {answer!r}; return an accuracy from 0 to 1 or a Measurement"
        )
    return Measurement(
        accuracy=float(answer),
        split="function",
        seed=seed,
        epochs=stopped_at or budget,
        train_seconds=time.perf_counter() - began,
        curve=tuple(curve),
    ).to_dict()
