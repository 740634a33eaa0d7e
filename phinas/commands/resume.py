"""`phinas resume`: resume a run."""

from pathlib import Path

import click

from phinas.options.command import DIRECTORY, JSON, Command
from phinas.terminal.output import print_summary, quiet


@click.command(cls=Command)
@DIRECTORY
@JSON
def resume(directory: Path, as_json: bool) -> None:
    """Resume a run and finish its remaining stages.

    DIRECTORY is the run directory.
    """
    from phinas.api.resume import resume as resume_run

    print_summary(resume_run(directory, quiet=quiet()), as_json)
