"""`phinas report`: write the report of a run."""

from pathlib import Path

import click

from phinas.options.command import DIRECTORY, JSON, Command
from phinas.terminal.output import print_summary


@click.command(cls=Command)
@DIRECTORY
@JSON
def report(directory: Path, as_json: bool) -> None:
    """Write the report of a run again.

    DIRECTORY is the run directory. The report is in DIRECTORY/report: one HTML page with CSV, SVG
    and PNG files.
    """
    from phinas.api.report import report as write_run_report

    print_summary(write_run_report(directory), as_json)
