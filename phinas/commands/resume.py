"""`phinas resume`: resume a run."""

from pathlib import Path

import click

from phinas.options import (
    DIRECTORY,
    JSON,
    Command,
)
from phinas.terminal.output import print_summary, quiet


@click.command(cls=Command)
@DIRECTORY
@JSON
def resume(directory: Path, as_json: bool) -> None:
    """Carry a run on from wherever it stopped."""
    from phinas import pipeline

    print_summary(pipeline.resume(directory, quiet=quiet()), as_json)
