"""The interface of an executor, and what goes in and out of it."""

import importlib
import inspect
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Protocol

# Called with a step and a value, from a job to its driver; answers whether the job is to go on.
ReportCallback = Callable[[int, float], bool]

FAILURES = {
    "crash": "its process ended",
    "exception": "its function raised an error",
    "timeout": "it was ended at its limit",
    "invalid_result": "invalid return value or report (NonRetryableError); never retried",
}


class NonRetryableError(ValueError):
    """A job's failure that another attempt would only repeat, such as a loss that is not a number.
    Its message is the whole reason."""


@dataclass(frozen=True, slots=True)
class Job:
    """`function` ("package.module:name") is called with the fields of `payload` as keywords and
    returns a dict; both are JSON. `limit_seconds`: after this long it is ended.

    A function with a parameter `report` is given a ReportCallback and returns early where
    that answers False."""

    key: str
    function: str
    payload: dict[str, Any]
    limit_seconds: float = math.inf


@dataclass(frozen=True, slots=True)
class Result:
    """What became of the job `key`: a value, or the reason why there is none. `attempts`: how often
    it was started; `failure`: one of FAILURES, or "" beside a value."""

    key: str
    value: dict[str, Any] | None
    reason: str = ""
    attempts: int = 1
    failure: str = ""


class Executor(Protocol):
    """Runs jobs, `max_workers` at a time. A result comes back for every job submitted, once."""

    max_workers: int

    def submit(self, job: Job, on_report: ReportCallback | None = None) -> None:
        """Start a job. At most `max_workers` may be under way; one more is a RuntimeError.

        `on_report` is called with every report of the job, while its driver waits in `next_result`.
        Without one a report costs nothing and is answered True where the job runs."""

    def next_result(self) -> Result:
        """Wait for a job to end. RuntimeError where none is under way."""

    def close(self) -> None:
        """End all work at once. The executor can't be used again."""


def import_function(function: str) -> Callable[..., Any]:
    """The function that "package.module:name" names. Raises ImportError or AttributeError, saying
    which part failed.
    """
    module, _, name = function.partition(":")
    if not module or not name:
        raise ImportError(f"{function!r} is not of the form package.module:function")
    return getattr(importlib.import_module(module), name)


def accepts_report(function: Callable[..., Any]) -> bool:
    try:
        return "report" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # of a builtin, which has no signature
        return False


def run_job(
    function: str, payload: dict[str, Any], on_report: ReportCallback | None = None
) -> dict[str, Any]:
    """Run a job here and now: its `value`, or the `reason` and the kind of `failure`. The value
    passes through JSON, so that it is the same whichever executor ran it."""
    try:
        return {"value": _call_function(function, payload, on_report)}
    except (Exception, SystemExit) as error:
        return {
            "reason": describe_failure(error),
            "failure": "invalid_result" if isinstance(error, NonRetryableError) else "exception",
        }


def _call_function(
    function: str, payload: dict[str, Any], on_report: ReportCallback | None
) -> dict[str, Any]:
    job_function = import_function(function)
    value = job_function(
        **payload,
        **({"report": _checked_report(on_report)} if accepts_report(job_function) else {}),
    )
    if not isinstance(value, dict):
        raise NonRetryableError(f"{function} returned {type(value).__name__}, not a dict")
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise NonRetryableError(f"{function} returned what is not JSON ({error})") from error


def _checked_report(on_report: ReportCallback | None) -> ReportCallback:
    """A report that takes finite numbers at rising steps, and asks no more once it was told to
    stop.
    """
    last_step, keep_running = 0, True

    def report(step: int, value: float) -> bool:
        nonlocal last_step, keep_running
        if isinstance(step, bool) or not isinstance(step, Integral) or step <= last_step:
            raise NonRetryableError(
                f"reported step {step!r} after step {last_step}; steps are whole numbers that rise "
                "from 1"
            )
        if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
            raise NonRetryableError(f"reported {value!r} at step {step}; report a finite number")
        last_step = int(step)
        keep_running = keep_running and (on_report is None or on_report(last_step, float(value)))
        return keep_running

    return report


def describe_failure(error: BaseException) -> str:
    """One line for a record: the kind of error and its message, without what no terminal or file
    takes.
    """
    text = "".join(
        character if character.isprintable() else "?" for character in " ".join(str(error).split())
    )
    if isinstance(error, NonRetryableError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
