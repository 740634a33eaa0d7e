"""Signals, error messages and exit codes of the command line.

The exit codes are in experiment/errors.py. An error in phinas itself has exit code 70, and its
traceback is written to `crash.log`.
"""

import contextlib
import errno
import os
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType

import click

from phinas.experiment.errors import DiskError, InputError, PhinasError, SignalInterrupt
from phinas.experiment.schema.config import Config
from phinas.experiment.schema.option_info import join_words, list_options
from phinas.options.command import CommandState
from phinas.options.config_option import ConfigOption
from phinas.options.key_names import flag_keys, names_in_errors, write_names
from phinas.space.closest_name import closest_name
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
# The functions that write to standard output: click's, and the flush at the end of a command.
_PRINTERS = ("echo", "run_command")


def run_command(cli: click.Command, arguments: list[str]) -> int:
    """Run a command and print its errors.

    Args:
        cli: The click command.
        arguments: The command line without the program's name.

    Returns:
        The exit code.
    """
    signal.signal(signal.SIGINT, _raise_interrupted)
    signal.signal(signal.SIGTERM, _raise_interrupted)
    state = CommandState()
    try:
        code = cli.main(args=arguments, prog_name="phinas", standalone_mode=False, obj=state)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # since click 8.2
            _print_error(error.format_message())
        else:
            _print_error(f"phinas: {_describe_usage_error(error)}")
        return 2
    except click.Abort:
        return 130
    except BrokenPipeError:
        # The program that reads standard output has closed it, as `head` does.
        _discard_output()
        return 0
    except SignalInterrupt as error:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if is_rank_zero():
            _print_error(f"\ninterrupted: {_resume_message(state)}")
        return error.exit_code
    except Exception as error:
        return _report_error(error, state)
    finally:
        # The command may end before the alarm, which would then kill the ending process.
        signal.setitimer(signal.ITIMER_REAL, 0)


def _print_error(text: str) -> None:
    """Print a message, unless standard error cannot be written either. The exit code remains."""
    with contextlib.suppress(OSError):
        click.echo(text, err=True)


def _discard_output() -> None:
    """Discard what is still buffered for standard output, which Python writes when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _report_error(error: Exception, state: CommandState) -> int:
    """Print an error that ended a command, and return its exit code."""
    if state.debug:
        traceback.print_exc()
    phinas_error = _as_phinas_error(error, state)
    if phinas_error is None:
        _print_error(
            f"phinas: internal error: {type(error).__name__}: {error}\n{_write_crash_log(state)}"
        )
        return 70
    _print_error(f"phinas: {_message_with_options(phinas_error, state)}")
    return phinas_error.exit_code


def _message_with_options(error: PhinasError, state: CommandState) -> str:
    """The message of an error, with options in place of configuration keys."""
    context = state.context
    settings = context.params.get("settings") or () if context is not None else ()
    keys = [setting.partition("=")[0].strip() for setting in settings]
    return write_names(str(error), names_in_errors(context, keys), flags=flag_keys(context))


def _describe_usage_error(error: click.ClickException) -> str:
    """Describe a wrong command line like a wrong configuration: what, why, and what to do."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    help_command = f"`{context.command_path if context else 'phinas'} --help`"
    if isinstance(error, click.NoSuchOption):
        return f"{error.option_name}: {_describe_unknown_option(error.option_name, context)}"
    if isinstance(error, click.MissingParameter) and error.param is not None:
        return (
            f"{_parameter_name(error.param)}: is missing{_advice(error.param)} (see {help_command})"
        )
    if isinstance(error, click.BadParameter) and error.param is not None:
        return f"{_parameter_name(error.param)}: {error.message}"
    return f"{error.format_message()} (see {help_command})"


def _describe_unknown_option(name: str, context: click.Context | None) -> str:
    path = context.command_path if context else "phinas"
    if context is not None and name in _flags(context.find_root()):
        program, _, command = path.partition(" ")
        return f"this option precedes the command; write `{program} {name} {command}`"
    # Without dashes, which all options have in common.
    flags = {flag.lstrip("-"): flag for flag in _flags(context)}
    keys = _keys_without_option(name, context)
    if keys:
        return f"unknown option; write {join_words([f'--set {key}=VALUE' for key in keys])}"
    closest = closest_name(name.lstrip("-"), flags)
    hint = f"did you mean {flags[closest]}?" if closest else f"see `{path} --help`"
    return f"unknown option; {hint}"


def _keys_without_option(name: str, context: click.Context | None) -> list[str]:
    """The keys of a run that are called like an unknown option, such as run.executor."""
    options = (
        [param for param in context.command.params if isinstance(param, ConfigOption)]
        if context
        else []
    )
    is_of_fit = any(option.key == "seed" for option in options)
    if "--set" not in _flags(context) or is_of_fit:
        return []
    word = name.lstrip("-").replace("-", "_")
    return [key for key in list_options(Config) if key.rpartition(".")[2] == word and "." in key]


def _flags(context: click.Context | None) -> list[str]:
    params = context.command.get_params(context) if context else []
    return [flag for param in params if isinstance(param, click.Option) for flag in param.opts]


def _advice(param: click.Parameter) -> str:
    """The end of the message that a parameter is missing."""
    if isinstance(param, ConfigOption):
        return f"; use {param.legal_values}"
    return f"; add {param.opts[0]} {param.metavar}" if isinstance(param, click.Option) else ""


def _parameter_name(param: click.Parameter) -> str:
    """The name of an option or argument as in the usage line."""
    return param.opts[0] if isinstance(param, click.Option) else param.human_readable_name


def _raise_interrupted(number: int, _frame: FrameType | None) -> None:
    """Raise SignalInterrupt for the first signal, and let the next one exit at once.

    Python ignores an exception that is raised in a destructor, and a library may catch it. So an
    alarm raises it again every `_RERAISE_SECONDS` until `run_command` catches it.
    """
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda second_signal, _: os._exit(128 + second_signal))

    def reraise(_number: int, _frame: FrameType | None) -> None:
        raise SignalInterrupt(number)

    # What an ignored interrupt would print is a traceback, and it is raised again anyway.
    sys.unraisablehook = _skip_interrupts
    signal.signal(signal.SIGALRM, reraise)
    signal.setitimer(signal.ITIMER_REAL, _RERAISE_SECONDS, _RERAISE_SECONDS)
    raise SignalInterrupt(number)


def _skip_interrupts(unraisable: "sys.UnraisableHookArgs") -> None:
    if not isinstance(unraisable.exc_value, SignalInterrupt):
        sys.__unraisablehook__(unraisable)


def is_rank_zero() -> bool:
    """Whether this is the process that prints, which is rank 0 of `torchrun` or the only one."""
    return os.environ.get("RANK", "0") == "0"


def _resume_message(state: CommandState) -> str:
    """Say what an interrupted command has saved and how to resume it."""
    if state.interrupt_message:
        return state.interrupt_message
    if not state.directory:
        return "nothing was written"
    return f"everything so far is saved; to resume, run {state.resume_command}"


def _as_phinas_error(error: Exception, state: CommandState) -> PhinasError | None:
    """Convert `error` to a PhinasError. Returns None for an error in phinas itself."""
    if isinstance(error, PhinasError):
        return error
    if isinstance(error, SpecError | YamlError):
        return InputError(str(error))
    if isinstance(error, OSError) and error.filename is None and _raised_by(error) in _PRINTERS:
        _discard_output()
        return DiskError(
            f"standard output: {error.strerror}; the result could not be printed; redirect it to a "
            "file that can be written, and run the same command again"
        )
    if isinstance(error, OSError) and error.errno in _DISK_ERRNOS:
        path = error.filename or state.directory
        return DiskError(
            f"{f'{path}: ' if path else ''}{error.strerror}; free space or correct the "
            f"permissions, then run {state.resume_command}"
        )
    if isinstance(error, IsADirectoryError | NotADirectoryError):
        path = error.filename2 or error.filename
        return DiskError(
            f"{path}: {error.strerror}; rename or remove it, then run {state.resume_command}"
        )
    if isinstance(error, RuntimeError) and _raised_by(error) == "expanduser":
        return InputError(
            "the path begins with ~ and an unknown user name; write the full path instead"
        )
    if isinstance(error, FileNotFoundError) and error.filename is None:
        return DiskError(
            "the current directory was removed; change to another one, then run "
            f"{state.resume_command}"
        )
    if isinstance(error, FileNotFoundError):
        return DiskError(
            f"{error.filename}: does not exist; restore it, then run {state.resume_command}"
        )
    return None


def _raised_by(error: Exception) -> str:
    """The name of the function that raised `error`."""
    frames = traceback.extract_tb(error.__traceback__)
    return frames[-1].name if frames else ""


def _write_crash_log(state: CommandState) -> str:
    """Write the traceback to `crash.log`.

    Returns:
        A sentence that names the file, or the traceback where the file cannot be written.
    """
    directory = state.directory
    try:
        path = (Path(directory).expanduser() if directory else Path.cwd()) / "crash.log"
        path.write_text(traceback.format_exc(), encoding="utf-8")
    except OSError:
        return traceback.format_exc()
    return f"the traceback is in {path}; please report it"
