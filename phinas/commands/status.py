"""`phinas status`: how far a run is."""

from pathlib import Path

import click

from phinas.options.command import DIRECTORY, JSON, Command, GroupedOption
from phinas.terminal.output import print_json


@click.command(cls=Command)
@DIRECTORY
@click.option(
    "--failures", is_flag=True, cls=GroupedOption, help="List each failed trial with its reason."
)
@JSON
def status(directory: Path, failures: bool, as_json: bool) -> None:
    """Show how far a run is, and what failed in it.

    DIRECTORY is the run directory. The run may be in progress. Nothing is written.
    """
    from phinas.api.status import as_text
    from phinas.api.status import status as read_status
    from phinas.terminal.text_table import terminal_width

    result = read_status(directory)
    if as_json:
        print_json(result.to_dict())
    else:
        click.echo(as_text(result, with_failures=failures, width=terminal_width()))
