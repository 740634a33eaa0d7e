"""`phinas export`: write a network for other tools."""

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
    "--to",
    type=click.Choice(["onnx", "torch", "timm", "torchvision"]),
    help="What for, if --out's ending does not say.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="The file: NAME.onnx, NAME.py or NAME.safetensors.",
)
@click.option(
    "--weights", help="A safetensors file in our names, timm's or torchvision's, or hf:OWNER/NAME."
)
@JSON
def export(spec: str, to: str | None, out: Path, weights: str | None, as_json: bool) -> None:
    """Write the network of SPEC for other tools.

    onnx (extra `onnx`) and torch (one Python file that needs nothing of phinas, weights beside it)
    are run to see that they give the same. timm and torchvision: weights in that library's names,
    and in a JSON file how to call its class.
    """
    from phinas.api.export import export as export_network

    result = export_network(spec, to=to, out=out, weights=weights)
    if as_json:
        print_json(result)
        return
    if result["recipe"]:
        click.echo(
            f"{result['path']}: weights in {to}'s names; {result['recipe']}: the Python lines that "
            "make the model"
        )
        return
    click.echo(
        f"{result['path']}: largest difference from torch "
        f"{result['largest_relative_difference']:.1e}, relative"
    )
