"""How a command prints its result: as text, or as JSON."""

import json
from typing import Any

import click


def print_summary(result: dict[str, Any], as_json: bool) -> None:
    """The summary of a run and the path of its report."""
    if as_json:
        print_json(result)
        return
    from phinas.terminal.summary import summary_line

    click.echo(summary_line(result))
    if result["report"]:
        click.echo(result["report"])


def print_json(result: dict[str, Any]) -> None:
    """The result on standard output, NaN and infinity refused."""
    click.echo(json.dumps(result, indent=2, allow_nan=False))


def quiet() -> bool:
    """Whether `phinas -q` was called."""
    return bool(click.get_current_context().find_root().params["quiet"])
