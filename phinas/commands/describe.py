"""`phinas describe`: a network and its cost."""

from pathlib import Path

import click

from phinas.options.command import JSON, Command, path_option, plain_option
from phinas.options.names import expand_names
from phinas.terminal.output import print_json


@click.command(cls=Command, more_help=lambda: expand_names("Presets: {presets}."))
@click.argument("spec")
@plain_option(
    "--compare",
    metavar="SPEC",
    text="Compare with another network.",
)
@path_option("--draw", "Draw the block layout to this file, .svg or .png.", metavar="FILE")
@plain_option(
    "--flop-conventions",
    "conventions",
    is_flag=True,
    text="Compare the FLOP count with the counts of other tools.",
)
@plain_option(
    "--verify",
    is_flag=True,
    text="Compare the FLOPs with those that fvcore counts in the built network.",
)
@JSON
def describe(
    spec: str,
    compare: str | None,
    draw: Path | None,
    conventions: bool,
    verify: bool,
    as_json: bool,
) -> None:
    """Show the stages and the exact cost of a network.

    SPEC is a preset (such as efficientnet_b0), a spec file, timm:NAME, torchvision:NAME, or
    RUN:NAME for a network of a run (such as runs/photos:b1). One FLOP is one multiply-add.
    """
    from phinas.api.describe import describe as describe_network
    from phinas.description import compare_networks, describe_text
    from phinas.description.network_description import CostComparison
    from phinas.terminal.text_table import terminal_width

    result = describe_network(
        spec, compare=compare, draw=draw, conventions=conventions, verify=verify
    )
    if as_json:
        print_json(result.to_dict())
    elif isinstance(result, CostComparison):
        click.echo(compare_networks.as_text(result, width=terminal_width()))
    else:
        click.echo(describe_text.as_text(result, width=terminal_width()))
    if not result.is_verified:
        raise click.exceptions.Exit(1)
