"""`phinas describe`: a network and its cost, or a search space."""

from pathlib import Path

import click

from phinas.options.command import JSON, Command, path_option, plain_option
from phinas.options.completion import complete_network
from phinas.options.names import expand_names
from phinas.terminal.output import print_json


@click.command(
    cls=Command, more_help=lambda: expand_names("Presets: {presets}. Search spaces: {spaces}.")
)
@click.argument("spec", shell_complete=complete_network)
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
    """Show the stages and the exact cost of a network, or the choices of a search space.

    SPEC is a preset (such as efficientnet_b0), a spec file, timm:NAME, torchvision:NAME, or
    RUN:NAME for a network of a run (such as runs/photos:b1). One FLOP is one multiply-add.
    A search space is a name (such as tiny), a YAML file or package.module:NAME.
    """
    from phinas.api.describe import describe as describe_network
    from phinas.description import compare_networks, describe_text
    from phinas.description.network_description import CostComparison
    from phinas.description.space_description import is_search_space
    from phinas.terminal.text_table import terminal_width

    if is_search_space(spec):
        options = {
            "--compare": compare,
            "--draw": draw,
            "--flop-conventions": conventions,
            "--verify": verify,
        }
        _show_space(spec, [name for name, value in options.items() if value], as_json=as_json)
        return
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


def _show_space(source: str, options: list[str], *, as_json: bool) -> None:
    from phinas.description import space_description
    from phinas.experiment.errors import InputError
    from phinas.terminal.text_table import terminal_width

    if options:
        raise InputError(
            f"{options[0]}: {source!r} is a search space, and the option needs a network; leave "
            "the option out, or name a network"
        )
    result = space_description.describe_space(source)
    if as_json:
        print_json(result.to_dict())
        return
    click.echo(space_description.as_text(result, width=terminal_width()))
