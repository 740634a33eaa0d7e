"""Exit of the command line: signals, errors, their messages and exit codes.

Codes: experiment/errors.py, and 70 for a bug, whose traceback is written to `crash.log`.
"""

import contextlib
import errno
import itertools
import os
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType

import click

from phinas.experiment.errors import DiskError, InputError, PhinasError, SignalInterrupt
from phinas.experiment.fit_dir import FitDir
from phinas.experiment.run_dir import RunDir
from phinas.space.spec import SpecError
from phinas.space.yaml_io import YamlError

_DISK_ERRNOS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
)
_RERAISE_SECONDS = 5.0


def run_command(cli: click.Command, arguments: list[str]) -> int:
    """Run one command line; returns its exit code instead of leaving the process."""
    signal.signal(signal.SIGINT, _raise_interrupted)
    signal.signal(signal.SIGTERM, _raise_interrupted)
    try:
        code = cli.main(args=arguments, prog_name="phinas", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        command_path = (
            error.ctx.command_path
            if isinstance(error, click.UsageError) and error.ctx
            else "phinas"
        )
        click.echo(f"phinas: {error.format_message()} (see `{command_path} --help`)", err=True)
        return 2
    except click.Abort:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader of our output has had enough
        return 0
    except SignalInterrupt as error:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if is_rank_zero():
            click.echo(f"\ninterrupted: {_resume_message(arguments)}", err=True)
        return error.exit_code
    except Exception as error:
        if "--debug" in arguments:
            traceback.print_exc()
        resume_command = (
            "the same command again" if _command_name(arguments) == "fit" else "`phinas resume`"
        )
        phinas_error = _as_phinas_error(
            error, directory=_find_directory(arguments), resume_command=resume_command
        )
        if phinas_error is None:
            click.echo(
                f"phinas: a bug: {type(error).__name__}: {error}\n{_write_crash_log(arguments)}",
                err=True,
            )
            return 70
        click.echo(f"phinas: {phinas_error}", err=True)
        return phinas_error.exit_code


def _raise_interrupted(number: int, _frame: FrameType | None) -> None:
    """The first signal ends the run in order; the next one at once.

    What is raised here is lost where Python can't raise (in a destructor, say), so an alarm raises
    it again until it is caught.
    """
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda second_signal, _: os._exit(128 + second_signal))

    def reraise(_number: int, _frame: FrameType | None) -> None:
        raise SignalInterrupt(number)

    signal.signal(signal.SIGALRM, reraise)
    signal.setitimer(signal.ITIMER_REAL, _RERAISE_SECONDS, _RERAISE_SECONDS)
    raise SignalInterrupt(number)


def is_rank_zero() -> bool:
    """Whether this process prints: the first of those that `torchrun` started."""
    return os.environ.get("RANK", "0") == "0"


def _command_name(arguments: list[str]) -> str:
    return next((word for word in arguments if not word.startswith("-")), "")


def _resume_message(arguments: list[str]) -> str:
    """What an interrupted command has saved, and how to resume it."""
    if _command_name(arguments) == "bench":
        return "the runs that had ended are kept; the same command carries on"
    directory = _find_directory(arguments)
    if not directory:
        return "nothing was written"
    resume_command = (
        "the same command again"
        if _command_name(arguments) == "fit"
        else f"phinas resume {directory}"
    )
    return f"everything so far is kept; carry on with: {resume_command}"


def _as_phinas_error(
    error: Exception, *, directory: str, resume_command: str
) -> PhinasError | None:
    """The PhinasError that describes `error`, or None for a bug.

    Args:
        directory: The run or fit directory that the command named, or "".
        resume_command: What to call once the cause is gone.
    """
    if isinstance(error, PhinasError):
        return error
    if isinstance(error, SpecError | YamlError):
        return InputError(str(error))
    if isinstance(error, OSError) and error.errno in _DISK_ERRNOS:
        prefix = f"{error.filename or directory}: " if error.filename or directory else ""
        return DiskError(
            f"{prefix}{error.strerror}; free space or permissions, then {resume_command}"
        )
    # Path.expanduser's, for a ~name
    if isinstance(error, RuntimeError) and "home directory" in str(error):
        return InputError(
            "a path begins with ~ and a name that is no user's here; write the path out"
        )
    if isinstance(error, FileNotFoundError):
        return DiskError(f"{error.filename}: is gone; put it back, then {resume_command}")
    return None


def _find_directory(arguments: list[str]) -> str:
    """The run or fit directory that the command named, or ""."""
    candidates = [value for flag, value in itertools.pairwise(arguments) if flag == "--out"]
    candidates += [word.removeprefix("--out=") for word in arguments if word.startswith("--out=")]
    candidates += [word for word in arguments[1:] if not word.startswith("-")]
    for directory in candidates:
        with contextlib.suppress(RuntimeError):  # expanduser's, for an unknown ~name
            if RunDir(directory).exists or FitDir(directory).exists:
                return directory
    return ""


def _write_crash_log(arguments: list[str]) -> str:
    """Write the traceback to a file; returns the sentence that says where."""
    directory = _find_directory(arguments)
    path = (Path(directory).expanduser() if directory else Path.cwd()) / "crash.log"
    try:
        path.write_text(traceback.format_exc(), encoding="utf-8")
    except OSError:
        return traceback.format_exc()
    return f"the traceback is in {path}; please report it"
