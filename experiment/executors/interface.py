"""Interface of executors, and the jobs, reports and results that pass through it."""

import errno
import importlib
import inspect
import json
import math
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Protocol, Self

from phinas.experiment.errors import StorageError
from phinas.experiment.executors.job_files import NO_FILES, JobFile, JobFiles
from phinas.experiment.versions import version

_MAX_TRACEBACK = 4000  # characters

# A job calls it with a step and a value. It returns whether the job should continue.
ReportCallback = Callable[[int, float], bool]

# The kinds of failure of a job.
FAILURES = {
    "crash": "its process ended",
    "exception": "its function raised an error",
    "timeout": "it exceeded its time limit",
    "invalid_result": "its return value or a report was invalid; never retried",
    "disk_error": "the disk was full, read-only or failing; never retried",
}
_DISK_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE)


class NonRetryableError(ValueError):
    """A failure that another attempt would only repeat, such as a loss that is not finite.

    The message becomes the reason in the result, without the name of this class.
    """


@dataclass(frozen=True, slots=True)
class Job:
    """A call of a function with plain data.

    Attributes:
        key: Identifies the job in its result.
        function: "package.module:name". The function returns a dict that is valid JSON. If it has a
            parameter `report`, it gets a ReportCallback and should return early when that returns
            False. If it has a parameter `files`, it gets its JobFiles.
        payload: The keyword arguments of the function, which are valid JSON.
        limit_seconds: The job is stopped after this time. Infinity means no limit.
        files: The files that the job needs, by name.
        output_folder: The folder of the driver that gets the files that the job writes. "" if it
            writes none. No other running job has the same one.
        training_key: The key of the training that the job is a part of, if the training may be
            paused with a state. "" otherwise. The function of the job then has a parameter
            `paused_state`, the data of a `PausedState` or None.
        stop_epoch: The epoch after which the training pauses. None if it does not.
    """

    key: str
    function: str
    payload: dict[str, Any]
    limit_seconds: float = math.inf
    files: Mapping[str, JobFile] = field(default_factory=dict)
    output_folder: str = ""
    training_key: str = ""
    stop_epoch: int | None = None

    def open_files(self) -> JobFiles:
        """The files of the job on the driver's machine."""
        return JobFiles(self.files, Path(self.output_folder) if self.output_folder else None)


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a job.

    Attributes:
        key: The key of the job.
        value: What the function returned, or None after a failure.
        reason: Why the job failed, or "".
        attempts: How many times the job was started.
        failure: The kind of failure (a key of FAILURES), or "" where there is a value.
        traceback: The last part of the traceback of an unexpected error, or "".
        files: The files that the job has written to its output folder, by name.
    """

    key: str
    value: dict[str, Any] | None
    reason: str = ""
    attempts: int = 1
    failure: str = ""
    traceback: str = field(default="", compare=False, repr=False)
    files: Mapping[str, JobFile] = field(default_factory=dict)

    @classmethod
    def from_reply(cls, job: Job, reply: Mapping[str, Any]) -> Self:
        """The result of a job from the reply of `run_job`."""
        folder = Path(job.output_folder)
        return cls(
            job.key,
            reply.get("value"),
            reply.get("reason", ""),
            failure=reply.get("failure", ""),
            traceback=reply.get("traceback", ""),
            files={
                name: JobFile(str(folder / name), sha256)
                for name, sha256 in reply.get("files", {}).items()
            },
        )


class Executor(Protocol):
    """Runs up to `max_workers` jobs at the same time and returns one result for each job."""

    max_workers: int

    def submit(self, job: Job, on_report: ReportCallback | None = None) -> None:
        """Start a job.

        Args:
            job: The job.
            on_report: Called with each report of the job, during `next_result`. Without it, a
                report returns True in the process of the job and is not sent to the driver.

        Raises:
            RuntimeError: `max_workers` jobs are running already.
            TypeError: The payload is not valid JSON.
            ValueError: The payload is not valid JSON.
        """

    def next_result(self) -> Result:
        """Wait until a job ends, and return its result.

        Raises:
            RuntimeError: No job is running.
            StorageError: A worker runs another version of phinas, or the Ray cluster was lost.
        """

    def close(self) -> None:
        """Stop all jobs. The executor cannot be used again."""


def import_function(function: str) -> Callable[..., Any]:
    """Import the function that "package.module:name" names.

    Raises:
        ImportError: The name has another form, or the module cannot be imported.
        AttributeError: The module has no such function.
    """
    module, _, name = function.partition(":")
    if not module or not name:
        raise ImportError(f"{function!r} is not of the form package.module:function")
    return getattr(importlib.import_module(module), name)


def accepts_parameter(function: Callable[..., Any], name: str) -> bool:
    """Whether the function has a parameter of this name."""
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):  # a builtin may have no signature
        return False


def run_job(
    function: str,
    payload: dict[str, Any],
    on_report: ReportCallback | None = None,
    files: JobFiles = NO_FILES,
) -> dict[str, Any]:
    """Run a job in this process.

    The value is converted to JSON and back, so that it is the same under every executor.

    Args:
        function: The function of the job.
        payload: Its keyword arguments.
        on_report: Called with each report.
        files: The files of the job. They are closed at the end.

    Returns:
        {"value": ..., "files": SHA-256 of the written files by name}, or
        {"reason": ..., "failure": ..., "traceback": ...} after a failure.
    """
    try:
        value = _call_function(function, payload, on_report, files)
        return {"value": value, "files": files.hash_outputs()}
    except (Exception, SystemExit) as error:
        return _failure_reply(error)
    finally:
        files.close()


def run_job_in_worker(
    function: str,
    payload: dict[str, Any],
    on_report: ReportCallback | None = None,
    files: JobFiles = NO_FILES,
) -> dict[str, Any]:
    """Like `run_job`, for a process that no Ctrl-C of the user reaches. A KeyboardInterrupt is then
    an error of the function, too.
    """
    try:
        return run_job(function, payload, on_report, files)
    except KeyboardInterrupt as error:
        return _failure_reply(error)


def _call_function(
    function: str, payload: dict[str, Any], on_report: ReportCallback | None, files: JobFiles
) -> dict[str, Any]:
    job_function = import_function(function)
    options = {"report": _checked_report(on_report), "files": files}
    value = job_function(
        **payload,
        **{
            name: option
            for name, option in options.items()
            if accepts_parameter(job_function, name)
        },
    )
    if not isinstance(value, dict):
        raise NonRetryableError(f"{function} returned {type(value).__name__}, not a dict")
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise NonRetryableError(
            f"{function} returned a value that is not valid JSON ({error})"
        ) from error


def _checked_report(on_report: ReportCallback | None) -> ReportCallback:
    """Wrap `on_report`: check each report, and do not call it again once it has returned False."""
    last_step, keep_running = 0, True

    def report(step: int, value: float) -> bool:
        nonlocal last_step, keep_running
        if isinstance(step, bool) or not isinstance(step, Integral) or step <= last_step:
            raise NonRetryableError(
                f"reported step {step!r} after step {last_step}; steps must be increasing integers "
                "from 1"
            )
        if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
            raise NonRetryableError(f"reported {value!r} at step {step}; report a finite number")
        last_step = int(step)
        keep_running = keep_running and (on_report is None or on_report(last_step, float(value)))
        return keep_running

    return report


def classify_failure(error: BaseException) -> str:
    """The kind of failure (a key of FAILURES) for an exception of a job.

    Libraries wrap an OSError in other exceptions, so the causes are searched for one too.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _DISK_ERRNOS:
            return "disk_error"
        cause = cause.__cause__ or cause.__context__
    return "invalid_result" if isinstance(error, NonRetryableError) else "exception"


def _failure_reply(error: BaseException) -> dict[str, Any]:
    failure = classify_failure(error)
    return {
        "reason": describe_failure(error),
        "failure": failure,
        "traceback": _format_traceback(error) if failure == "exception" else "",
    }


def _format_traceback(error: BaseException) -> str:
    """The last part of a traceback, without the frames of this module."""
    try:
        frames = error.__traceback__
        while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
            frames = frames.tb_next
        lines = traceback.format_exception(type(error), error, frames or error.__traceback__)
        return "".join(lines).rstrip()[-_MAX_TRACEBACK:]
    except Exception:  # a user's exception class may be wrong itself
        return ""


def describe_failure(error: BaseException) -> str:
    """The type and message of an exception in one line.

    Unprintable characters are replaced by "?". A NonRetryableError is its message alone.
    """
    try:
        words = str(error).split()
    except Exception:  # a user's exception class may be wrong itself
        words = []
    text = "".join(character if character.isprintable() else "?" for character in " ".join(words))
    if isinstance(error, NonRetryableError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def version_mismatch(worker_version: str) -> StorageError:
    """The error for a worker that runs another version of phinas than the driver."""
    return StorageError(
        f"a worker runs phinas {worker_version} but the driver runs phinas {version()}; install "
        "the same version for both"
    )
