"""`phinas report`: write the report of a run."""

from pathlib import Path

import click

from phinas.options import (
    DIRECTORY,
    JSON,
    Command,
)
from phinas.terminal.output import print_summary


@click.command(cls=Command)
@DIRECTORY
@JSON
def report(directory: Path, as_json: bool) -> None:
    """Write the report of a run anew: one HTML page, CSV, SVG and PNG."""
    from phinas import pipeline

    print_summary(pipeline.report(directory), as_json)
