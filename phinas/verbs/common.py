"""What verbs share: their arguments, and how they tell what came out."""

import json
from pathlib import Path
from typing import Any

import click

OUT = click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="The run directory, new or to be carried on.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
DIRECTORY = click.argument("directory", type=click.Path(path_type=Path))
CONFIG = click.argument("config", required=False, type=click.Path(path_type=Path))


def tell(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(facts)
        return
    from phinas.summary import sentence

    click.echo(sentence(facts))
    if facts["report"]:
        click.echo(facts["report"])


def print_json(facts: dict[str, Any]) -> None:
    click.echo(json.dumps(facts, indent=2, allow_nan=False))


def quiet() -> bool:
    return bool(click.get_current_context().find_root().params["quiet"])
