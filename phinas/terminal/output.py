"""Printing of results on standard output, as text or as JSON."""

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from phinas.run_summary import RunSummary


def print_summary(summary: "RunSummary", as_json: bool) -> None:
    """Print the summary of a run and the path of its report."""
    if as_json:
        print_json(summary.to_dict())
        return
    click.echo(summary.as_text())
    if summary.report is not None:
        click.echo(str(summary.report))


def print_json(result: dict[str, Any]) -> None:
    """Print a result as JSON.

    Raises:
        ValueError: It contains NaN or infinity, which are not valid JSON.
    """
    click.echo(json.dumps(result, indent=2, allow_nan=False))


def quiet() -> bool:
    """Whether the option `-q` of `phinas` was set."""
    return bool(click.get_current_context().find_root().params["quiet"])
