"""`phinas doctor`: check the installation and the machine."""

import click

from phinas.options.command import JSON, SAME_COMMAND, Command
from phinas.terminal.output import print_json


@click.command(cls=Command, resume=SAME_COMMAND)
@JSON
def doctor(as_json: bool) -> None:
    """Check the installation and the machine.

    Shows versions, devices, memory, free disk space and which extras are installed, and what is
    wrong with its remedy.
    """
    from phinas.api.doctor import as_text
    from phinas.api.doctor import doctor as diagnose
    from phinas.terminal.text_table import terminal_width

    result = diagnose()
    if as_json:
        print_json(result.to_dict())
    else:
        click.echo(as_text(result, width=terminal_width()))
