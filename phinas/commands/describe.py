"""`phinas describe`: a network and what it costs."""

from pathlib import Path

import click

from phinas.options import (
    JSON,
    Verb,
)
from phinas.output import print_json


@click.command(cls=Verb)
@click.argument("spec")
@click.option(
    "--compare", metavar="OTHER", help="Set another network beside it, named in any of these ways."
)
@click.option(
    "--draw", type=click.Path(path_type=Path), help="Draw the block layout to a file, .svg or .png."
)
@click.option("--conventions", is_flag=True, help="Say what other tools count for it, and why.")
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
    from phinas.api import compare_networks, network_text
    from phinas.api.describe import describe as describe_network

    facts = describe_network(
        spec, compare=compare, draw=draw, conventions=conventions, verify=verify
    )
    if as_json:
        print_json(facts)
    else:
        click.echo(
            network_text.as_text(facts) if compare is None else compare_networks.as_text(facts)
        )
    if not all(network.get("agrees", True) for network in facts.get("networks", [facts])):
        raise click.exceptions.Exit(1)
