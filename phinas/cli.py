"""The command line. Commands parse, call and print; heavy libraries are imported inside them.

Results go to standard output, everything else to standard error. Exit codes: experiment/errors.py.
"""

import sys
import warnings
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from phinas.commands.bench import bench
from phinas.commands.data import data
from phinas.commands.describe import describe
from phinas.commands.export import export
from phinas.commands.fit import fit
from phinas.commands.latency import latency
from phinas.commands.plan import plan
from phinas.commands.report import report
from phinas.commands.resume import resume
from phinas.commands.run import run
from phinas.commands.scale import scale
from phinas.commands.search import search
from phinas.commands.validate import validate
from phinas.errors import run_command

_COMMANDS = (
    run,
    search,
    scale,
    validate,
    report,
    resume,
    plan,
    data,
    describe,
    export,
    fit,
    latency,
    bench,
)


class _CommandGroup(click.Group):
    """A group that suggests the closest command."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None:
            closest = get_close_matches(args[0], self.list_commands(ctx), n=1)
            hint = (
                f"did you mean {closest[0]!r}?"
                if closest
                else f"verbs: {', '.join(self.list_commands(ctx))}"
            )
            raise click.UsageError(f"there is no verb {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=_CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="phinas")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
def cli(**_options: bool) -> None:
    """Find a small convolutional network for your images, and how to scale it."""


for _command in _COMMANDS:
    cli.add_command(_command)


def main(arguments: list[str] | None = None) -> None:
    """The `phinas` command: exits with the code of experiment/errors.py."""
    warnings.formatwarning = lambda message, *_location, **_line: f"phinas: warning: {message}\n"
    sys.path.append(str(Path.cwd()))  # for a user's own evaluator beside the configuration
    sys.exit(run_command(cli, sys.argv[1:] if arguments is None else arguments))
