"""`phinas report`: write the report of a run."""

from pathlib import Path

import click

from phinas.options.command import DIRECTORY, JSON, Command, plain_option
from phinas.terminal.output import print_summary


@click.command(cls=Command)
@DIRECTORY
@plain_option(
    "--redact",
    is_flag=True,
    text="Write a report to give away in DIRECTORY/report_redacted. It has no paths, no file names "
    "of images, and no name of the user or the machine. The names of the data set, the networks "
    "and the classes stay.",
)
@JSON
def report(directory: Path, redact: bool, as_json: bool) -> None:
    """Write the report of a run again.

    DIRECTORY is the run directory. The report is in DIRECTORY/report: one HTML page with CSV, SVG
    and PNG files.
    """
    from phinas.api.report import report as write_run_report

    print_summary(write_run_report(directory, redact=redact), as_json)
