"""Printing of results on standard output, as text or as JSON."""

import json
from pathlib import Path
from typing import Any, Protocol

import click


class Summary(Protocol):
    """The results of a run, as `phinas.run_summary.RunSummary` has them."""

    @property
    def report(self) -> Path | None:
        """The path of the report page."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""

    def as_text(self) -> str:
        """The results as text."""

    def next_commands_text(self) -> str:
        """The commands that come next. Empty if there are none."""


def print_summary(summary: Summary, as_json: bool) -> None:
    """Print the results of a run, the path of its report, and the commands that come next.

    The commands are on standard error, because they are no result.
    """
    if as_json:
        print_json(summary.to_dict())
        return
    click.echo(summary.as_text())
    if summary.report is not None:
        click.echo(str(summary.report))
    commands = summary.next_commands_text()
    if commands and not quiet():
        click.echo(commands, err=True)


def print_json(result: dict[str, Any]) -> None:
    """Print a result as JSON.

    Raises:
        ValueError: It contains NaN or infinity, which are not valid JSON.
    """
    click.echo(json.dumps(result, indent=2, allow_nan=False))


def quiet() -> bool:
    """Whether the option `-q` of `phinas` was set."""
    return bool(click.get_current_context().find_root().params["quiet"])
