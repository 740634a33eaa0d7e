"""How a command prints its result: as a sentence for people, or as JSON."""

import json
from typing import Any

import click


def print_summary(facts: dict[str, Any], as_json: bool) -> None:
    """The summary of a run and the path of its report."""
    if as_json:
        print_json(facts)
        return
    from phinas.summary import sentence

    click.echo(sentence(facts))
    if facts["report"]:
        click.echo(facts["report"])


def print_json(facts: dict[str, Any]) -> None:
    """The facts on standard output, NaN and infinity refused."""
    click.echo(json.dumps(facts, indent=2, allow_nan=False))


def quiet() -> bool:
    """Whether `phinas -q` was called."""
    return bool(click.get_current_context().find_root().params["quiet"])
