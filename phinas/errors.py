"""How a call of the command ends: signals, errors and what a person is told about them.

Codes: experiment/errors.py, and 70 for a bug, whose traceback is kept in `crash.log`.
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

from phinas.experiment.errors import DiskError, InputError, Interrupted, PhinasError
from phinas.experiment.fit_dir import FitDir
from phinas.experiment.run_dir import RunDir
from phinas.space.spec import SpecError
from phinas.space.yaml_io import YamlError

_DISK = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
)
_LOST_AFTER_SECONDS = 5.0


def call(cli: click.Command, arguments: list[str]) -> int:
    """Run one command line; returns its exit code instead of leaving the process."""
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = cli.main(args=arguments, prog_name="phinas", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        where = (
            error.ctx.command_path
            if isinstance(error, click.UsageError) and error.ctx
            else "phinas"
        )
        click.echo(f"phinas: {error.format_message()} (see `{where} --help`)", err=True)
        return 2
    except click.Abort:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader of our output has had enough
        return 0
    except Interrupted as error:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if leads():
            click.echo(f"\ninterrupted: {_kept(arguments)}", err=True)
        return error.exit_code
    except Exception as error:
        if "--debug" in arguments:
            traceback.print_exc()
        how = "the same command again" if _verb(arguments) == "fit" else "`phinas resume`"
        known = _failure(error, place=_hint(arguments), remedy=how)
        if known is None:
            click.echo(
                f"phinas: a bug: {type(error).__name__}: {error}\n{_crashed(arguments)}", err=True
            )
            return 70
        click.echo(f"phinas: {known}", err=True)
        return known.exit_code


def _interrupt(number: int, _frame: FrameType | None) -> None:
    """The first signal ends the run in order; the next one at once.

    What is raised here is lost where Python can't raise (in a destructor, say), so an alarm raises
    it again until it is caught.
    """
    for known in (signal.SIGINT, signal.SIGTERM):
        signal.signal(known, lambda again, _: os._exit(128 + again))

    def again(_number: int, _frame: FrameType | None) -> None:
        raise Interrupted(number)

    signal.signal(signal.SIGALRM, again)
    signal.setitimer(signal.ITIMER_REAL, _LOST_AFTER_SECONDS, _LOST_AFTER_SECONDS)
    raise Interrupted(number)


def leads() -> bool:
    """Whether this process speaks: of several that `torchrun` started the first one."""
    return os.environ.get("RANK", "0") == "0"


def _verb(arguments: list[str]) -> str:
    return next((word for word in arguments if not word.startswith("-")), "")


def _kept(arguments: list[str]) -> str:
    """What is left of an interrupted call, and how to carry it on."""
    if _verb(arguments) == "bench":
        return "the runs that had ended are kept; the same command carries on"
    place = _hint(arguments)
    if not place:
        return "nothing was written"
    how = "the same command again" if _verb(arguments) == "fit" else f"phinas resume {place}"
    return f"everything so far is kept; carry on with: {how}"


def _failure(error: Exception, *, place: str, remedy: str) -> PhinasError | None:
    """A known error as one of ours; None for a bug. place: what was worked on; remedy: what carries
    on.
    """
    if isinstance(error, PhinasError):
        return error
    if isinstance(error, SpecError | YamlError):
        return InputError(str(error))
    if isinstance(error, OSError) and error.errno in _DISK:
        where = f"{error.filename or place}: " if error.filename or place else ""
        return DiskError(f"{where}{error.strerror}; free space or permissions, then {remedy}")
    if isinstance(error, RuntimeError) and "home directory" in str(
        error
    ):  # Path.expanduser's, for a ~name
        return InputError(
            "a path begins with ~ and a name that is no user's here; write the path out"
        )
    if isinstance(error, FileNotFoundError):
        return DiskError(f"{error.filename}: is gone; put it back, then {remedy}")
    return None


def _hint(arguments: list[str]) -> str:
    """The run, or fit, that the call named, if there is one."""
    places = [value for flag, value in itertools.pairwise(arguments) if flag == "--out"]
    places += [word.removeprefix("--out=") for word in arguments if word.startswith("--out=")]
    places += [word for word in arguments[1:] if not word.startswith("-")]
    for place in places:
        with contextlib.suppress(RuntimeError):  # a path of nobody's home
            if RunDir(place).exists or FitDir(place).exists:
                return place
    return ""


def _crashed(arguments: list[str]) -> str:
    """Keep the traceback; says where."""
    place = _hint(arguments)
    path = (Path(place).expanduser() if place else Path.cwd()) / "crash.log"
    try:
        path.write_text(traceback.format_exc(), encoding="utf-8")
    except OSError:
        return traceback.format_exc()
    return f"the traceback is in {path}; please report it"
