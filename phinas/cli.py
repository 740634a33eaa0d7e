"""The command line: commands parse, call and print; heavy libraries are imported inside them.

Results go to standard output, everything else to standard error. Exit codes: experiment/errors.py.
"""

import contextlib
import os
import sys
import warnings
from pathlib import Path

import click

from phinas.commands.audit import audit
from phinas.commands.bench import bench
from phinas.commands.choose import choose
from phinas.commands.describe import describe
from phinas.commands.doctor import doctor
from phinas.commands.export import export
from phinas.commands.fit import fit
from phinas.commands.latency import latency
from phinas.commands.list_names import list_names
from phinas.commands.plan import plan
from phinas.commands.predict import predict
from phinas.commands.report import report
from phinas.commands.resume import resume
from phinas.commands.run import run
from phinas.commands.scale import scale
from phinas.commands.search import search
from phinas.commands.status import status
from phinas.commands.validate import validate
from phinas.errors import run_command
from phinas.experiment.cpu_threads import openmp_environment
from phinas.options.command import CommandState
from phinas.options.command_group import CommandGroup

_COMMANDS = (
    run,
    search,
    scale,
    validate,
    report,
    status,
    choose,
    resume,
    plan,
    audit,
    describe,
    export,
    fit,
    predict,
    latency,
    bench,
    list_names,
    doctor,
)


@click.group(
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="phinas")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@click.pass_context
def cli(context: click.Context, /, *, debug: bool, **_options: bool) -> None:
    """Find a small convolutional network for your images, and how to scale it.

    phinas run --data photos/ --out runs/photos does everything in one call. phinas COMMAND --help
    explains a command. For completion with the Tab key, add this to ~/.bashrc (with zsh_source to
    ~/.zshrc):

    \b
    eval "$(_PHINAS_COMPLETE=bash_source phinas)"
    """
    context.ensure_object(CommandState).debug = debug


for _command in _COMMANDS:
    cli.add_command(_command)


def _replace_closed_streams() -> None:
    """Open a file in place of a stream that the caller has closed (`>&-`).

    Without it, the next opened file would get the number of the stream. Standard output cannot be
    written then either, so that a result that is lost is an error. Messages are discarded.
    """
    modes = {"stdin": ("r", os.O_RDWR), "stdout": ("w", os.O_RDONLY), "stderr": ("w", os.O_RDWR)}
    for name, (mode, flags) in modes.items():
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, flags), mode))


def main(arguments: list[str] | None = None) -> None:
    """The `phinas` command: exits with the code of experiment/errors.py."""
    _replace_closed_streams()
    warnings.formatwarning = lambda message, *_location, **_line: f"phinas: warning: {message}\n"
    # A user's own evaluator is imported from the current directory, which may have been removed.
    with contextlib.suppress(FileNotFoundError):
        sys.path.append(str(Path.cwd()))
    os.environ.update(openmp_environment(os.environ))
    sys.exit(run_command(cli, sys.argv[1:] if arguments is None else arguments))
