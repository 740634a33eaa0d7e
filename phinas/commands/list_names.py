"""`phinas list`: the names that options accept."""

import click

from phinas.options.command import JSON, SAME_COMMAND, Command
from phinas.options.completion import complete_table_name
from phinas.terminal.output import print_json


@click.command("list", cls=Command, resume=SAME_COMMAND)
@click.argument("tables", metavar="[TABLE]...", nargs=-1, shell_complete=complete_table_name)
@JSON
def list_names(tables: tuple[str, ...], as_json: bool) -> None:
    """List the presets, search spaces, recipes and other names.

    TABLE is presets, spaces, recipes, strategies, evaluators, pruners or sources (of images).
    Without TABLE, all are listed.
    """
    from phinas.api.list_names import as_text
    from phinas.api.list_names import list_names as read_tables
    from phinas.terminal.text_table import terminal_width

    result = read_tables(*tables)
    if as_json:
        print_json(result.to_dict())
    else:
        click.echo(as_text(result, width=terminal_width()))
