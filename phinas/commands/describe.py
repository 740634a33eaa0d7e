"""`phinas describe`: a network and what it costs."""

from pathlib import Path

import click

from phinas.options import (
    JSON,
    Command,
)
from phinas.terminal.output import print_json


@click.command(cls=Command)
@click.argument("spec")
@click.option(
    "--compare", metavar="OTHER", help="Set another network beside it, named in any of these ways."
)
@click.option(
    "--draw", type=click.Path(path_type=Path), help="Draw the block layout to a file, .svg or .png."
)
@click.option(
    "--flop-conventions",
    "conventions",
    is_flag=True,
    help="Compare FLOP counts with other tools.",
)
@click.option("--verify", is_flag=True, help="Count the built network with fvcore too.")
@JSON
def describe(
    spec: str,
    compare: str | None,
    draw: Path | None,
    conventions: bool,
    verify: bool,
    as_json: bool,
) -> None:
    """Stage table and exact cost of a preset (efficientnet_b0), a spec file, timm:NAME or
    torchvision:NAME.

    FLOPs are multiply-adds.
    """
    from phinas.api import compare_networks, describe_text
    from phinas.api.describe import describe as describe_network
    from phinas.terminal.text_table import terminal_width

    result = describe_network(
        spec, compare=compare, draw=draw, conventions=conventions, verify=verify
    )
    if as_json:
        print_json(result)
    else:
        as_text = describe_text.as_text if compare is None else compare_networks.as_text
        click.echo(as_text(result, width=terminal_width()))
    if not all(network.get("agrees", True) for network in result.get("networks", [result])):
        raise click.exceptions.Exit(1)
