"""The interface of an executor, and what goes in and out of it."""

import importlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

ATTEMPTS = 3  # of a job whose process dies


@dataclass(frozen=True, slots=True)
class Job:
    """`function` ("package.module:name") is called with the fields of `payload` as keywords and returns a dict; both are
    JSON. `limit_seconds`: after this long it is ended."""

    key: str
    function: str
    payload: dict[str, Any]
    limit_seconds: float = math.inf


@dataclass(frozen=True, slots=True)
class Result:
    """What became of the job `key`: a value, or the reason why there is none. `attempts`: how often it was started."""

    key: str
    value: dict[str, Any] | None
    reason: str = ""
    attempts: int = 1


class Executor(Protocol):
    """Runs jobs, `slots` at a time. A result comes back for every job submitted, once."""

    slots: int

    def submit(self, job: Job) -> None:
        """Start a job. At most `slots` may be under way; one more is a RuntimeError."""

    def next_result(self) -> Result:
        """Wait for a job to end. RuntimeError where none is under way."""

    def close(self) -> None:
        """End all work at once. The executor can't be used again."""


def resolve(function: str) -> Callable[..., dict[str, Any]]:
    """The function that "package.module:name" names. Raises ImportError or AttributeError, saying which part failed."""
    module, _, name = function.partition(":")
    if not module or not name:
        raise ImportError(f"{function!r} is not of the form package.module:function")
    return getattr(importlib.import_module(module), name)


def call(function: str, payload: dict[str, Any]) -> dict[str, Any]:
    """Run a job here and now; its value passes through JSON, so that it is the same whichever executor ran it."""
    value = resolve(function)(**payload)
    if not isinstance(value, dict):
        raise TypeError(f"{function} returned {type(value).__name__}, not a dict")
    return json.loads(json.dumps(value, allow_nan=False))


def describe_failure(error: BaseException) -> str:
    """One line for a record: the kind of error and its message."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
