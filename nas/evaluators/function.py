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
from phinas.experiment.executors import Job, NonRetryableError, ReportCallback
from phinas.experiment.executors.interface import accepts_report, describe_failure, import_function
from phinas.experiment.job_list import job_key
from phinas.experiment.measurement import Measurement
from phinas.experiment.schema.config import Recipe
from phinas.space.search_spaces.search_space import SearchSpace
from phinas.space.spec import ArchSpec


class FunctionEvaluator:
    """name: "package.module:function", importable here and in the workers; key: of the
    configuration, for errors.
    """

    runs_inline = False

    def __init__(self, name: str, limit_seconds: float, *, key: str = "search.evaluator") -> None:
        try:
            function = import_function(name)
        except (
            Exception,
            SystemExit,
        ) as error:  # a module of the user's may raise anything while it is imported
            reason = describe_failure(error)
            raise InputError(
                f"{key}: {name!r} can't be imported ({reason}); is its folder on PYTHONPATH?"
            ) from None
        if not callable(function) or isinstance(function, type):
            kind = "a class" if isinstance(function, type) else f"of type {type(function).__name__}"
            raise InputError(
                f"{key}: {name!r} is {kind}; name a function, or an object that can be called"
            )
        if not _has_valid_signature(function):
            raise InputError(
                f"{key}: {name!r} can't be called with (spec, budget, seed); give it these three "
                "parameters"
            )
        self.reports_progress = accepts_report(function)
        self._source_sha256 = _hash_source(function)
        self._name = name
        self._limit_seconds = limit_seconds

    def make_job(self, spec: ArchSpec, recipe: Recipe, seed: int) -> Job:
        payload = {
            "function": self._name,
            "spec": spec.to_dict(),
            "budget": recipe.epochs,
            "seed": seed,
        }
        function = "phinas.nas.evaluators.function:call_function"
        return Job(job_key(function, payload), function, payload, self._limit_seconds)

    def metadata(self) -> dict[str, Any]:
        return {"accuracies": f"what {self._name} returns", "source_sha256": self._source_sha256}

    def require_space(self, space: SearchSpace) -> None:
        """What it can't measure fails, trial by trial."""


def _hash_source(function: Callable[..., Any]) -> str:
    """Of the module's file, so that what an edited one gives is told from what it gave before; ""
    where there is none.
    """
    try:
        return hashlib.sha256(
            Path(inspect.getfile(inspect.unwrap(function))).read_bytes()
        ).hexdigest()
    except (TypeError, OSError):
        return ""


def _has_valid_signature(function: Callable[..., Any]) -> bool:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of a builtin, which has none
        return True
    try:
        signature.bind(
            "spec", "budget", "seed", **({"report": None} if accepts_report(function) else {})
        )
    except TypeError:
        return False
    return True


def call_function(
    *,
    function: str,
    spec: dict[str, Any],
    budget: int,
    seed: int,
    report: ReportCallback = lambda _step, _value: True,
) -> dict[str, Any]:
    """The job: call the user's function and check what it returns. Raises NonRetryableError saying
    what it gave.
    """
    curve: list[float] = []
    stop_step = 0

    def report_accuracy(step: int, value: float) -> bool:
        nonlocal stop_step
        keep_training = report(step, value)
        if not 0 <= value <= 1:
            raise NonRetryableError(
                f"{function} reported {value!r} at step {step}; report an accuracy from 0 to 1"
            )
        curve.append(float(value))
        stop_step = stop_step or (0 if keep_training else step)
        return keep_training

    user_function = import_function(function)
    start_time = time.perf_counter()
    return_value = user_function(
        ArchSpec.from_dict(spec),
        budget,
        seed,
        **({"report": report_accuracy} if accepts_report(user_function) else {}),
    )
    if isinstance(return_value, Measurement):
        return return_value.to_dict()
    if stop_step:
        return_value = curve[-1]  # a function that was stopped may return anything
    if isinstance(return_value, bool) or not isinstance(return_value, Real):
        raise NonRetryableError(
            f"{function} returned {return_value!r}; return an accuracy from 0 to 1 or a Measurement"
        )
    return Measurement(
        accuracy=float(return_value),
        split="function",
        seed=seed,
        epochs=stop_step or budget,
        train_seconds=time.perf_counter() - start_time,
        curve=tuple(curve),
    ).to_dict()
